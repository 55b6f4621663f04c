//! Fields: which names matter here, what each may say, and what a head's fields say together (RFC 9110 §5-10).
//!
//! Names and values whose shape is already checked arrive one by one; [`Said`] leaves, the facts that frame a message.
//! INVARIANT: a field that frames has one spelling and one place, or the message is refused.

use super::{HttpRefusal, Strictness, scanner::is_tchar};

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
        let end = self.lines.iter().position(|byte| *byte == b'\r')?;
        let (line, rest) = self.lines.split_at_checked(end)?;
        self.lines = rest.strip_prefix(b"\r\n")?;
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        Some(Field { name, value: trim(value.strip_prefix(b":")?) })
    }
}

/// RFC 9110 §5.6.3 OWS around a value.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
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
    let Some(first) = name.first() else { return Ok(None) };
    // Most fields end here: a bit per first letter and a bit per length, over all names below.
    if !may_be_known(first.to_ascii_lowercase(), name.len()) {
        return Ok(None);
    }
    for (known_name, known) in KNOWN {
        if known_name.len() == name.len() {
            match resemble(name, known_name) {
                Some(true) => return Ok(Some(*known)),
                Some(false) => return Err(*known),
                None => {}
            }
        }
    }
    Ok(None)
}

/// Sorted by meaning, lower case.
const KNOWN: &[(&[u8], Known)] = &[
    (b"host", Known::Host),
    (b"content-length", Known::ContentLength),
    (b"transfer-encoding", Known::TransferEncoding),
    (b"connection", Known::Connection),
    (b"upgrade", Known::Upgrade),
    (b"expect", Known::Expect),
    (b"x-http-method-override", Known::Override),
    (b"x-http-method", Known::Override),
    (b"x-method-override", Known::Override),
    (b"x-original-url", Known::Override),
    (b"x-original-uri", Known::Override),
    (b"x-rewrite-url", Known::Override),
    (b"x-override-url", Known::Override),
    (b"x-forwarded-prefix", Known::Override),
    (b"authorization", Known::HeadOnly),
    (b"proxy-authorization", Known::HeadOnly),
    (b"www-authenticate", Known::HeadOnly),
    (b"proxy-authenticate", Known::HeadOnly),
    (b"cookie", Known::HeadOnly),
    (b"set-cookie", Known::HeadOnly),
    (b"content-encoding", Known::HeadOnly),
    (b"content-type", Known::HeadOnly),
    (b"content-range", Known::HeadOnly),
    (b"content-location", Known::HeadOnly),
    (b"cache-control", Known::HeadOnly),
    (b"max-forwards", Known::HeadOnly),
    (b"te", Known::HeadOnly),
    (b"trailer", Known::HeadOnly),
    (b"keep-alive", Known::HeadOnly),
    (b"proxy-connection", Known::HeadOnly),
    (b"range", Known::HeadOnly),
    (b"if-match", Known::HeadOnly),
    (b"if-none-match", Known::HeadOnly),
    (b"if-modified-since", Known::HeadOnly),
    (b"if-unmodified-since", Known::HeadOnly),
    (b"if-range", Known::HeadOnly),
    (b"forwarded", Known::HeadOnly),
    (b"x-forwarded-for", Known::HeadOnly),
    (b"x-forwarded-host", Known::HeadOnly),
    (b"x-forwarded-proto", Known::HeadOnly),
    (b"x-real-ip", Known::HeadOnly),
    (b"location", Known::HeadOnly),
];

/// The longest known name; longer trailer names need not be kept.
pub(super) const MAX_KNOWN_NAME: usize = 22;

/// Per lower-case first letter, the lengths at which a known name with that letter exists (bit n: length n).
const LENGTHS_BY_LETTER: [u32; 26] = {
    let mut table = [0_u32; 26];
    let mut index = 0;
    while index < KNOWN.len() {
        #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
        let name = KNOWN[index].0;
        assert!(name.len() <= MAX_KNOWN_NAME);
        #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
        {
            table[(name[0] - b'a') as usize] |= 1 << name.len();
        }
        index += 1;
    }
    table
};

fn may_be_known(first: u8, length: usize) -> bool {
    let lengths = LENGTHS_BY_LETTER.get(usize::from(first.wrapping_sub(b'a')));
    lengths.is_some_and(|lengths| length <= MAX_KNOWN_NAME && lengths & (1 << length) != 0)
}

/// `Some(true)` for the same name in any case, `Some(false)` for a look-alike. Both have the same length.
fn resemble(name: &[u8], known: &[u8]) -> Option<bool> {
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
    ///
    /// `one_space` says that nothing but at most one SP stood around the value.
    pub(super) fn take_of_request(
        &mut self,
        name: &[u8],
        value: &'a [u8],
        one_space: bool,
        strictness: &Strictness,
    ) -> Result<(), HttpRefusal> {
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
            // RFC 9110 §10.1.1 knows one expectation. DEVIATION: its case is fixed, as obfuscated ones desynchronise.
            Known::Expect if self.expects_continue || value != b"100-continue" => {
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
    pub(super) fn take_of_response(
        &mut self,
        name: &[u8],
        value: &'a [u8],
        one_space: bool,
    ) -> Result<(), HttpRefusal> {
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
    if value.len() > 255 + 6 {
        return None;
    }
    let text = core::str::from_utf8(value).ok()?;
    let (name, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        address.parse::<core::net::Ipv6Addr>().ok()?;
        (address, port)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (name, port) = text.split_at_checked(end)?;
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
            return None;
        }
        (name, port)
    };
    if name.is_empty() || !(port.is_empty() || is_port(port)) {
        return None;
    }
    Some(text)
}

/// `:` and a port without leading zeros.
fn is_port(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else { return false };
    digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
        && digits.parse::<u16>().is_ok()
}
