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
