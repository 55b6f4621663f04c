//! A client that never comes to the point: many connections, on each a head that grows by a line now and then and has no end.
//!
//! It says `open` when all connections stand and nothing was sent on them yet, and at the end how each was answered, as
//! `408: 10000`.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

/// Begins many requests and ends none.
#[derive(Debug, Parser)]
struct Options {
    /// Address and port
    server: SocketAddr,
    /// Connections
    connections: usize,
    /// Milliseconds between two lines of a head
    #[arg(long, default_value_t = 500)]
    pause: u64,
    /// Lines of a head at most
    #[arg(long, default_value_t = 120)]
    lines: u32,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut streams = Vec::new();
    for number in 0..options.connections {
        let stream =
            TcpStream::connect(options.server).with_context(|| format!("connection {number}"))?;
        stream.set_nonblocking(true)?;
        streams.push(stream);
    }
    let mut out = std::io::stdout();
    writeln!(out, "open")?;
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for line in 0..options.lines {
        let text = match line {
            0 => format!("GET /public HTTP/1.1\r\nhost: {}\r\n", options.server),
            _ => format!("x-line-{line}: and so on\r\n"),
        };
        streams.retain_mut(|stream| match answer(stream, text.as_bytes()) {
            None => true,
            Some(answer) => {
                *answers.entry(answer).or_default() += 1;
                false
            }
        });
        if streams.is_empty() {
            break;
        }
        thread::sleep(Duration::from_millis(options.pause));
    }
    answers.insert("none".to_owned(), streams.len());
    for (answer, count) in answers {
        writeln!(out, "{answer}: {count}")?;
    }
    Ok(())
}

/// What came, or why nothing can come any more; else the next line is sent.
fn answer(stream: &mut TcpStream, line: &[u8]) -> Option<String> {
    let mut bytes = [0; 512];
    match stream.read(&mut bytes) {
        Ok(0) => Some("closed".to_owned()),
        Ok(count) => {
            let text = String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()).into_owned();
            Some(text.split(' ').nth(1).unwrap_or("garbage").to_owned())
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            // A full buffer or a reset shows when it is read next.
            stream.write_all(line).ok();
            None
        }
        Err(_) => Some("reset".to_owned()),
    }
}
