//! Families of Transfer-Encoding and Content-Length mutations (evasion rows H1-H4): none may be accepted.
//!
//! A mutation is accepted as ambiguous if the head is read although some server could frame it otherwise. For bytes that
//! are no letters or digits that is: if it is read at all.

use parser::http::{BodyFraming, Limits, Progress, read_request};

/// The framing of a POST with these field lines, if it is accepted.
fn framed(lines: &[u8]) -> Option<BodyFraming> {
    let head = [b"POST / HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n"].concat();
    match read_request(&head, &Limits::default()) {
        Ok(Progress::Complete(read)) => {
            assert_eq!(read.head_len, head.len());
            Some(read.framing)
        }
        Ok(Progress::Incomplete) | Err(_) => None,
    }
}

/// Bytes that are neither letter nor digit.
fn odd_bytes() -> impl Iterator<Item = u8> {
    (0..=u8::MAX).filter(|byte| !byte.is_ascii_alphanumeric())
}

/// `line` with `byte` inserted at every position, and in place of every byte but the letters of the name, without which
/// it is another name.
fn with_byte(line: &str, byte: u8) -> Vec<Vec<u8>> {
    let name_len = line.find(':').unwrap();
    let mut variants = Vec::new();
    for position in 0..=line.len() {
        let (before, after) = line.as_bytes().split_at(position);
        if byte == b':' && (1..name_len).contains(&position) {
            // A colon ends the name: again another name.
            continue;
        }
        variants.push([before, &[byte], after].concat());
        match after.split_first() {
            Some((letter, _)) if position < name_len && letter.is_ascii_alphanumeric() => {}
            Some((_, rest)) => variants.push([before, &[byte], rest].concat()),
            None => {}
        }
    }
    variants
}

#[test]
fn no_odd_byte_anywhere_in_a_framing_line_is_accepted() {
    let mut tried = 0;
    for (line, other) in [
        ("Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n"),
        ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"),
    ] {
        for byte in odd_bytes() {
            for variant in with_byte(line, byte) {
                if variant == line.as_bytes() {
                    continue;
                }
                let both_orders = [
                    variant.clone(),
                    [&variant, other.as_bytes()].concat(),
                    [other.as_bytes(), &variant].concat(),
                ];
                for lines in both_orders {
                    tried += 1;
                    assert_eq!(framed(&lines), None, "{:?}", String::from_utf8_lossy(&lines));
                }
            }
        }
    }
    println!("byte mutations tried: {tried}");
    assert!(tried > 600);
}

#[test]
fn a_letter_in_a_framing_name_makes_another_name_and_no_framing() {
    for byte in (0..=u8::MAX).filter(u8::is_ascii_alphanumeric) {
        let name = "Transfer-Encoding";
        for position in 0..=name.len() {
            let (before, after) = name.split_at(position);
            let line = format!("{before}{}{after}: chunked\r\n", char::from(byte));
            assert_eq!(framed(line.as_bytes()), Some(BodyFraming::None), "{line}");
            let with_length = format!("{line}Content-Length: 5\r\n");
            assert_eq!(framed(with_length.as_bytes()), Some(BodyFraming::Length(5)), "{line}");
        }
    }
}

#[test]
fn no_known_obfuscation_is_accepted() {
    let lines: &[&str] = &[
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: cow",
        "Transfer-Encoding: cow, chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding: chunked ;",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: CHUNKED",
        "Transfer-Encoding: ChUnKeD",
        "Transfer-Encoding: chunk",
        "Transfer-Encoding: chun\u{212a}ed",
        "Transfer-Encoding: \u{ff43}hunked",
        "Transfer-Encoding:",
        "Transfer-Encoding: ",
        "Transfer-Encoding:  chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: \tchunked",
        "Transfer-Encoding: chunked ",
        "Transfer-Encoding: chunked\t",
        "Transfer-Encoding:\u{b}chunked",
        "Transfer-Encoding:\u{c}chunked",
        "Transfer-Encoding:\u{a0}chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "Transfer-Encoding\r\n: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: chun\r\n ked",
        "Transfer-Encoding:\n chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\n\rTransfer-Encoding: chunked",
        "X:\nTransfer-Encoding: chunked",
        "Transfer-Encoding chunked",
        "Transfer-Encoding",
        "Transfer_Encoding: chunked",
        "TRANSFER_ENCODING: chunked",
        "Transfer.Encoding: chunked",
        "Transfer~Encoding: chunked",
        "TransferEncoding: chunked",
        "Transfer--Encoding: chunked",
        "-Transfer-Encoding: chunked",
        "Transfer-Encoding\0: chunked",
        "Transfer\u{ad}-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-encoding: cow",
        "Transfer-Encoding: chunked\r\ntransfer_encoding: x",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\ncontent-length: 5",
        "Content-Length: 5, 5",
        "Content-Length: 5,6",
        "Content-Length: 5,",
        "Content-Length: ,5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: -0",
        "Content-Length: 0x5",
        "Content-Length: 05",
        "Content-Length: 00",
        "Content-Length: 0o5",
        "Content-Length: 5_0",
        "Content-Length: 5 0",
        "Content-Length: 5;",
        "Content-Length: 5 ;",
        "Content-Length: 5a",
        "Content-Length: a5",
        "Content-Length: 5.0",
        "Content-Length: 5e0",
        "Content-Length: \"5\"",
        "Content-Length: \u{665}",
        "Content-Length: NaN",
        "Content-Length:",
        "Content-Length: ",
        "Content-Length:  5",
        "Content-Length:\t5",
        "Content-Length: 5 ",
        "Content-Length : 5",
        "Content-Length\r\n: 5",
        "Content-Length:\r\n 5",
        "Content-Length: 9223372036854775808",
        "Content-Length: 18446744073709551621",
        "Content-Length: 4294967301000000000",
        "Content-Length: 99999999999999999999999",
        "Content_Length: 5",
        "ContentLength: 5",
        "Content--Length: 5",
        "Content Length: 5",
        "Content-Length: 5\r\nContent_Length: 6",
        "Content-Length: 5\rContent-Length: 6",
        "Content-Length: 5\nContent-Length: 6",
    ];
    let others = ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"];
    for line in lines {
        for other in others {
            for lines in [format!("{line}\r\n{other}"), format!("{other}{line}\r\n")] {
                assert_eq!(framed(lines.as_bytes()), None, "{lines:?}");
            }
        }
    }
    println!("known obfuscations tried: {}", lines.len() * others.len() * 2);
}

#[test]
fn names_of_framing_fields_frame_in_any_case() {
    for name in ["Transfer-Encoding", "transfer-encoding", "TRANSFER-ENCODING", "tRaNsFeR-eNcOdInG"]
    {
        let line = format!("{name}: chunked\r\n");
        assert_eq!(framed(line.as_bytes()), Some(BodyFraming::Chunked));
    }
    for name in ["Content-Length", "content-length", "CONTENT-LENGTH", "cOnTeNt-LeNgTh"] {
        assert_eq!(framed(format!("{name}:7\r\n").as_bytes()), Some(BodyFraming::Length(7)));
    }
}
