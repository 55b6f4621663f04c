//! A client that never lets go: one keep-alive connection, a request now and then, a line per answer.
//!
//! It ends with 1 and `broken: …` when the connection does, which is what it is there to notice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;

/// Sends the same request over one connection until it is ended.
#[derive(Debug, Parser)]
struct Options {
    /// Address and port
    server: SocketAddr,
    /// Method
    #[arg(long, default_value = "POST")]
    method: String,
    /// Path
    #[arg(long, default_value = "/v1/request-landing")]
    path: String,
    /// Sends each request in two segments
    #[arg(long)]
    halves: bool,
    /// Milliseconds between an answer and the next request
    #[arg(long, default_value_t = 20)]
    pause: u64,
    /// Seconds after which a missing answer counts as a broken connection
    #[arg(long, default_value_t = 5)]
    patience: u64,
}

fn main() -> ExitCode {
    let Err(error) = converse(&Options::parse());
    writeln!(std::io::stdout(), "broken: {error:#}").ok();
    ExitCode::FAILURE
}

fn converse(options: &Options) -> Result<std::convert::Infallible> {
    let patience = Duration::from_secs(options.patience);
    let mut stream = TcpStream::connect_timeout(&options.server, patience).context("connect")?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    let request = format!(
        "{} {} HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n",
        options.method, options.path, options.server
    );
    loop {
        let (first, second) =
            request.split_at(if options.halves { request.len() / 2 } else { request.len() });
        stream.write_all(first.as_bytes()).context("send")?;
        stream.write_all(second.as_bytes()).context("send")?;
        let status = read_answer(&mut stream)?;
        writeln!(std::io::stdout(), "{status}")?;
        thread::sleep(Duration::from_millis(options.pause));
    }
}

/// Reads one response with a content-length; returns its status code.
fn read_answer(stream: &mut TcpStream) -> Result<String> {
    let mut received = Vec::new();
    let mut chunk = [0; 2048];
    loop {
        let length = stream.read(&mut chunk).context("receive")?;
        if length == 0 {
            bail!("closed by the other side");
        }
        received.extend_from_slice(chunk.get(..length).unwrap_or_default());
        let text = String::from_utf8_lossy(&received);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.context("no content-length")?.trim().parse()?;
        if body.len() >= length {
            return Ok(head.split(' ').nth(1).context("no status")?.to_owned());
        }
    }
}
