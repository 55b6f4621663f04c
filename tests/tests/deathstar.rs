//! The Death Star over loopback, asked by a client that knows nothing but sockets.
#![expect(clippy::unwrap_used, reason = "what a test's helper cannot do fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running server; ended with its owner.
struct Deathstar {
    child: Child,
    address: SocketAddr,
}

impl Deathstar {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_deathstar"))
            .args(["--listen", "127.0.0.1:0"])
            .env("POD_NAME", "deathstar-0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { child, address }
    }

    /// Sends one request on a connection of its own and reads everything.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (line, body) = request.split_once('\n').unwrap_or((request, ""));
        write!(
            stream,
            "{line} HTTP/1.1\r\nhost: deathstar\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Deathstar {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_ship_lands_and_is_told_where() {
    let answer = Deathstar::start().ask("POST /v1/request-landing\nplease");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nx-deathstar-replica: deathstar-0\r\n"), "{answer}");
    assert!(answer.contains("\r\ncontent-type: text/plain\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nShip landed\n"), "{answer}");
}

#[test]
fn the_data_sheet_lists_every_field() {
    let deathstar = Deathstar::start();
    for path in ["/v1", "/v1/"] {
        let answer = deathstar.ask(&format!("GET {path}"));
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let sheet: serde_json::Value = serde_json::from_str(body).unwrap();
        for field in [
            "name",
            "hostname",
            "model",
            "manufacturer",
            "cost_in_credits",
            "length",
            "crew",
            "passengers",
            "cargo_capacity",
            "hyperdrive_rating",
            "starship_class",
        ] {
            assert!(sheet[field].is_string(), "{field} in {sheet}");
        }
        assert_eq!(sheet["hostname"], "deathstar-0");
        assert_eq!(sheet["api"].as_array().map(Vec::len), Some(6));
    }
}

#[test]
fn what_is_not_there_is_answered_in_json() {
    let deathstar = Deathstar::start();
    for (request, code) in [
        ("GET /v1/healthz", 404),
        ("PUT /v1/cargobay", 404),
        ("GET /v1/hyper-matter-reactor/status", 404),
        ("GET /", 404),
        ("GET /v1/request-landing", 405),
        ("POST /v1/exhaust-port", 405),
        ("DELETE /v1", 405),
    ] {
        let answer = deathstar.ask(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{request}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["code"], code, "{request}");
    }
}

#[test]
fn a_connection_carries_more_than_one_request() {
    let deathstar = Deathstar::start();
    let mut stream = TcpStream::connect(deathstar.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let request = "POST /v1/request-landing HTTP/1.1\r\nhost: d\r\ncontent-length: 2\r\n\r\nhi";
    stream.write_all(request.repeat(2).as_bytes()).unwrap();
    let mut answers = String::new();
    let mut chunk = [0; 1024];
    while answers.matches("Ship landed\n").count() < 2 {
        let length = stream.read(&mut chunk).unwrap();
        assert_ne!(length, 0, "closed after {answers}");
        answers.push_str(std::str::from_utf8(&chunk[..length]).unwrap());
    }
}

#[test]
fn a_hit_exhaust_port_is_answered_and_then_the_process_dies_with_code_2() {
    let mut deathstar = Deathstar::start();
    let answer = deathstar.ask("PUT /v1/exhaust-port");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\n\r\nPanic: deathstar exploded\n\ngoroutine 1 [running]:\n"));
    let landed = deathstar.ask("POST /v1/request-landing");
    assert!(landed.contains("Ship landed"), "it goes on serving until it explodes: {landed}");
    assert_eq!(deathstar.child.wait().unwrap().code(), Some(2));
}
