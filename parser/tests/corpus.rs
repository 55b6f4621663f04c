//! Replays the fuzzing corpus of `headers`: real frames must be read, attacks must be refused for
//! the reason in their name, and what the fuzz target asserts must hold of all.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of a test, and what the fuzz target asserts"
)]

#[path = "../../fuzz/src/headers.rs"]
mod headers;

use std::{fs, path::Path};

use parser::{
    ParseError,
    checksum::{Sum, complete_partial, verify_transport, verify_transport_parts},
    fragment::{Arrival, FragmentKey, Limits, Reassembler},
    headers::{Headers, Transport},
    plain::Plain,
};

/// The corpus as (file name, frame), in the order of names.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/headers");
    let mut frames = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        })
        .collect::<Vec<_>>();
    frames.sort();
    assert!(frames.len() > 150, "the corpus is there");
    frames
}

fn named(prefix: &str) -> Vec<(String, Vec<u8>)> {
    let frames =
        corpus().into_iter().filter(|(name, _)| name.starts_with(prefix)).collect::<Vec<_>>();
    assert!(!frames.is_empty(), "{prefix}");
    frames
}

#[test]
fn every_file_keeps_the_parser_s_promises() {
    for (_, frame) in corpus() {
        headers::check(&frame);
    }
}

#[test]
fn every_prefix_and_every_flipped_byte_keeps_them_too() {
    for (_, mut frame) in corpus() {
        frame.truncate(200);
        for length in 0..frame.len() {
            headers::check(&frame[..length]);
        }
        for place in 0..frame.len().min(90) {
            frame[place] ^= 0xff;
            headers::check(&frame);
            frame[place] ^= 0xff;
        }
    }
}

/// Gives an IPv4 header without options the checksum that it should have.
fn repair(frame: &mut [u8]) {
    if frame[12..14] == [0x08, 0x00] {
        frame[24..26].fill(0);
        let checksum = Sum::new().add_bytes(&frame[14..34]).checksum();
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Without its repair, the header's checksum would hide every other question.
#[test]
fn every_value_of_every_byte_of_a_plain_header_keeps_them_too() {
    for name in ["linux-tcp4-ap.0", "linux-tcp6-ap.0", "linux-udp4.0", "linux-udp6.0"] {
        let (_, frame) = named(name).remove(0);
        let check = |place: usize, new: &[u8]| {
            let mut spoilt = frame.clone();
            spoilt[place..place + new.len()].copy_from_slice(new);
            headers::check(&spoilt);
            repair(&mut spoilt);
            headers::check(&spoilt);
        };
        let (plain, _) = Plain::read(&frame).unwrap();
        let end = plain.packet_end() - plain.payload_len();
        for place in 0..end {
            (0..=u8::MAX).for_each(|new| check(place, &[new]));
        }
        for place in (0..end).step_by(2) {
            check(place, &[0; 2]);
            check(place, &[0xff; 2]);
        }
    }
}

#[test]
fn attacks_are_refused_for_the_reason_in_their_name() {
    for (name, frame) in named("refused-") {
        let reason = Headers::parse(&frame).err().map(|reason| format!("{reason:?}"));
        let expected = name.strip_prefix("refused-").unwrap().split('.').next();
        assert_eq!(reason.as_deref(), expected, "{name}");
    }
}

#[test]
fn every_reason_of_the_walk_has_an_attack() {
    let source = include_str!("../src/error.rs");
    let variants =
        source.split("pub enum ParseError {").nth(1).unwrap().split("\n}").next().unwrap();
    let variants = variants.lines().filter_map(|line| line.trim().strip_suffix(','));
    let names = named("refused-").into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let missing = variants.filter(|variant| !variant.starts_with("///")).filter(|variant| {
        !names.iter().any(|name| name.starts_with(&format!("refused-{variant}.")))
    });
    // Options are read later than headers are.
    assert_eq!(missing.collect::<Vec<_>>(), [format!("{:?}", ParseError::TcpOptionMalformed)]);
}

#[test]
fn odd_frames_are_read() {
    for (name, frame) in named("odd-") {
        assert_eq!(Headers::parse(&frame).err(), None, "{name}");
    }
}

#[test]
fn what_linux_sends_is_read_as_what_it_is() {
    for (name, mut frame) in named("linux-") {
        let headers = Headers::parse(&frame).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        let kind = name.strip_prefix("linux-").unwrap();
        let expected = match headers.transport {
            Transport::Tcp(_) => "tcp",
            Transport::Udp(_) => "udp",
            Transport::Sctp(_) => "sctp",
            Transport::Icmp(_) => "icmp4",
            Transport::Icmpv6(_) => "icmp6",
            Transport::Fragment(_) => "fragment",
            Transport::None => "arp",
            Transport::Other { .. } => "other",
        };
        assert!(kind.starts_with(expected), "{name}: {headers:?}");
        if expected != "fragment" {
            let was_partial = complete_partial(&mut frame, &headers);
            assert!(verify_transport(&frame, &headers), "{name}");
            assert!(!was_partial || matches!(expected, "tcp" | "udp"), "{name}");
        }
        assert!(headers.tcp_options(&frame).all(|option| option.is_ok()), "{name}");
        if kind.contains("unreachable") {
            assert!(headers.icmp_error().is_some(), "{name}");
        }
    }
}

#[test]
fn a_pod_s_stack_leaves_checksums_to_hardware() {
    let count = named("linux-tcp").into_iter().filter(|(_, frame)| {
        let headers = Headers::parse(frame).unwrap();
        complete_partial(&mut frame.clone(), &headers)
    });
    assert!(count.count() > 15, "the case that completing exists for");
}

#[test]
fn fragments_linux_sends_become_whole_packets_with_a_right_checksum() {
    let limits = Limits {
        packets: 16,
        packets_per_source: 8,
        packets_per_link: 16,
        pieces_per_packet: 8,
        buffers: 64,
        buffers_per_link: 64,
        age: 1,
    };
    let mut reassembler = Reassembler::new(limits);
    let mut whole = 0;
    for (name, frame) in named("linux-fragment") {
        let headers = Headers::parse(&frame).unwrap();
        let (key, fragment) = FragmentKey::of(&headers, 0).unwrap();
        match reassembler.insert(key, fragment, headers.payload_len, 1, frame, 0) {
            Arrival::Wait => {}
            Arrival::Refuse { reason, .. } => panic!("{name}: {reason:?}"),
            Arrival::Whole { items, length } => {
                let items = items.collect::<Vec<_>>();
                let headers = Headers::parse_whole(&items[0], items[0].len(), length).unwrap();
                let rest = items[1..]
                    .iter()
                    .map(|frame| Headers::parse(frame).unwrap().payload(frame).unwrap());
                assert!(verify_transport_parts(&items[0], rest, &headers), "{name}");
                whole += 1;
            }
        }
    }
    assert_eq!((whole, reassembler.waiting()), (6, 0));
}
