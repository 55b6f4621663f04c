//! A slow reader that is obviously right, written from the rules and without the code under test: it splits strings.
//!
//! Both must agree on what is accepted, and on what an accepted head says, over random mutations of the corpus. What is
//! accepted, httparse must accept too and take apart alike.

use parser::http::{Body, BodyFraming, Limits, Progress, RequestHead, Version, read_request};
use proptest::prelude::*;

use crate::corpus::{LEGITIMATE, REFUSED};

#[derive(Debug, PartialEq, Eq)]
struct Accepted {
    head_len: usize,
    method: String,
    view: String,
    host: String,
    old: bool,
    framing: BodyFraming,
    persistent: bool,
    websocket: bool,
}

/// `None` if `bytes` hold no whole head or it is refused.
fn reference(bytes: &[u8]) -> Option<Accepted> {
    let limits = Limits::default();
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let end = bytes[skipped..].windows(4).position(|four| four == b"\r\n\r\n")? + skipped;
    let head_len = end + 4;
    if head_len > limits.head_bytes {
        return None;
    }
    // One character per byte, so that text functions may be used.
    let head: String = bytes[skipped..end].iter().map(|byte| char::from(*byte)).collect();
    let mut lines = head.split("\r\n");
    let parts: Vec<&str> = lines.next()?.split(' ').collect();
    let [method, target, version] = parts[..] else { return None };
    let all =
        |text: &str, allowed: &dyn Fn(char) -> bool| !text.is_empty() && text.chars().all(allowed);
    if !all(method, &|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-' || c == '_')
        || !method.starts_with(|c: char| c.is_ascii_uppercase())
        || method.len() > 32
        || method == "CONNECT"
    {
        return None;
    }
    let old = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return None,
    };

    let mut fields: Vec<(String, String, String)> = Vec::new();
    for line in lines {
        let (name, raw) = line.split_once(':')?;
        if !all(name, &is_tchar)
            || raw.chars().any(|c| (c.is_control() && c != '\t' && c < '\u{80}') || c == '\r')
        {
            return None;
        }
        let value = raw.trim_matches([' ', '\t']);
        fields.push((name.to_ascii_lowercase(), value.to_owned(), raw.to_owned()));
    }
    if fields.len() > limits.fields
        || head.split("\r\n").any(|line| line.len() + 2 > limits.line_bytes)
    {
        return None;
    }

    // Names that are refused as such.
    let letters = |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    let hyphenated = |name: &str| {
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>()
    };
    let overrides = [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-original-uri",
        "x-rewrite-url",
        "x-override-url",
        "x-forwarded-prefix",
    ];
    for (name, ..) in &fields {
        if overrides.contains(&hyphenated(name).as_str())
            || (letters(name) == "contentlength" && name != "content-length")
            || (letters(name) == "transferencoding" && name != "transfer-encoding")
        {
            return None;
        }
    }
    let all_of = |wanted: &str| {
        fields
            .iter()
            .filter(|(name, ..)| name == wanted)
            .map(|(_, value, raw)| (value.as_str(), raw.as_str()))
            .collect::<Vec<_>>()
    };

    let [(host, _)] = all_of("host")[..] else { return None };
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, port)
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    if name.is_empty() || name.len() > 255 {
        return None;
    }
    if !host.starts_with('[') && !all(name, &|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        return None;
    }
    if let Some(digits) = port.strip_prefix(':') {
        let number: u32 = digits.parse().ok()?;
        if number == 0 || number > 65_535 || number.to_string() != digits {
            return None;
        }
    } else if !port.is_empty() {
        return None;
    }

    let view = reference_view(method, target, host)?;

    let one_space = |value: &str, raw: &str| raw == value || raw == format!(" {value}");
    let length = match all_of("content-length")[..] {
        [] => None,
        [(value, raw)] if one_space(value, raw) => {
            let number: u64 = value.parse().ok()?;
            if number.to_string() != value || value.len() > 18 {
                return None;
            }
            Some(number)
        }
        _ => return None,
    };
    let chunked = match all_of("transfer-encoding")[..] {
        [] => false,
        [("chunked", raw)] if one_space("chunked", raw) && !old => true,
        _ => return None,
    };
    let framing = match (length, chunked) {
        (Some(_), true) => return None,
        (None, true) => BodyFraming::Chunked,
        (Some(0) | None, false) => BodyFraming::None,
        (Some(number), false) => BodyFraming::Length(number),
    };
    if method == "TRACE" && (length.is_some() || chunked) {
        return None;
    }

    let mut options = Vec::new();
    for (value, _) in all_of("connection") {
        options.extend(
            value.split(',').map(|option| option.trim_matches([' ', '\t']).to_ascii_lowercase()),
        );
    }
    let known = ["close", "keep-alive", "upgrade", "te", "http2-settings", "proxy-connection"];
    if !options.iter().all(|option| known.contains(&option.as_str())) {
        return None;
    }
    let said = |option: &str| options.iter().any(|it| it == option);
    match all_of("expect")[..] {
        [] => {}
        [(value, _)] if value.eq_ignore_ascii_case("100-continue") && !old => {}
        _ => return None,
    }
    let websocket = match all_of("upgrade")[..] {
        [] => false,
        [(value, _)]
            if value.eq_ignore_ascii_case("websocket")
                && said("upgrade")
                && method == "GET"
                && !old
                && framing == BodyFraming::None =>
        {
            true
        }
        _ => return None,
    };
    let persistent = !said("close") && (!old || said("keep-alive"));
    let (method, host) = (method.to_owned(), host.to_owned());
    Some(Accepted { head_len, method, view, host, old, framing, persistent, websocket })
}

fn is_tchar(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// The part of the target that is matched, if it is its own canonical form.
fn reference_view(method: &str, target: &str, host: &str) -> Option<String> {
    if target == "*" {
        return (method == "OPTIONS").then(|| "*".to_owned());
    }
    let view = match target.strip_prefix("http://") {
        Some(rest) => match rest.strip_prefix(host)? {
            "" => "/",
            path => path,
        },
        None => target,
    };
    let (path, query) = view.split_once('?').unwrap_or((view, ""));
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let (last, inner) = segments.split_last()?;
    if inner.iter().any(|segment| segment.is_empty()) {
        return None;
    }
    for segment in inner.iter().chain([last]) {
        let decoded = percent_decode(segment)?;
        if *segment == "." || *segment == ".." || std::str::from_utf8(&decoded).is_err() {
            return None;
        }
        let escapes = segment
            .match_indices('%')
            .map(|(at, _)| percent_decode(&segment[at..at + 3]).unwrap()[0]);
        let mut plain = segment.to_string();
        for escaped in escapes {
            let harmless = escaped >= 0x80 || b" \"<>[]{}|^`!$&'()*+,=:@".contains(&escaped);
            if !harmless {
                return None;
            }
        }
        while let Some(at) = plain.find('%') {
            plain.replace_range(at..at + 3, "");
        }
        if !plain.chars().all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+,=:@".contains(c)) {
            return None;
        }
    }
    if !query.chars().all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?[]%".contains(c))
        || percent_decode(query)?.iter().any(u8::is_ascii_control)
    {
        return None;
    }
    Some(view.to_owned())
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    Some(bytes)
}

/// Where chunked content ends, if it is whole and in order.
fn reference_chunks(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line_len = bytes[at..].windows(2).position(|pair| pair == b"\r\n")?;
        let line = std::str::from_utf8(&bytes[at..at + line_len]).ok()?;
        if line.is_empty() || line.len() > 16 || !line.bytes().all(|it| it.is_ascii_hexdigit()) {
            return None;
        }
        let size = usize::from_str_radix(line, 16).ok()?;
        at += line_len + 2;
        if size == 0 {
            break;
        }
        if size > 0x7fff_ffff || bytes.get(at..at + size + 2)?[size..] != *b"\r\n" {
            return None;
        }
        at += size + 2;
    }
    loop {
        let line_len = bytes[at..].windows(2).position(|pair| pair == b"\r\n")?;
        let line: String = bytes[at..at + line_len].iter().map(|byte| char::from(*byte)).collect();
        at += line_len + 2;
        if line.is_empty() {
            return Some(at);
        }
        let (name, value) = line.split_once(':')?;
        let letters: String =
            name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        let name_itself = name.to_lowercase();
        let forbidden = ["contentlength", "transferencoding"].contains(&letters.as_str())
            || ["host", "connection", "upgrade", "expect", "te"].contains(&name_itself.as_str());
        if name.is_empty()
            || !name.chars().all(is_tchar)
            || forbidden
            || value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
        {
            return None;
        }
    }
}

fn ours(bytes: &[u8]) -> Option<Accepted> {
    match read_request(bytes, &Limits::default()) {
        Ok(Progress::Complete(head)) => Some(agreed(&head, bytes)),
        Ok(Progress::Incomplete) | Err(_) => None,
    }
}

/// What `head` says, after httparse has said the same.
fn agreed(head: &RequestHead<'_>, bytes: &[u8]) -> Accepted {
    let mut array = [httparse::EMPTY_HEADER; 128];
    let mut other = httparse::Request::new(&mut array);
    assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(head.head_len)));
    assert_eq!((other.method, other.path), (Some(head.method), Some(head.target)));
    let theirs = other.headers.iter().map(|field| (field.name.as_bytes(), field.value));
    assert!(head.fields().map(|field| (field.name, field.value)).eq(theirs));
    Accepted {
        head_len: head.head_len,
        method: head.method.to_owned(),
        view: head.path_and_query.to_owned(),
        host: head.host.to_owned(),
        old: head.version == Version::Http10,
        framing: head.framing,
        persistent: head.persistent,
        websocket: head.upgrade.is_some(),
    }
}

#[derive(Clone, Debug)]
enum Mutation {
    Insert(u8),
    Replace(u8),
    Delete,
    InsertText(&'static str),
    DuplicateLine,
    FlipCase,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = prop_oneof![
        4 => prop::sample::select(&b"\r\n\t :;,/.%?#\\@&=+-_\"\0\x0b\x7f\x85\xa0"[..]),
        1 => any::<u8>(),
    ];
    let text = prop::sample::select(vec![
        "\r\n",
        "\r\n\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: a\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive, Upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Expect: 100-continue\r\n",
        "%2e",
        "%2F",
        "%c3%a4",
        "%C0%AF",
        "%20",
        "%61",
        "/../",
        "//",
        "/./",
        "HTTP/1.0",
        "HTTP/1.1",
        "http://a",
        "chunked",
        ", ",
        "Content_Length: 5\r\n",
        "X: y\r\n",
        "0",
        "OPTIONS",
        "TRACE",
        "[::1]",
        ":80",
        "?",
    ]);
    prop_oneof![
        3 => byte.clone().prop_map(Mutation::Insert),
        3 => byte.prop_map(Mutation::Replace),
        2 => Just(Mutation::Delete),
        4 => text.prop_map(Mutation::InsertText),
        1 => Just(Mutation::DuplicateLine),
        1 => Just(Mutation::FlipCase),
    ]
}

fn mutate(bytes: &mut Vec<u8>, at: prop::sample::Index, mutation: &Mutation) {
    let at = at.index(bytes.len() + 1);
    match mutation {
        Mutation::Insert(byte) => bytes.insert(at, *byte),
        Mutation::Replace(byte) if at < bytes.len() => bytes[at] = *byte,
        Mutation::Delete if at < bytes.len() => {
            bytes.remove(at);
        }
        Mutation::InsertText(text) => {
            bytes.splice(at..at, text.bytes());
        }
        Mutation::DuplicateLine => {
            let begin = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |lf| lf + 1);
            let end = bytes[at..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(bytes.len(), |lf| at + lf + 1);
            let line = bytes[begin..end].to_vec();
            bytes.splice(begin..begin, line);
        }
        Mutation::FlipCase if at < bytes.len() => bytes[at] ^= 0x20,
        Mutation::Replace(_) | Mutation::Delete | Mutation::FlipCase => {}
    }
}

#[test]
fn both_accept_the_corpus_alike() {
    for bytes in LEGITIMATE.iter().map(|(_, bytes)| *bytes).chain(REFUSED.iter().copied()) {
        assert_eq!(ours(bytes), reference(bytes), "{:?}", String::from_utf8_lossy(bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_000))]

    #[test]
    fn both_accept_mutated_requests_alike(
        index in 0..LEGITIMATE.len(),
        mutations in proptest::collection::vec((any::<prop::sample::Index>(), mutation()), 1..5),
    ) {
        let mut bytes = LEGITIMATE[index].1.to_vec();
        for (at, mutation) in &mutations {
            mutate(&mut bytes, *at, mutation);
        }
        prop_assert_eq!(ours(&bytes), reference(&bytes), "{:?}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn both_accept_short_targets_alike(target in "(/|[*]|http://a|%2[eEfF]|%[c-fC-F]?[0-9a-f]|[.]{1,2}|[;?#a~%\\[|:]){1,6}") {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        prop_assert_eq!(ours(&bytes), reference(&bytes), "{}", target);
    }

    #[test]
    fn both_end_mutated_chunks_alike(
        sizes in proptest::collection::vec(1_usize..40, 0..4),
        mutations in proptest::collection::vec((any::<prop::sample::Index>(), mutation()), 0..3),
    ) {
        let mut bytes = Vec::new();
        for size in sizes {
            bytes.extend(format!("{size:x}\r\n{}\r\n", "x".repeat(size)).bytes());
        }
        bytes.extend(b"0\r\n\r\n");
        for (at, mutation) in &mutations {
            mutate(&mut bytes, *at, mutation);
        }
        let ours = match Body::from(BodyFraming::Chunked).advance(&bytes) {
            Ok(step) if step.finished => Some(step.consumed),
            _ => None,
        };
        prop_assert_eq!(ours, reference_chunks(&bytes), "{:?}", String::from_utf8_lossy(&bytes));
    }
}
