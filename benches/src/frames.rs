//! Frames that the benchmarks work on: what a pod of the demo sends, built once and outside the
//! measured time.
#![expect(clippy::expect_used, reason = "a benchmark without its frame must not run")]

use parser::{
    emit::{Envelope, Segment},
    ethernet::MacAddress,
    tcp::{SeqNumber, TcpFlags, Timestamps},
};

/// A request as curl sends it, of 70 to 80 bytes with most host names.
pub const REQUEST: &[u8] =
    b"POST /v1/request-landing HTTP/1.1\r\nHost: deathstar\r\nUser-Agent: curl/7.88.1\r\n\r\n";

/// A response that a small API would send.
pub const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nShip landed\n";

/// The head of `GET /public` in exactly `length` bytes (at least 70), made of the fields that browsers send.
#[must_use]
pub fn head(length: usize) -> Vec<u8> {
    let fields = [
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n",
        "Accept-Language: en-US,en;q=0.5\r\n",
        "Accept-Encoding: gzip, deflate, br, zstd\r\n",
        "Connection: keep-alive\r\n",
        "Cache-Control: no-cache\r\n",
    ];
    const LAST: (&str, &str) = ("Cookie: session=", "\r\n\r\n");
    let mut text = String::from("GET /public HTTP/1.1\r\nHost: web.default\r\n");
    for field in fields {
        if text.len() + field.len() + LAST.0.len() + LAST.1.len() < length {
            text.push_str(field);
        }
    }
    text.push_str(LAST.0);
    let fill = length.saturating_sub(text.len() + LAST.1.len());
    text.extend("0123456789abcdef".chars().cycle().take(fill));
    text.push_str(LAST.1);
    text.into_bytes()
}

/// A TCP segment with timestamps from one pod to another.
#[must_use]
pub fn segment(is_ipv6: bool, payload: &[u8]) -> Vec<u8> {
    let (source, destination) =
        if is_ipv6 { ("fd00::1", "fd00::2") } else { ("10.0.0.1", "10.0.0.2") };
    let options = Timestamps { value: 1, echo: 2 }.to_option();
    let segment = Segment {
        envelope: Envelope {
            source_mac: MacAddress::new([2, 0, 0, 0, 0, 1]),
            destination_mac: MacAddress::new([2, 0, 0, 0, 0, 2]),
            source: source.parse().expect("a literal"),
            destination: destination.parse().expect("a literal"),
            hop_limit: 64,
            traffic_class: 0,
        },
        src_port: 40000,
        dst_port: 80,
        seq: SeqNumber::new(1),
        ack: SeqNumber::new(2),
        flags: TcpFlags::PSH.with(TcpFlags::ACK),
        window: 500,
        options: &options,
        payload,
    };
    let mut frame = vec![0; payload.len() + 200];
    let length = segment.emit(&mut frame).expect("it fits");
    frame.truncate(length);
    frame
}
