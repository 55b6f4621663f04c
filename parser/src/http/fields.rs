//! Fields: which names matter here, what each may say, and what a head's fields say together (RFC 9110 §5-10).
//!
//! Names and values whose shape is already checked arrive one by one; [`Said`] leaves, the facts that frame a message.
//! INVARIANT: a field that frames has one spelling and one place, or the message is refused.

use super::{
    HttpRefusal, Strictness, Version,
    line::{FieldLine, field_line, trim},
    scanner::is_tchar,
};

/// One field as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name in the sender's case; compare without case.
    pub name: &'a [u8],
    /// The value without the white space around it; may hold bytes above 0x7F.
    pub value: &'a [u8],
}

/// The fields of a head in order, read again from the head's own bytes.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    /// INVARIANT: zero or more whole field lines of a head that was read without refusal.
    lines: &'a [u8],
}

impl<'a> Fields<'a> {
    /// `lines` without the empty line at the end.
    pub(super) const fn new(lines: &'a [u8]) -> Self {
        Self { lines }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let (line, rest) = field_line(self.lines)?;
        self.lines = rest;
        Some(line.field)
    }
}

/// The names with a meaning here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Expect,
    /// Method or target again, for servers that prefer it.
    Override,
    /// Harmless in a head, but not in a trailer (RFC 9110 §6.5.1).
    HeadOnly,
}

/// What `name` is: nothing known, a known name, or a look-alike of one (`Err`).
///
/// A look-alike has another non-alphanumeric byte where the known name has `-`: CGI, WSGI and their kin fold all of
/// them into `_`, and then `Content_Length` is Content-Length.
#[inline]
pub(super) fn know(name: &[u8]) -> Result<Option<Known>, Known> {
    let Some(first) = name.first() else { return Ok(None) };
    let letter = usize::from(first.to_ascii_lowercase().wrapping_sub(b'a'));
    let Some(letter) = LETTERS.get(letter) else { return read_like_framing(name) };
    // Most fields end here: no known name with their first letter has their length.
    if name.len() <= MAX_KNOWN_NAME && letter.lengths & (1 << name.len()) != 0 {
        for (known_name, known) in KNOWN.get(letter.begin..letter.end).unwrap_or_default() {
            if known_name.len() == name.len() {
                match resemble(name, known_name) {
                    Some(true) => return Ok(Some(*known)),
                    Some(false) => return Err(*known),
                    None => {}
                }
            }
        }
    }
    if matches!(first, b'c' | b'C' | b't' | b'T') { read_like_framing(name) } else { Ok(None) }
}

/// `Err` for a name whose letters and digits alone are those of a framing name, as `Transfer--Encoding`.
fn read_like_framing(name: &[u8]) -> Result<Option<Known>, Known> {
    let reads_like = |word: &[u8]| {
        let letters = name.iter().filter(|byte| byte.is_ascii_alphanumeric());
        name.len() >= word.len() && letters.map(u8::to_ascii_lowercase).eq(word.iter().copied())
    };
    if reads_like(b"contentlength") {
        Err(Known::ContentLength)
    } else if reads_like(b"transferencoding") {
        Err(Known::TransferEncoding)
    } else {
        Ok(None)
    }
}

/// The names that mean something, in lower case. INVARIANT: those with one first letter stand together.
const KNOWN: &[(&[u8], Known)] = &[
    (b"authorization", Known::HeadOnly),
    (b"cache-control", Known::HeadOnly),
    (b"connection", Known::Connection),
    (b"content-encoding", Known::HeadOnly),
    (b"content-length", Known::ContentLength),
    (b"content-location", Known::HeadOnly),
    (b"content-range", Known::HeadOnly),
    (b"content-type", Known::HeadOnly),
    (b"cookie", Known::HeadOnly),
    (b"expect", Known::Expect),
    (b"forwarded", Known::HeadOnly),
    (b"host", Known::Host),
    (b"if-match", Known::HeadOnly),
    (b"if-modified-since", Known::HeadOnly),
    (b"if-none-match", Known::HeadOnly),
    (b"if-range", Known::HeadOnly),
    (b"if-unmodified-since", Known::HeadOnly),
    (b"keep-alive", Known::HeadOnly),
    (b"location", Known::HeadOnly),
    (b"max-forwards", Known::HeadOnly),
    (b"proxy-authenticate", Known::HeadOnly),
    (b"proxy-authorization", Known::HeadOnly),
    (b"proxy-connection", Known::HeadOnly),
    (b"range", Known::HeadOnly),
    (b"set-cookie", Known::HeadOnly),
    (b"te", Known::HeadOnly),
    (b"trailer", Known::HeadOnly),
    (b"transfer-encoding", Known::TransferEncoding),
    (b"upgrade", Known::Upgrade),
    (b"www-authenticate", Known::HeadOnly),
    (b"x-forwarded-for", Known::HeadOnly),
    (b"x-forwarded-host", Known::HeadOnly),
    (b"x-forwarded-prefix", Known::Override),
    (b"x-forwarded-proto", Known::HeadOnly),
    (b"x-http-method", Known::Override),
    (b"x-http-method-override", Known::Override),
    (b"x-method-override", Known::Override),
    (b"x-original-uri", Known::Override),
    (b"x-original-url", Known::Override),
    (b"x-override-url", Known::Override),
    (b"x-real-ip", Known::HeadOnly),
    (b"x-rewrite-url", Known::Override),
];

/// The longest known name; longer trailer names need not be kept.
pub(super) const MAX_KNOWN_NAME: usize = 22;

/// The known names with one first letter.
#[derive(Clone, Copy)]
struct Letter {
    begin: usize,
    end: usize,
    /// Bit n: one of them has length n.
    lengths: u32,
}

const LETTERS: [Letter; 26] = {
    let mut letters = [Letter { begin: 0, end: 0, lengths: 0 }; 26];
    let mut index = 0;
    while index < KNOWN.len() {
        #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
        let name = KNOWN[index].0;
        assert!(name.len() <= MAX_KNOWN_NAME);
        #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
        let letter = &mut letters[(name[0] - b'a') as usize];
        if letter.end == 0 {
            letter.begin = index;
        } else {
            assert!(letter.end == index, "names with one first letter must stand together");
        }
        index += 1;
        letter.end = index;
        letter.lengths |= 1 << name.len();
    }
    letters
};

/// Whether both are the same name in any case. Both have the same length, and `known` is in lower case.
fn is_same(name: &[u8], known: &[u8]) -> bool {
    // What differs in this bit alone is a letter's other case; CR, of the same relation to `-`, stands in no name.
    const CASE: u64 = u64::MAX / 0xff * 0x20;
    let (words, tail) = name.as_chunks::<8>();
    let (known_words, known_tail) = known.as_chunks::<8>();
    let words = words.iter().zip(known_words);
    let words = words.map(|(a, b)| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b));
    let tail = tail.iter().zip(known_tail).map(|(a, b)| u64::from(a ^ b));
    words.chain(tail).fold(0, |differing, here| differing | here) & !CASE == 0
}

/// `Some(true)` for the same name in any case, `Some(false)` for a look-alike. Both have the same length.
fn resemble(name: &[u8], known: &[u8]) -> Option<bool> {
    if is_same(name, known) {
        return Some(true);
    }
    let mut exact = true;
    for (byte, expected) in name.iter().zip(known) {
        if byte.to_ascii_lowercase() == *expected {
            continue;
        }
        if *expected == b'-' && !byte.is_ascii_alphanumeric() {
            exact = false;
            continue;
        }
        return None;
    }
    Some(exact)
}

/// What the fields of one head say about framing, so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said<'a> {
    pub(super) host: Option<&'a str>,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) connection: Connection,
    pub(super) upgrade: Option<&'a [u8]>,
    pub(super) expects_continue: bool,
}

/// What Connection says (RFC 9110 §7.6.1), over all its fields.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connection {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

impl<'a> Said<'a> {
    /// Takes one field of a request.
    pub(super) fn take_of_request(
        &mut self,
        line: &FieldLine<'a>,
        strictness: &Strictness,
    ) -> Result<(), HttpRefusal> {
        let FieldLine { field: Field { name, value }, one_space, .. } = *line;
        let known = match know(name) {
            Ok(None) => return Ok(()),
            Ok(Some(known)) => known,
            Err(Known::HeadOnly) => return Ok(()),
            Err(Known::Override) if strictness.allow_override_fields => return Ok(()),
            Err(_) => return Err(HttpRefusal::LookAlikeName),
        };
        match known {
            Known::Host if self.host.is_some() => Err(HttpRefusal::HostRepeated),
            Known::Host => {
                self.host = Some(host(value).ok_or(HttpRefusal::HostInvalid)?);
                Ok(())
            }
            Known::ContentLength => self.take_length(value, one_space),
            Known::TransferEncoding => self.take_encoding(value, one_space),
            Known::Connection => {
                self.connection.take(value, Some(strictness.allow_connection_options))
            }
            // Two fields or a list are several protocols; the value of the one field is judged with the whole head.
            Known::Upgrade if self.upgrade.is_some() => Err(HttpRefusal::UpgradeUnsupported),
            Known::Upgrade => {
                self.upgrade = Some(value);
                Ok(())
            }
            // RFC 9110 §10.1.1 knows one expectation; obfuscated ones desynchronise.
            Known::Expect
                if self.expects_continue || !value.eq_ignore_ascii_case(b"100-continue") =>
            {
                Err(HttpRefusal::ExpectUnsupported)
            }
            Known::Expect => {
                self.expects_continue = true;
                Ok(())
            }
            Known::Override if strictness.allow_override_fields => Ok(()),
            Known::Override => Err(HttpRefusal::OverrideField),
            Known::HeadOnly => Ok(()),
        }
    }

    /// Takes one field of a response; an error makes the response's framing ambiguous.
    pub(super) fn take_of_response(&mut self, line: &FieldLine<'a>) -> Result<(), HttpRefusal> {
        let FieldLine { field: Field { name, value }, one_space, .. } = *line;
        match know(name) {
            Ok(Some(Known::ContentLength)) => self.take_length(value, one_space),
            Ok(Some(Known::TransferEncoding)) => self.take_encoding(value, one_space),
            Ok(Some(Known::Connection)) => self.connection.take(value, None),
            Ok(Some(Known::Upgrade)) if self.upgrade.is_some() => Err(HttpRefusal::SwitchUnasked),
            Ok(Some(Known::Upgrade)) => {
                self.upgrade = Some(value);
                Ok(())
            }
            Err(Known::ContentLength | Known::TransferEncoding) => Err(HttpRefusal::LookAlikeName),
            _ => Ok(()),
        }
    }

    /// Whether the connection may go on after this message (RFC 9112 §9.3); `close` wins over `keep-alive`.
    pub(super) fn persists(&self, version: Version) -> bool {
        match version {
            Version::Http11 => !self.connection.close,
            Version::Http10 => self.connection.keep_alive && !self.connection.close,
        }
    }

    /// RFC 9112 §6.2. DEVIATION: equal repetitions and leading zeros, which the RFC lets pass, are refused.
    fn take_length(&mut self, value: &[u8], one_space: bool) -> Result<(), HttpRefusal> {
        if self.length.is_some() {
            return Err(HttpRefusal::LengthRepeated);
        }
        if !one_space {
            return Err(HttpRefusal::FramingSpace);
        }
        self.length = Some(length(value).ok_or(HttpRefusal::LengthInvalid)?);
        Ok(())
    }

    /// RFC 9112 §6.1. DEVIATION: `chunked` in lower case only; some servers compare bytes and then see no coding.
    fn take_encoding(&mut self, value: &[u8], one_space: bool) -> Result<(), HttpRefusal> {
        if self.chunked {
            return Err(HttpRefusal::EncodingRepeated);
        }
        if !one_space {
            return Err(HttpRefusal::FramingSpace);
        }
        if value != b"chunked" {
            return Err(HttpRefusal::EncodingUnsupported);
        }
        self.chunked = true;
        Ok(())
    }
}

impl Connection {
    /// One Connection value; `allow_any` is `None` in responses, where hop names do no harm to us.
    fn take(&mut self, value: &[u8], allow_any: Option<bool>) -> Result<(), HttpRefusal> {
        if value == b"keep-alive" {
            self.keep_alive = true;
            return Ok(());
        }
        for option in value.split(|byte| *byte == b',') {
            let option = trim(option);
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if option.is_empty() || !option.iter().copied().all(is_tchar) {
                return Err(HttpRefusal::ConnectionInvalid);
            } else if let Some(allow_any) = allow_any {
                hop_option(option, allow_any)?;
            }
        }
        Ok(())
    }
}

/// An option names a field for the next hop to remove; a client must not make a gateway drop what the server needs.
///
/// DEVIATION: RFC 9110 §7.6.1 forbids only end-to-end fields; we allow the hop-by-hop ones there are.
fn hop_option(option: &[u8], allow_any: bool) -> Result<(), HttpRefusal> {
    const HOP: [&[u8]; 3] = [b"te", b"http2-settings", b"proxy-connection"];
    if HOP.iter().any(|hop| option.eq_ignore_ascii_case(hop)) {
        return Ok(());
    }
    match know(option) {
        Ok(None | Some(Known::HeadOnly)) if allow_any => Ok(()),
        _ => Err(HttpRefusal::ConnectionOption),
    }
}

/// 1-18 digits without leading zero; 18 digits never overflow a signed 64-bit reader.
fn length(value: &[u8]) -> Option<u64> {
    match value {
        [b'0'] => return Some(0),
        [b'1'..=b'9', ..] if value.len() <= 18 => {}
        _ => return None,
    }
    value.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then_some(byte & 0x0f)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A Host value (RFC 9112 §3.2, RFC 3986 §3.2.2-3): name, IPv4 or bracketed IPv6, then perhaps a port.
///
/// DEVIATION: no empty Host, no escapes and sub-delimiters (a comma is a list to some servers), no empty port, no zone.
fn host(value: &[u8]) -> Option<&str> {
    let port = match value {
        [b'[', bracketed @ ..] => {
            let end = bracketed.iter().position(|byte| *byte == b']')?;
            let (address, after) = bracketed.split_at_checked(end)?;
            core::str::from_utf8(address).ok()?.parse::<core::net::Ipv6Addr>().ok()?;
            after.strip_prefix(b"]")?
        }
        _ => {
            let end = value.iter().take_while(|byte| is_name_byte(**byte)).count();
            value.get(end..).filter(|_| (1..=MAX_NAME).contains(&end))?
        }
    };
    if !port.is_empty() && !is_port(port) {
        return None;
    }
    core::str::from_utf8(value).ok()
}

/// RFC 1035 §2.3.4.
const MAX_NAME: usize = 255;

/// Bytes of a host name; the underscore stands in many service names.
fn is_name_byte(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0_u8;
        while byte < 0x80 {
            #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
            {
                table[byte as usize] =
                    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            }
            byte += 1;
        }
        table
    };
    TABLE.get(usize::from(byte)).copied().unwrap_or_default()
}

/// `:` and a port without leading zeros.
fn is_port(text: &[u8]) -> bool {
    match text {
        [b':', b'1'..=b'9', rest @ ..] if rest.len() <= 4 => {
            length(text.get(1..).unwrap_or_default()).is_some_and(|port| port <= 65_535)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Connection, Field, FieldLine, Fields, HttpRefusal as R, KNOWN, Known, Said, Strictness,
        host, know, length,
    };

    fn line<'a>(name: &'a str, value: &'a str) -> FieldLine<'a> {
        let field = Field { name: name.as_bytes(), value: value.as_bytes() };
        FieldLine { field, one_space: true, line_len: 0 }
    }

    fn take(name: &str, value: &str, strictness: &Strictness) -> Result<(), R> {
        Said::default().take_of_request(&line(name, value), strictness)
    }

    fn said<'a>(fields: &[(&'a str, &'a str)]) -> Result<Said<'a>, R> {
        let mut said = Said::default();
        for (name, value) in fields {
            said.take_of_request(&line(name, value), &Strictness::STRICT)?;
        }
        Ok(said)
    }

    #[test]
    fn every_known_name_is_known_in_any_case_and_by_its_look_alikes() {
        for (name, known) in KNOWN {
            assert_eq!(know(name), Ok(Some(*known)));
            assert_eq!(know(&name.to_ascii_uppercase()), Ok(Some(*known)));
            for byte in *b"_.!~*+'" {
                let look_alike: Vec<u8> =
                    name.iter().map(|it| if *it == b'-' { byte } else { *it }).collect();
                if look_alike != *name {
                    assert_eq!(know(&look_alike), Err(*known));
                }
            }
        }
    }

    #[test]
    fn other_names_are_not_known() {
        for name in [
            "",
            "a",
            "accept",
            "user-agent",
            "content",
            "content-lengths",
            "xcontent-length",
            "content-lengt",
            "host-",
            "x-request-id",
            "1host",
            "-",
            "hosts",
            "content0length",
            "transfer-encodinga",
            "upgrade-insecure-requests",
            "sec-fetch-mode",
        ] {
            assert_eq!(know(name.as_bytes()), Ok(None), "{name}");
        }
    }

    #[test]
    fn look_alikes_of_framing_names_are_refused_and_of_harmless_ones_pass() {
        for name in [
            "Content_Length",
            "Transfer_Encoding",
            "transfer.encoding",
            "CONTENT~LENGTH",
            "ContentLength",
            "TransferEncoding",
            "Transfer--Encoding",
            "-Transfer-Encoding",
            "transfer-encoding-",
            "'content-length'",
            "X_HTTP_Method_Override",
            "x-http_method-override",
        ] {
            assert_eq!(said(&[(name, "1")]).err(), Some(R::LookAlikeName), "{name}");
        }
        assert!(said(&[("x_forwarded_for", "1"), ("cache_control", "no")]).is_ok());
    }

    #[test]
    fn overrides_are_refused_unless_allowed() {
        let names = [
            "X-HTTP-Method-Override",
            "X-HTTP-Method",
            "X-Method-Override",
            "X-Original-URL",
            "X-Original-URI",
            "X-Rewrite-URL",
            "X-Override-URL",
            "X-Forwarded-Prefix",
        ];
        let open = Strictness { allow_override_fields: true, ..Strictness::STRICT };
        for name in names {
            assert_eq!(said(&[(name, "/")]).err(), Some(R::OverrideField), "{name}");
            assert_eq!(take(name, "/", &open), Ok(()));
        }
    }

    #[test]
    fn only_plain_decimal_lengths_are_read() {
        assert_eq!(length(b"0"), Some(0));
        assert_eq!(length(b"5"), Some(5));
        assert_eq!(length(b"999999999999999999"), Some(999_999_999_999_999_999));
        for value in [
            "",
            "00",
            "05",
            "+5",
            "-0",
            "-5",
            "0x5",
            "5 ",
            "5,5",
            "5, 5",
            "5;",
            "1_0",
            "1 0",
            "5a",
            "a5",
            "1000000000000000000",
            "18446744073709551616",
            "٥",
            "5.0",
            "1e3",
            "0o5",
            "0b1",
        ] {
            assert_eq!(length(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_with_perhaps_a_port() {
        for value in [
            "a",
            "a.b",
            "A-1.b_c",
            "localhost:8080",
            "10.0.0.1",
            "10.0.0.1:1",
            "[::1]",
            "[2001:db8::1]:65535",
            "[::ffff:10.0.0.1]:80",
            "foo.com.",
            "xn--bcher-kva.example",
        ] {
            assert_eq!(host(value.as_bytes()), Some(value));
        }
        let long = "a".repeat(256);
        for value in [
            "",
            ":80",
            "a:",
            "a:0",
            "a:080",
            "a:65536",
            "a:123456",
            "a:1a",
            "a:80:80",
            "a b",
            "a,b",
            "a/b",
            "u@a",
            "a%41",
            "a?b",
            "a#b",
            "a\\b",
            "[::1",
            "::1",
            "[]",
            "[a]",
            "[::1%25eth0]",
            "[::1]a",
            "[::1]:",
            "[10.0.0.1]",
            "a\tb",
            "ä",
            "a;b",
            "a'b",
            "http://a",
            "*",
            long.as_str(),
        ] {
            assert_eq!(host(value.as_bytes()), None, "{value}");
        }
        assert_eq!(host(b"a\xff"), None);
    }

    #[test]
    fn connection_options_add_up_over_fields() {
        let said = said(&[("Connection", "Keep-Alive"), ("connection", "UPGRADE ,\tClose,te")]);
        let Connection { close, keep_alive, upgrade } = said.unwrap().connection;
        assert!(close && keep_alive && upgrade);
    }

    #[test]
    fn connection_options_that_name_end_to_end_fields_are_refused() {
        for value in ["authorization", "close, X-Auth", "Host", "content-length", "x-a", "cookie"] {
            assert_eq!(said(&[("connection", value)]).err(), Some(R::ConnectionOption), "{value}");
        }
        for value in
            ["", ",", "close,", ",close", "close,,te", "a b", "\"close\"", "close;q", "\u{e4}"]
        {
            assert_eq!(said(&[("connection", value)]).err(), Some(R::ConnectionInvalid), "{value}");
        }
        let open = Strictness { allow_connection_options: true, ..Strictness::STRICT };
        let with = |value: &str| take("connection", value, &open);
        assert_eq!(with("x-a, authorization"), Ok(()));
        for value in
            ["host", "content-length", "transfer_encoding", "upgrade, expect", "x-http-method"]
        {
            assert_eq!(with(value), Err(R::ConnectionOption), "{value}");
        }
    }

    #[test]
    fn framing_fields_have_one_place_and_one_spelling() {
        for (fields, refusal) in [
            (&[("host", "a"), ("Host", "a")][..], R::HostRepeated),
            (&[("host", "a, b")][..], R::HostInvalid),
            (&[("content-length", "1"), ("Content-Length", "1")][..], R::LengthRepeated),
            (&[("content-length", "1,1")][..], R::LengthInvalid),
            (
                &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")][..],
                R::EncodingRepeated,
            ),
            (
                &[("transfer-encoding", "chunked"), ("transfer-encoding", "identity")][..],
                R::EncodingRepeated,
            ),
            (&[("transfer-encoding", "Chunked")][..], R::EncodingUnsupported),
            (&[("transfer-encoding", "")][..], R::EncodingUnsupported),
            (&[("transfer-encoding", "gzip, chunked")][..], R::EncodingUnsupported),
            (&[("transfer-encoding", "chunked;a=b")][..], R::EncodingUnsupported),
            (&[("upgrade", "websocket"), ("upgrade", "websocket")][..], R::UpgradeUnsupported),
            (&[("expect", "y 100-continue")][..], R::ExpectUnsupported),
            (&[("expect", "")][..], R::ExpectUnsupported),
            (&[("expect", "100-continue"), ("expect", "100-continue")][..], R::ExpectUnsupported),
        ] {
            assert_eq!(said(fields).err(), Some(refusal), "{fields:?}");
        }
        for (name, value) in [("content-length", "5"), ("transfer-encoding", "chunked")] {
            let spaced = FieldLine { one_space: false, ..line(name, value) };
            let taken = Said::default().take_of_request(&spaced, &Strictness::STRICT);
            assert_eq!(taken, Err(R::FramingSpace));
        }
    }

    #[test]
    fn known_letters_cover_every_meaning() {
        for known in [Known::Host, Known::Expect, Known::Override, Known::HeadOnly] {
            assert!(KNOWN.iter().any(|(_, it)| *it == known));
        }
    }

    #[test]
    fn fields_are_read_again_as_sent() {
        let fields: Vec<_> = Fields::new(b"A: b\r\nc:\t d e \r\nE:\r\nF:g:h\r\n")
            .map(|field| (field.name, field.value))
            .collect();
        assert_eq!(fields, [(&b"A"[..], &b"b"[..]), (b"c", b"d e"), (b"E", b""), (b"F", b"g:h"),]);
    }
}
