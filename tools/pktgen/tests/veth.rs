//! The kernel's own count: pktgen sends into one end of a veth, and the other end, in a namespace of its own, must have received
//! exactly as many. Needs root; without, it prints SKIPPED.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of a test, which fails by panicking and says aloud that it was skipped"
)]

use std::process::{Command, Output, id};

const COUNT: u64 = 10_000;

/// Two namespaces that are removed however the test ends.
struct Namespaces {
    a: String,
    b: String,
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.a, &self.b] {
            let _gone = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

fn ip(line: &str) -> String {
    let output = Command::new("ip").args(line.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn received(namespace: &str) -> u64 {
    let links: serde_json::Value =
        serde_json::from_str(&ip(&format!("-n {namespace} -j -s link show dev to0"))).unwrap();
    links.pointer("/0/stats64/rx/packets").unwrap().as_u64().unwrap()
}

fn pktgen(namespace: &str, line: &str) -> Output {
    Command::new("ip")
        .args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_pktgen")])
        .args(line.split_whitespace())
        .output()
        .unwrap()
}

fn skipped() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let root = status
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    if !root {
        // libtest has no third outcome, so where everything must run (CI) a skip is a failure.
        assert!(
            std::env::var_os("BLASTDOOR_NO_SKIP").is_none(),
            "needs root, and nothing may be skipped here"
        );
        println!("SKIPPED: making network namespaces needs root");
    }
    !root
}

#[test]
fn the_other_end_counts_every_packet() {
    if skipped() {
        return;
    }
    let names =
        Namespaces { a: format!("bd-pktgen-{}-a", id()), b: format!("bd-pktgen-{}-b", id()) };
    let (a, b) = (&names.a, &names.b);
    ip(&format!("netns add {a}"));
    ip(&format!("netns add {b}"));
    ip(&format!(
        "-n {a} link add from0 address 02:00:00:00:00:01 type veth peer name to0 address 02:00:00:00:00:02 netns {b}"
    ));
    // Without IPv6 neither end sends anything of its own.
    for namespace in [a, b] {
        ip(&format!("netns exec {namespace} sysctl -qw net.ipv6.conf.all.disable_ipv6=1"));
    }
    ip(&format!("-n {a} link set from0 up"));
    ip(&format!("-n {b} link set to0 up"));
    let macs = "--source-mac 02:00:00:00:00:01 --destination-mac 02:00:00:00:00:02";
    for addresses in
        ["--source 10.9.0.1 --destination 10.9.0.2", "--source fd00::1 --destination fd00::2"]
    {
        let before = received(b);
        let output = pktgen(
            a,
            &format!("send --interface from0 {macs} {addresses} --count {COUNT} -o json"),
        );
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (report["handed"].as_u64(), report["completed"].as_u64()),
            (Some(COUNT), Some(COUNT))
        );
        assert_eq!(received(b) - before, COUNT, "{report}");
    }
    let missing = pktgen(
        a,
        &format!(
            "send --interface nowhere {macs} --source 10.9.0.1 --destination 10.9.0.2 --count 1"
        ),
    );
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&missing.stderr).contains("no interface nowhere"),
        "{missing:?}"
    );
}
