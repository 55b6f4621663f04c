//! Connections and requests, between two model endpoints and between one of them and the kernel.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
};

use crate::pair::{Pair, Running, ip, report, skipped, wait_for, within};

const TO: &str =
    "--destination-mac 02:00:00:00:00:02 --source 10.9.0.1-10.9.0.3 --destination 10.9.1.1";

#[test]
fn both_endpoints_agree() {
    if skipped() {
        return;
    }
    let pair = Pair::new();
    let json = report(&format!(
        "connect --interface {} --serve-on {} {TO} --concurrent 8 --requests 3 --body 5000 --count 200",
        pair.from(),
        pair.to()
    ));
    let (client, server) = (&json["client"], &json["server"]);
    let count = |side: &serde_json::Value, field: &str| side[field].as_u64().unwrap();
    assert_eq!((count(client, "connected"), count(client, "completed")), (200, 200), "{json}");
    assert_eq!((count(client, "allowed"), count(client, "wrong")), (600, 0), "{json}");
    assert_eq!((count(server, "accepted"), count(server, "requests")), (200, 600), "{json}");
    assert!(count(client, "peak") <= 8);
    assert!(!pair.has_program());
}

#[test]
fn connections_are_held_until_the_end() {
    if skipped() {
        return;
    }
    let pair = Pair::new();
    let mut running = Running::start(
        Command::new(env!("CARGO_BIN_EXE_pktgen"))
            .args(["connect", "-o", "json", "--interface", &pair.from(), "--serve-on", &pair.to()])
            .args(TO.split(' '))
            .args(["--concurrent", "500", "--hold", "--seconds", "60"]),
    );
    // Each has had its request and response when the veth has carried four packets for it: SYN, ACK with the request, ACK.
    wait_for("the connections", || pair.received() >= 1500);
    assert!(running.child().try_wait().unwrap().is_none());
    let json: serde_json::Value = serde_json::from_slice(&running.interrupt().stdout).unwrap();
    assert_eq!(json["client"]["left_open"].as_u64(), Some(500), "{json}");
    assert_eq!(json["client"]["connected"].as_u64(), Some(500));
    assert_eq!(json["client"]["completed"].as_u64(), Some(0));
}

#[test]
fn the_kernel_is_served() {
    if skipped() {
        return;
    }
    let pair = Pair::new();
    ip(&format!("-n {} addr add 10.9.0.1/16 dev from0", pair.a));
    let server = Running::start(
        Command::new(env!("CARGO_BIN_EXE_pktgen"))
            .args(["serve", "-o", "json", "--address", "10.9.1.1", "--body", "30000"])
            .args(["--interface", &pair.to()]),
    );
    wait_for("the server's program", || pair.has_program());
    let bodies = within(&pair.a, || {
        let mut stream = TcpStream::connect("10.9.1.1:80").unwrap();
        let mut bodies = 0;
        for _ in 0..20 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let mut response = vec![0; 30_000 + "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 30000\r\n\r\n".len()];
            stream.read_exact(&mut response).unwrap();
            bodies +=
                u32::from(response.starts_with(b"HTTP/1.1 200 OK") && response.ends_with(b"xxx"));
        }
        bodies
    });
    assert_eq!(bodies, 20);
    let json: serde_json::Value = serde_json::from_slice(&server.interrupt().stdout).unwrap();
    assert_eq!(json["server"]["accepted"].as_u64(), Some(1), "{json}");
    assert_eq!(json["server"]["requests"].as_u64(), Some(20), "{json}");
}

#[test]
fn the_kernel_answers() {
    const CONNECTIONS: usize = 50;
    if skipped() {
        return;
    }
    let pair = Pair::new();
    ip(&format!("-n {} addr add 10.9.1.1/16 dev to0", pair.b));
    let listener = within(&pair.b, || TcpListener::bind("10.9.1.1:8080").unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..CONNECTIONS {
                answer(listener.accept().unwrap().0);
            }
        });
        let json = report(&format!(
            "connect --interface {} {TO} --dst-port 8080 --concurrent 4 --requests 2 --count {CONNECTIONS} \
             --denied DELETE+/x --denied-share 50",
            pair.from()
        ));
        let client = &json["client"];
        let count = |field: &str| client[field].as_u64().unwrap();
        assert_eq!(count("completed"), CONNECTIONS as u64, "{json}");
        assert_eq!(count("allowed") + count("denied"), 2 * CONNECTIONS as u64, "{json}");
        assert!(count("denied") > 20 && count("allowed") > 20, "{json}");
        assert_eq!((count("wrong"), count("reset")), (0, 0), "{json}");
    });
}

/// Answers GET with 200 and everything else with 403 until the client closes.
fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 {
        request.push(byte[0]);
        if request.ends_with(b"\r\n\r\n") {
            let response: &[u8] = if request.starts_with(b"GET") {
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            } else {
                b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
            };
            stream.write_all(response).unwrap();
            request.clear();
        }
    }
}
