//! The result is a function of the byte stream, never of its cuts (invariant of the module, evasion row T1).

use parser::http::{
    HeadScanner, Limits, Progress, ResponseTo, Strictness, read_request, read_request_on,
    read_response, read_response_on,
};
use proptest::prelude::*;

use crate::{
    corpus::{LEGITIMATE, REFUSED},
    stream::{cut, segmented, whole},
};

fn corpus() -> impl Iterator<Item = &'static [u8]> {
    LEGITIMATE.iter().map(|(_, bytes)| *bytes).chain(REFUSED.iter().copied())
}

#[test]
fn every_stream_gives_the_same_in_one_byte_segments() {
    for bytes in corpus() {
        assert_eq!(
            segmented(bytes.chunks(1)),
            whole(bytes),
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn every_stream_gives_the_same_under_every_2_cut() {
    let mut cases = 0;
    for bytes in corpus() {
        let expected = whole(bytes);
        for first in 0..=bytes.len() {
            // All pairs for short streams; for long ones all single cuts and every pair at a prime distance.
            let step = if bytes.len() <= 128 { 1 } else { 17 };
            for second in (first..=bytes.len()).step_by(step) {
                let segments = cut(bytes, &[first, second]);
                assert_eq!(segmented(segments), expected, "{first} {second} {bytes:?}");
                cases += 1;
            }
        }
    }
    println!("2-cuts tried: {cases}");
    assert!(cases > 50_000);
}

#[test]
fn a_prefix_is_incomplete_or_refused_as_the_whole_is() {
    let limits = Limits::default();
    for bytes in corpus() {
        let outcome = read_request(bytes, &limits).map(|progress| match progress {
            Progress::Complete(head) => head.head_len,
            Progress::Incomplete => usize::MAX,
        });
        let mut refused = false;
        for end in 0..bytes.len() {
            match (read_request(&bytes[..end], &limits), outcome) {
                (Err(refusal), outcome) => {
                    assert_eq!(outcome, Err(refusal));
                    refused = true;
                }
                (Ok(Progress::Incomplete), Ok(head_len)) => assert!(end < head_len),
                (Ok(Progress::Incomplete), Err(_)) => assert!(!refused, "a refusal is final"),
                (Ok(Progress::Complete(head)), outcome) => assert_eq!(Ok(head.head_len), outcome),
            }
        }
    }
}

#[test]
fn a_head_that_grows_is_read_on_as_the_whole_is() {
    let limits = Limits::default();
    for bytes in corpus() {
        let whole = read_request(bytes, &limits).map(|progress| match progress {
            Progress::Complete(head) => Some((head.head_len, head.framing)),
            Progress::Incomplete => None,
        });
        for step in [1, 2, 3, 7, 16, 61, bytes.len().max(1)] {
            let mut scanner = HeadScanner::request();
            let mut grown = Ok(None);
            for end in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
                let strict = Strictness::STRICT;
                match read_request_on(&mut scanner, &bytes[..end], &limits, &strict) {
                    Ok(Progress::Incomplete) => assert_eq!(scanner.scanned(), end),
                    Ok(Progress::Complete(head)) => grown = Ok(Some((head.head_len, head.framing))),
                    Err(refusal) => grown = Err(refusal),
                }
                if grown != Ok(None) {
                    break;
                }
            }
            assert_eq!(grown, whole, "{step}");
        }
    }
}

#[test]
fn a_response_that_grows_is_read_on_as_the_whole_is() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: a\r\n\r\nhello";
    let (to, limits) = (ResponseTo::Other, Limits::RESPONSES);
    let mut scanner = HeadScanner::response();
    for end in 0..bytes.len() - 5 {
        let read = read_response_on(&mut scanner, &bytes[..end], to, &limits);
        assert!(matches!(read, Ok(Progress::Incomplete)));
        assert_eq!(scanner.scanned(), end);
    }
    let read = read_response_on(&mut scanner, bytes, to, &limits);
    let whole = read_response(bytes, to, &limits);
    assert_eq!(format!("{read:?}"), format!("{whole:?}"));
    assert!(matches!(whole, Ok(Progress::Complete(_))));
}

#[test]
fn a_response_prefix_is_incomplete() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: a\r\n\r\nhello";
    let head_len = bytes.len() - 5;
    for end in 0..=bytes.len() {
        match read_response(&bytes[..end], ResponseTo::Other, &Limits::RESPONSES) {
            Ok(Progress::Incomplete) => assert!(end < head_len),
            Ok(Progress::Complete(head)) => assert!(end >= head_len && head.head_len == head_len),
            Err(refusal) => panic!("{refusal} at {end}"),
        }
    }
}

#[test]
fn limits_are_reached_at_the_same_byte_in_any_segmentation() {
    let streams = [
        format!("GET /{} HTTP/1.1\r\n", "a".repeat(9_000)),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n", "b".repeat(9_000)),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: b\r\n".repeat(101)),
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            format!("X: {}\r\n", "b".repeat(400)).repeat(50)
        ),
        format!("{} / HTTP/1.1\r\n", "A".repeat(40)),
    ];
    for stream in &streams {
        let expected = whole(stream.as_bytes());
        assert_eq!(expected.len(), 1);
        for size in [1, 2, 7, 1_460, 4_096, 8_999] {
            assert_eq!(segmented(stream.as_bytes().chunks(size)), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_stream_gives_the_same_under_random_cuts(
        index in 0..LEGITIMATE.len() + REFUSED.len(),
        second in 0..LEGITIMATE.len() + REFUSED.len(),
        seeds in proptest::collection::vec(any::<prop::sample::Index>(), 0..24),
    ) {
        let bytes = [corpus().nth(index).unwrap(), corpus().nth(second).unwrap()].concat();
        let mut cuts: Vec<_> = seeds.iter().map(|seed| seed.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(segmented(cut(&bytes, &cuts)), whole(&bytes));
    }
}
