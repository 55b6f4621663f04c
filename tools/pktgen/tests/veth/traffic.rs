//! Generated and replayed packets.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    process::Command,
};

use pcap_file::pcap::PcapReader;

use crate::pair::{MACS, Pair, Running, file, pktgen, report, skipped, wait_for};

const COUNT: u64 = 10_000;
const ADDRESSES: &str = "--source 10.9.0.1 --destination 10.9.0.2";

#[test]
fn the_other_end_counts_every_packet() {
    if skipped() {
        return;
    }
    let pair = Pair::new();
    for addresses in [ADDRESSES, "--source fd00::1 --destination fd00::2"] {
        let before = pair.received();
        let report =
            report(&format!("send --interface {} {MACS} {addresses} --count {COUNT}", pair.from()));
        let tx = &report["tx"];
        assert_eq!((tx["handed"].as_u64(), tx["completed"].as_u64()), (Some(COUNT), Some(COUNT)));
        assert_eq!(pair.received() - before, COUNT, "{report}");
    }
    let missing =
        pktgen(&format!("send --interface {}/nowhere {MACS} {ADDRESSES} --count 1", pair.a));
    assert_eq!(missing.status.code(), Some(1));
    let reason = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(reason.contains("there is no interface") && reason.contains("nowhere"), "{reason}");
}

#[test]
fn what_is_sent_is_received_and_the_interface_given_back() {
    if skipped() {
        return;
    }
    let pair = Pair::new();
    let (_kept, mix) = file(
        "mix.toml",
        br#"
            seed = 3
            rate = "20k"
            [[stream]]
            name = "small"
            weight = 3
            destination-mac = "02:00:00:00:00:02"
            source = "10.9.0.1-10.9.0.50"
            destination = "10.9.1.1"
            size = 60
            [[stream]]
            name = "tagged"
            destination-mac = "02:00:00:00:00:02"
            source = "random:fd00::1-fd00::ffff"
            destination = "fd01::1"
            vlan = "random:100-200"
            size = "random:100-1500"
            payload = "random"
        "#,
    );
    let before = pair.received();
    let report = report(&format!(
        "send --interface {} --receive-on {} --mix {} --count {COUNT}",
        pair.from(),
        pair.to(),
        mix.display()
    ));
    let (tx, rx) = (&report["tx"], &report["rx"]);
    assert_eq!(tx["completed"].as_u64(), Some(COUNT));
    assert_eq!(rx["received"].as_u64(), Some(COUNT), "{report}");
    assert_eq!(pair.received() - before, COUNT);
    for zero in ["lost", "reordered", "duplicates", "damaged", "foreign", "stale"] {
        assert_eq!(rx[zero].as_u64(), Some(0), "{zero}: {report}");
    }
    assert_eq!(rx["bytes"], tx["bytes"]);
    assert_eq!(rx["latency"]["count"].as_u64(), Some(COUNT));
    let sent = |stream: usize| report["streams"][stream]["sent"].as_u64().unwrap();
    assert_eq!((sent(0), sent(1)), (COUNT / 4 * 3, COUNT / 4));
    assert_eq!(report["limits"][0]["what"], "copy-mode", "a veth has no zero-copy: {report}");
    assert!(!pair.has_program(), "the receiver's program stayed");
}

#[test]
fn two_processes_agree() {
    if skipped() {
        return;
    }
    let pair = Pair::new();
    let receiver = Running::start(Command::new(env!("CARGO_BIN_EXE_pktgen")).args([
        "receive",
        "-o",
        "json",
        "--interface",
        &pair.to(),
    ]));
    wait_for("the receiver's program", || pair.has_program());
    report(&format!(
        "send --interface {} {MACS} {ADDRESSES} --rate 20k --count {COUNT}",
        pair.from()
    ));
    wait_for("the packets", || pair.received() == COUNT);
    let output = receiver.interrupt();
    let received: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rx = &received["rx"];
    let count = |pointer: &str| rx.pointer(pointer).unwrap().as_u64().unwrap();
    // On a machine that gives the receiver no time its ring may fill up; then it says so.
    let own = count("/own_losses/socket") + count("/own_losses/interface");
    assert_eq!(count("/unique") + own, COUNT, "{received}");
    assert_eq!((count("/duplicates"), count("/reordered"), count("/damaged")), (0, 0, 0));
}

#[test]
fn tcpdump_sees_the_same_packets() {
    if skipped() {
        return;
    }
    let pair = Pair::new();
    let (_kept, capture) = file("capture.pcap", b"");
    let mut tcpdump = Running::start(
        Command::new("ip")
            .args(["netns", "exec", &pair.b, "tcpdump", "-i", "to0", "-B", "65536", "-U", "-w"])
            .arg(&capture),
    );
    // It says that it listens when it does.
    let errors = tcpdump.child().stderr.take().unwrap();
    let mut lines = BufReader::new(errors).lines();
    assert!(lines.any(|line| line.unwrap().contains("listening on")));
    let sent = report(&format!(
        "send --interface {} {MACS} {ADDRESSES} --size 60-1500 --seed 5 --rate 20k --count {COUNT}",
        pair.from()
    ));
    wait_for("the capture", || packets(&capture).0 == COUNT);
    drop(tcpdump.interrupt());
    let (count, bytes) = packets(&capture);
    assert_eq!(Some(count), sent["tx"]["handed"].as_u64());
    assert_eq!(Some(bytes), sent["tx"]["bytes"].as_u64());

    // And the capture, sent again, arrives as often as it was recorded.
    let replayed = report(&format!(
        "send --interface {} --receive-on {} --replay {} --rate 50k --count {}",
        pair.from(),
        pair.to(),
        capture.display(),
        2 * COUNT
    ));
    // Its packets still carry their tags, of a run that is over.
    assert_eq!(replayed["rx"]["unique"].as_u64(), Some(2 * COUNT), "{replayed}");
    assert_eq!(replayed["rx"]["bytes"].as_u64(), Some(2 * bytes));
}

/// Packets and bytes of a capture that may still grow.
fn packets(path: &std::path::Path) -> (u64, u64) {
    let Ok(mut reader) = PcapReader::new(File::open(path).unwrap()) else { return (0, 0) };
    let mut sum = (0, 0);
    while let Some(Ok(packet)) = reader.next_packet() {
        sum = (sum.0 + 1, sum.1 + u64::from(packet.orig_len()));
    }
    sum
}
