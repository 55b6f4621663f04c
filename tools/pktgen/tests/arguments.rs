//! What the command line refuses before it touches an interface, and with which exit code. Needs no privilege.
#![expect(clippy::expect_used, reason = "a helper of a test, which fails by panicking")]

use std::process::Command;

/// The exit code and what standard error says.
fn refused(line: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pktgen"))
        .args(line.split_whitespace())
        .output()
        .expect("pktgen was built");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn wrong_arguments_end_with_two_and_say_what_would_be_right() {
    for (line, reason) in [
        ("send --interface a/b/c --count 1", "write veth0, or namespace/veth0"),
        ("send --interface veth0", "<--count <COUNT>|--seconds <SECONDS>>"),
        ("send --interface veth0 --seconds -1", "--seconds"),
        (
            "connect --interface a --destination-mac 1 --source x --destination y --count 1",
            "six pairs",
        ),
        (
            "connect --interface a --destination-mac 02:00:00:00:00:01 --source x --destination 10.0.0.1 --count 1",
            "`x`: not an IP address",
        ),
        (
            "connect --interface a --destination-mac 02:00:00:00:00:01 --source fd00::1 --destination 10.0.0.1 --count 1",
            "same IP version",
        ),
        (
            "connect --interface a --destination-mac 02:00:00:00:00:01 --source 10.0.0.2 --destination 10.0.0.1 --count 1 \
             --concurrent 100000",
            "have ports for 64512",
        ),
        (
            "connect --interface a --destination-mac 02:00:00:00:00:01 --source 10.0.0.2 --destination 10.0.0.1 --count 1 \
             --allowed GET",
            "`GET`: write a request as \"GET /path\"",
        ),
        ("search --interface a --receive-on b --sizes 60,big", "`big` is no size"),
        ("search --interface a --receive-on b --pdr 101", "write percent"),
        ("report /nonexistent.json", "/nonexistent.json"),
    ] {
        let (code, said) = refused(line);
        assert_eq!(code, Some(2), "{line}: {said}");
        assert!(said.contains(reason), "{line}: {said}");
    }
}
