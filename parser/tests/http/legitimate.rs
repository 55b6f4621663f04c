//! No false refusals: what real clients send is read, and framed to its last byte.

use parser::http::{Limits, Progress, ResponseTo, read_response};

use crate::{
    corpus::LEGITIMATE,
    stream::{Event, whole},
};

#[test]
fn nothing_that_real_clients_send_is_refused() {
    let mut false_refusals = Vec::new();
    for (name, bytes) in LEGITIMATE {
        match whole(bytes).last() {
            Some(Event::BodyEnd { at }) if *at == bytes.len() => {}
            other => false_refusals.push((name, other.cloned())),
        }
    }
    assert!(false_refusals.is_empty(), "{false_refusals:#?}");
}

#[test]
fn long_cookies_and_many_fields_below_the_limits_pass() {
    let cookie = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "a=b; ".repeat(1_600));
    assert!(matches!(whole(cookie.as_bytes()).last(), Some(Event::BodyEnd { .. })));
    let many: String = (0..99).map(|index| format!("X-{index}: y\r\n")).collect();
    let fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n");
    assert!(matches!(whole(fields.as_bytes()).last(), Some(Event::BodyEnd { .. })));
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8_000));
    assert!(matches!(whole(long.as_bytes()).last(), Some(Event::BodyEnd { .. })));
}

#[test]
fn what_real_servers_answer_is_read_without_ambiguity() {
    let answers: [&[u8]; 10] = [
        b"HTTP/1.1 200 OK\r\nServer: nginx/1.27.0\r\nDate: Mon, 01 Jul 2024 00:00:00 GMT\r\nContent-Type: text/html\r\nContent-Length: 612\r\nConnection: keep-alive\r\nETag: \"66\"\r\nAccept-Ranges: bytes\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nServer: SimpleHTTP/0.6 Python/3.12.3\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 612\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /a b\r\nSet-Cookie: a=\xc3\xa4\r\ncontent-length: 0\r\nKeep-Alive: timeout=5\r\nConnection: Keep-Alive\r\n\r\n",
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
    ];
    for answer in answers {
        match read_response(answer, ResponseTo::Other, &Limits::RESPONSES) {
            Ok(Progress::Complete(head)) => {
                assert_eq!(head.ambiguous, None, "{:?}", String::from_utf8_lossy(answer));
                assert_eq!(head.head_len, answer.len());
            }
            other => panic!("{:?}: {other:?}", String::from_utf8_lossy(answer)),
        }
    }
}
