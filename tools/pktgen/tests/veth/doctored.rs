//! A stream in which packets are missing, late, doubled and damaged: the receiver must tell exactly that.

use std::{path::Path, process::Command, time::Duration};

use pcap_file::pcap::{PcapPacket, PcapWriter};
use pktgen::{build::Builder, mix::Mix, tag::Tag};

use crate::pair::{Pair, Running, file, report, skipped, wait_for};

const MIX: &str = r#"
[[stream]]
destination-mac = "02:00:00:00:00:02"
source = "10.9.0.1"
destination = "10.9.1.1"
size = 100
"#;

#[test]
fn what_was_done_to_a_stream_is_told() {
    if skipped() {
        return;
    }
    let mix = Mix::parse(MIX, Path::new("mix"), "02:00:00:00:00:01").unwrap();
    let mut builder = Builder::new(mix.streams[0].clone(), 0, 0);
    let mut capture = PcapWriter::new(Vec::new()).unwrap();
    // 3 and 7 are missing, 5 comes two late, 9 comes twice, 11 is damaged and so does not arrive.
    let numbers = [0, 1, 2, 4, 6, 8, 5, 9, 9, 10, 11, 12];
    for number in numbers {
        let mut frame = [0; 128];
        let tag = Tag { run: 77, stream: 0, sequence: number, sent_at: 0 };
        let len = builder.emit(number, tag, &mut frame).unwrap();
        frame[len - 1] ^= u8::from(number == 11);
        let packet = PcapPacket::new(Duration::from_millis(number), 100, &frame[..len]).unwrap();
        capture.write_packet(&packet).unwrap();
    }
    let (_kept, capture) = file("doctored.pcap", &capture.into_inner());

    let pair = Pair::new();
    let receiver = Running::start(Command::new(env!("CARGO_BIN_EXE_pktgen")).args([
        "receive",
        "-o",
        "json",
        "--count",
        "10",
        "--interface",
        &pair.to(),
    ]));
    wait_for("the receiver's program", || pair.has_program());
    report(&format!(
        "send --interface {} --replay {} --count {}",
        pair.from(),
        capture.display(),
        numbers.len()
    ));
    let output = receiver.output();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rx = &told["rx"];
    let count = |field: &str| rx[field].as_u64().unwrap();
    assert_eq!((count("received"), count("unique")), (12, 10), "{told}");
    assert_eq!((count("lost"), count("reordered"), count("duplicates")), (3, 1, 1), "{told}");
    assert_eq!((count("damaged"), told["streams"][0]["extent"].as_u64()), (1, Some(3)), "{told}");
}
