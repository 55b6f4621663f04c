//! A pod's two halves for connectivity tests: a server on every port that is asked for, and a client that makes many attempts at
//! once.
//!
//! Arrives on standard input: one batch a line, a JSON array of [`Attempt`]s; it ends the batch before. Leaves on standard output:
//! `{"id", "from_port"}` when an attempt begins and `{"id", "said"}` when somebody answered; an attempt that nobody answers says
//! nothing and goes on until the next batch. Invariant: whoever asks decides what silence means, by the dataplane's own events.

use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;
use tests::probe::{Attempt, Means};
use tests::sctp::Sctp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

/// A datagram that got lost while a neighbour was looked for is sent again.
const SEND_AGAIN: Duration = Duration::from_millis(300);
/// Most of a request's head that the server reads, and of a response's that the client does.
const HEAD: usize = 4096;

#[derive(Debug, Parser)]
struct Options {
    /// TCP ports on which every HTTP request is answered with 200
    #[arg(long, value_delimiter = ',')]
    tcp: Vec<u16>,
    /// UDP ports on which every datagram is sent back
    #[arg(long, value_delimiter = ',')]
    udp: Vec<u16>,
    /// SCTP ports on which every INIT is acknowledged
    #[arg(long, value_delimiter = ',')]
    sctp: Vec<u16>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(options))
}

async fn serve(options: Options) -> Result<()> {
    for port in options.tcp {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await;
        let listener = listener.with_context(|| format!("listen on TCP port {port}"))?;
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(answer(stream));
            }
        });
    }
    for port in options.udp {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).await;
        let socket = socket.with_context(|| format!("listen on UDP port {port}"))?;
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let back = buffer.get(..length).unwrap_or_default();
                let _lost = socket.send_to(back, from).await;
            }
        });
    }
    let (acknowledged, _) = broadcast::channel(1024);
    let sctp = Rc::new(Sctp::open(options.sctp, acknowledged.clone())?);
    say(&json!({"ready": true}))?;
    let (batches, mut arriving) = mpsc::unbounded_channel();
    std::thread::Builder::new().spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if batches.send(line).is_err() {
                return;
            }
        }
    })?;
    let mut running = JoinSet::new();
    while let Some(line) = arriving.recv().await {
        running.abort_all();
        while running.join_next().await.is_some() {}
        let attempts: Vec<Attempt> =
            serde_json::from_str(&line).with_context(|| format!("not a batch: {line}"))?;
        for attempt in attempts {
            running.spawn_local(make(attempt, Rc::clone(&sctp), acknowledged.subscribe()));
        }
    }
    Ok(())
}

/// Answers one request, or takes note that a client left.
async fn answer(mut stream: TcpStream) {
    if read_head(&mut stream).await.is_some() {
        const RESPONSE: &[u8] =
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        let _left = stream.write_all(RESPONSE).await;
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut buffer = [0; HEAD];
        let length = stream.read(&mut buffer).await.ok().filter(|length| *length > 0)?;
        head.extend_from_slice(buffer.get(..length)?);
        if head.len() > HEAD {
            return None;
        }
    }
    String::from_utf8(head).ok()
}

/// Makes an attempt and says what came of it.
async fn make(attempt: Attempt, sctp: Rc<Sctp>, acknowledged: broadcast::Receiver<u16>) {
    let id = attempt.id;
    let said = match attempt.means {
        Means::Tcp { port } => knock(id, attempt.address, port).await,
        Means::Udp { port } => udp(id, attempt.address, port).await,
        Means::Sctp { port } => associate(id, attempt.address, port, &sctp, acknowledged).await,
        Means::Ping => ping(attempt.address).await,
        Means::Http { port, request } => http(id, attempt.address, port, &request).await,
    };
    let said = said.unwrap_or_else(|error| format!("{error:#}"));
    let _nobody_reads = say(&json!({"id": id, "said": said}));
}

/// Tells where an attempt begins, so that it can be recognised among the dataplane's events.
fn begins(id: usize, own: u16) -> Result<()> {
    say(&json!({"id": id, "from_port": own}))
}

fn any_like(address: IpAddr) -> SocketAddr {
    match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

async fn tcp(id: usize, address: IpAddr, port: u16) -> Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(any_like(address))?;
    begins(id, socket.local_addr()?.port())?;
    Ok(socket.connect((address, port).into()).await?)
}

/// Whether a handshake was answered. A refusal comes from the pod's own stack: the segment got there.
async fn knock(id: usize, address: IpAddr, port: u16) -> Result<String> {
    let refused = |error: &anyhow::Error| {
        let error = error.downcast_ref::<std::io::Error>();
        error.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    match tcp(id, address, port).await {
        Err(error) if !refused(&error) => Err(error),
        Ok(_) | Err(_) => Ok("ok".to_owned()),
    }
}

async fn udp(id: usize, address: IpAddr, port: u16) -> Result<String> {
    let socket = UdpSocket::bind(any_like(address)).await?;
    begins(id, socket.local_addr()?.port())?;
    socket.connect((address, port)).await?;
    let mut buffer = [0; 64];
    loop {
        socket.send(b"probe").await?;
        if let Ok(received) = tokio::time::timeout(SEND_AGAIN, socket.recv(&mut buffer)).await {
            received?;
            return Ok("ok".to_owned());
        }
    }
}

async fn associate(
    id: usize,
    address: IpAddr,
    port: u16,
    sctp: &Sctp,
    mut acknowledged: broadcast::Receiver<u16>,
) -> Result<String> {
    let own = sctp.port();
    begins(id, own)?;
    loop {
        sctp.init(own, address, port)?;
        let ours = async {
            while acknowledged.recv().await? != own {}
            Ok::<(), RecvError>(())
        };
        if let Ok(heard) = tokio::time::timeout(SEND_AGAIN, ours).await {
            heard?;
            return Ok("ok".to_owned());
        }
    }
}

async fn http(id: usize, address: IpAddr, port: u16, request: &str) -> Result<String> {
    let mut stream = tcp(id, address, port).await?;
    stream.write_all(request.as_bytes()).await?;
    let head = read_head(&mut stream).await.context("no response")?;
    Ok(head.split(' ').nth(1).unwrap_or("no status").to_owned())
}

async fn ping(address: IpAddr) -> Result<String> {
    let mut command = tokio::process::Command::new("ping");
    // One answer is enough; it asks once a second until then.
    command.args(["-n", "-c", "1", "-w", "20"]).arg(address.to_string());
    let status = command.stdout(Stdio::null()).kill_on_drop(true).status().await?;
    Ok(if status.success() { "ok".to_owned() } else { format!("ping: {status}") })
}

fn say(value: &serde_json::Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}
