//! Fields: which names matter here, what each may say, and what a head's fields say together (RFC 9110 §5-10).
//!
//! Names and values whose shape is already checked arrive one by one; [`Said`] leaves, the facts that frame a message.
//! INVARIANT: a field that frames has one spelling and one place, or the message is refused.

use super::{
    HttpRefusal, Strictness, Version,
    line::{FieldLine, after_run, field_line, trim},
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
        Some(Field { name: line.name(), value: line.value() })
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
pub(super) fn know(name: &[u8]) -> Result<Option<Known>, Known> {
    let Initial { begin, end, .. } = initial(name);
    let known = KNOWN.get(usize::from(begin)..usize::from(end)).unwrap_or_default();
    let mut known = known.iter().filter(|known| known.name.len() == name.len());
    let words = words(name);
    if let Some(same) = known.clone().find(|known| is_same(words, known.words)) {
        return Ok(Some(same.meaning));
    }
    match known.find(|known| is_look_alike(name, known.name)) {
        Some(similar) => Err(similar.meaning),
        None => read_like_framing(name),
    }
}

/// Whether a field of this name can say anything in a head: if not, [`know`] finds nothing but [`Known::HeadOnly`].
///
/// Most fields end here: no name that matters has their first letter and their length.
#[inline(always)]
pub(super) fn may_matter(name: &[u8]) -> bool {
    initial(name).lengths & (1 << name.len().min(31)) != 0
}

#[inline(always)]
fn initial(name: &[u8]) -> Initial {
    let initial = name.first().and_then(|first| INITIALS.get(usize::from(*first)));
    initial.copied().unwrap_or(Initial::NONE)
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

/// A name that means something.
struct KnownName {
    /// In lower case.
    name: &'static [u8],
    words: [u64; 3],
    meaning: Known,
}

const fn known(name: &'static str, meaning: Known) -> KnownName {
    KnownName { name: name.as_bytes(), words: words(name.as_bytes()), meaning }
}

/// The names that mean something. INVARIANT: those with one first letter stand together.
static KNOWN: [KnownName; 42] = [
    known("authorization", Known::HeadOnly),
    known("cache-control", Known::HeadOnly),
    known("connection", Known::Connection),
    known("content-encoding", Known::HeadOnly),
    known("content-length", Known::ContentLength),
    known("content-location", Known::HeadOnly),
    known("content-range", Known::HeadOnly),
    known("content-type", Known::HeadOnly),
    known("cookie", Known::HeadOnly),
    known("expect", Known::Expect),
    known("forwarded", Known::HeadOnly),
    known("host", Known::Host),
    known("if-match", Known::HeadOnly),
    known("if-modified-since", Known::HeadOnly),
    known("if-none-match", Known::HeadOnly),
    known("if-range", Known::HeadOnly),
    known("if-unmodified-since", Known::HeadOnly),
    known("keep-alive", Known::HeadOnly),
    known("location", Known::HeadOnly),
    known("max-forwards", Known::HeadOnly),
    known("proxy-authenticate", Known::HeadOnly),
    known("proxy-authorization", Known::HeadOnly),
    known("proxy-connection", Known::HeadOnly),
    known("range", Known::HeadOnly),
    known("set-cookie", Known::HeadOnly),
    known("te", Known::HeadOnly),
    known("trailer", Known::HeadOnly),
    known("transfer-encoding", Known::TransferEncoding),
    known("upgrade", Known::Upgrade),
    known("www-authenticate", Known::HeadOnly),
    known("x-forwarded-for", Known::HeadOnly),
    known("x-forwarded-host", Known::HeadOnly),
    known("x-forwarded-prefix", Known::Override),
    known("x-forwarded-proto", Known::HeadOnly),
    known("x-http-method", Known::Override),
    known("x-http-method-override", Known::Override),
    known("x-method-override", Known::Override),
    known("x-original-uri", Known::Override),
    known("x-original-url", Known::Override),
    known("x-override-url", Known::Override),
    known("x-real-ip", Known::HeadOnly),
    known("x-rewrite-url", Known::Override),
];

/// The longest known name; longer trailer names need not be kept.
pub(super) const MAX_KNOWN_NAME: usize = 22;

/// The names with one first byte.
#[derive(Clone, Copy)]
struct Initial {
    /// Where the known ones begin and end in [`KNOWN`].
    begin: u8,
    end: u8,
    /// Bit n: one of length n may matter in a head. Bit 31 is for all that are longer.
    lengths: u32,
}

impl Initial {
    const NONE: Self = Self { begin: 0, end: 0, lengths: 0 };
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
#[expect(
    clippy::cast_possible_truncation,
    reason = "evaluated at compile time, where it is asserted"
)]
static INITIALS: [Initial; 256] = {
    assert!(KNOWN.len() <= u8::MAX as usize);
    let mut initials = [Initial::NONE; 256];
    let mut first = 0;
    while first < initials.len() {
        let letter = (first as u8).to_ascii_lowercase();
        let initial = &mut initials[first];
        let mut index = 0;
        while index < KNOWN.len() {
            let KnownName { name, meaning, .. } = &KNOWN[index];
            assert!(name.len() <= MAX_KNOWN_NAME);
            if name[0] == letter {
                if initial.end == 0 {
                    initial.begin = index as u8;
                } else {
                    assert!(
                        initial.end as usize == index,
                        "names with one first letter must stand together"
                    );
                }
                initial.end = index as u8 + 1;
                if !matches!(meaning, Known::HeadOnly) {
                    initial.lengths |= 1 << name.len();
                }
            }
            index += 1;
        }
        // What reads like a framing name has at least its letters, and before them perhaps other bytes.
        if matches!(letter, b'c' | b't') || !letter.is_ascii_alphanumeric() {
            initial.lengths |= u32::MAX << b"contentlength".len();
        }
        first += 1;
    }
    initials
};

/// The bytes of a name as numbers, up to 24 of them: other numbers for another name of the same length.
const fn words(name: &[u8]) -> [u64; 3] {
    if let (Some((first, after)), Some(last)) = (name.split_first_chunk(), name.last_chunk()) {
        let middle = match after.first_chunk() {
            Some(middle) => middle,
            None => last,
        };
        return [
            u64::from_le_bytes(*first),
            u64::from_le_bytes(*middle),
            u64::from_le_bytes(*last),
        ];
    }
    let (mut word, mut rest) = (0, name);
    while let [byte, after @ ..] = rest {
        word = (word << 8) | *byte as u64;
        rest = after;
    }
    [word, 0, 0]
}

/// Whether two names of one length are the same in any case, by their [`words`].
fn is_same([a, b, c]: [u64; 3], [known_a, known_b, known_c]: [u64; 3]) -> bool {
    // What differs in this bit alone is a letter's other case; CR, of the same relation to `-`, stands in no name.
    const CASE: u64 = u64::MAX / 0xff * 0x20;
    ((a ^ known_a) | (b ^ known_b) | (c ^ known_c)) & !CASE == 0
}

/// Whether `name`, of the same length, has other bytes where `known` has `-`, and is the same otherwise in any case.
fn is_look_alike(name: &[u8], known: &[u8]) -> bool {
    name.iter().zip(known).all(|(byte, expected)| {
        byte.to_ascii_lowercase() == *expected || *expected == b'-' && !byte.is_ascii_alphanumeric()
    })
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
    /// Takes one field of a request; there is no need to bring those that no [`may_matter`].
    // Few come here, and the loop over all of them needs the registers.
    #[inline(never)]
    pub(super) fn take_of_request(
        &mut self,
        line: &FieldLine<'a>,
        strictness: &Strictness,
    ) -> Result<(), HttpRefusal> {
        let known = match know(line.name()) {
            Ok(None) => return Ok(()),
            Ok(Some(known)) => known,
            Err(Known::HeadOnly) => return Ok(()),
            Err(Known::Override) if strictness.allow_override_fields => return Ok(()),
            Err(_) => return Err(HttpRefusal::LookAlikeName),
        };
        match known {
            Known::Host if self.host.is_some() => Err(HttpRefusal::HostRepeated),
            Known::Host => {
                self.host = Some(host(line.value()).ok_or(HttpRefusal::HostInvalid)?);
                Ok(())
            }
            Known::ContentLength => self.take_length(line),
            Known::TransferEncoding => self.take_encoding(line),
            Known::Connection => {
                self.connection.take(line.value(), Some(strictness.allow_connection_options))
            }
            // Two fields or a list are several protocols; the value of the one field is judged with the whole head.
            Known::Upgrade if self.upgrade.is_some() => Err(HttpRefusal::UpgradeUnsupported),
            Known::Upgrade => {
                self.upgrade = Some(line.value());
                Ok(())
            }
            // RFC 9110 §10.1.1 knows one expectation; obfuscated ones desynchronise.
            Known::Expect
                if self.expects_continue || !line.value().eq_ignore_ascii_case(b"100-continue") =>
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

    /// Takes one field of a response, as above; an error makes the response's framing ambiguous.
    #[inline(never)]
    pub(super) fn take_of_response(&mut self, line: &FieldLine<'a>) -> Result<(), HttpRefusal> {
        match know(line.name()) {
            Ok(Some(Known::ContentLength)) => self.take_length(line),
            Ok(Some(Known::TransferEncoding)) => self.take_encoding(line),
            Ok(Some(Known::Connection)) => self.connection.take(line.value(), None),
            Ok(Some(Known::Upgrade)) if self.upgrade.is_some() => Err(HttpRefusal::SwitchUnasked),
            Ok(Some(Known::Upgrade)) => {
                self.upgrade = Some(line.value());
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
    fn take_length(&mut self, line: &FieldLine<'_>) -> Result<(), HttpRefusal> {
        if self.length.is_some() {
            return Err(HttpRefusal::LengthRepeated);
        }
        let value = line.plain_value().ok_or(HttpRefusal::FramingSpace)?;
        self.length = Some(length(value).ok_or(HttpRefusal::LengthInvalid)?);
        Ok(())
    }

    /// RFC 9112 §6.1. DEVIATION: `chunked` in lower case only; some servers compare bytes and then see no coding.
    fn take_encoding(&mut self, line: &FieldLine<'_>) -> Result<(), HttpRefusal> {
        if self.chunked {
            return Err(HttpRefusal::EncodingRepeated);
        }
        if line.plain_value().ok_or(HttpRefusal::FramingSpace)? != b"chunked" {
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
            let port = after_run(value, is_name_byte);
            let name_len = value.len().checked_sub(port.len())?;
            (1..=MAX_NAME).contains(&name_len).then_some(port)?
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
        Connection, FieldLine, Fields, HttpRefusal as R, KNOWN, Known, KnownName, Said, Strictness,
        field_line, host, is_tchar, know, length, may_matter,
    };

    fn line(name: &str, value: &str) -> FieldLine<'static> {
        let line = format!("{name}: {value}\r\n").leak();
        field_line(line.as_bytes()).unwrap().0
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
        for KnownName { name, meaning: known, .. } in &KNOWN {
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
        for (name, value) in [("content-length", " 5"), ("transfer-encoding", "chunked\t")] {
            assert_eq!(take(name, value, &Strictness::STRICT), Err(R::FramingSpace));
        }
    }

    #[test]
    fn what_does_not_matter_is_nothing_that_is_known_but_for_trailers() {
        let harmless = [Ok(None), Ok(Some(Known::HeadOnly)), Err(Known::HeadOnly)];
        let mut passed = 0;
        let mut check = |name: &[u8]| {
            let matters = may_matter(name);
            passed += usize::from(!matters);
            assert!(matters || harmless.contains(&know(name)), "{name:?}");
        };
        let tchars: Vec<u8> = (0..=u8::MAX).filter(|byte| is_tchar(*byte)).collect();
        for KnownName { name, .. } in &KNOWN {
            for place in 0..=name.len() {
                let (before, after) = name.split_at(place);
                for byte in &tchars {
                    for count in [1, 2, 20] {
                        let more = [before, &[*byte].repeat(count), after].concat();
                        check(&more);
                        check(&more.to_ascii_uppercase());
                    }
                    let other = [before, &[*byte], after.get(1..).unwrap_or_default()].concat();
                    check(&other);
                    check(&[&other[..place], after.get(1..).unwrap_or_default()].concat());
                }
            }
        }
        check(b"");
        assert!(passed > 0 && !may_matter(b"accept") && !may_matter(b"Cookie"));
    }

    #[test]
    fn known_letters_cover_every_meaning() {
        for known in [Known::Host, Known::Expect, Known::Override, Known::HeadOnly] {
            assert!(KNOWN.iter().any(|it| it.meaning == known));
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
