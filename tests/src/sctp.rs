//! As much of SCTP as a connectivity test needs, on a raw socket: an INIT goes out, an INIT ACK comes back (RFC 9260 §3.3.2, §3.3.3).
//!
//! The kernel may have no SCTP of its own, and need not. Checksums are left zero: nobody here verifies them.

use std::cell::Cell;
use std::io::Read;
use std::net::IpAddr;
use std::thread;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::sync::broadcast::Sender;

const PROTOCOL: i32 = 132;
const RAW: i32 = 3;
const HEADER: usize = 12;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// The first port of our own; each association has the next one.
const FIRST_PORT: u16 = 20_000;

/// A raw socket for SCTP over IPv4.
#[derive(Debug)]
pub struct Sctp {
    socket: Socket,
    next: Cell<u16>,
}

impl Sctp {
    /// Opens the socket, and acknowledges every INIT to `ports`. Own ports that are acknowledged are told.
    ///
    /// # Errors
    /// Without the privilege for raw sockets.
    pub fn open(ports: Vec<u16>, acknowledged: Sender<u16>) -> Result<Self> {
        let open = || Socket::new(Domain::IPV4, Type::from(RAW), Some(Protocol::from(PROTOCOL)));
        let (mut receiving, socket) = (open()?, open()?);
        let answering = socket.try_clone()?;
        thread::Builder::new().spawn(move || {
            let mut buffer = [0; 256];
            while let Ok(length) = receiving.read(&mut buffer) {
                let Some(heard) = buffer.get(..length).and_then(Heard::read) else { continue };
                if heard.chunk == INIT && ports.contains(&heard.to_port) {
                    let to = SockAddr::from(std::net::SocketAddr::from((heard.from, 0)));
                    let answer = packet(heard.to_port, heard.from_port, INIT_ACK);
                    let _lost = answering.send_to(&answer, &to);
                } else if heard.chunk == INIT_ACK {
                    let _nobody_waits = acknowledged.send(heard.to_port);
                }
            }
        })?;
        Ok(Self { socket, next: Cell::new(FIRST_PORT) })
    }

    /// A port that no association of ours has had yet.
    pub fn port(&self) -> u16 {
        let port = self.next.get();
        self.next.set(port.checked_add(1).unwrap_or(FIRST_PORT));
        port
    }

    /// Sends an INIT.
    ///
    /// # Errors
    /// When the packet cannot be sent.
    pub fn init(&self, own: u16, address: IpAddr, port: u16) -> Result<()> {
        let to = SockAddr::from(std::net::SocketAddr::from((address, 0)));
        self.socket.send_to(&packet(own, port, INIT), &to).context("send an INIT")?;
        Ok(())
    }
}

/// A common header and one chunk that has its type and nothing else of meaning.
fn packet(from: u16, to: u16, chunk: u8) -> [u8; HEADER + 20] {
    let mut packet = [0; HEADER + 20];
    let [f0, f1] = from.to_be_bytes();
    let [t0, t1] = to.to_be_bytes();
    for (place, byte) in [(0, f0), (1, f1), (2, t0), (3, t1), (HEADER, chunk), (HEADER + 3, 20)] {
        if let Some(slot) = packet.get_mut(place) {
            *slot = byte;
        }
    }
    packet
}

/// What is read of a packet, IPv4 header included.
struct Heard {
    from: IpAddr,
    from_port: u16,
    to_port: u16,
    chunk: u8,
}

impl Heard {
    fn read(packet: &[u8]) -> Option<Self> {
        let header = usize::from(packet.first()? & 0xf) * 4;
        let address: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
        let word = |place: usize| {
            let bytes: [u8; 2] = packet.get(header + place..header + place + 2)?.try_into().ok()?;
            Some(u16::from_be_bytes(bytes))
        };
        Some(Self {
            from: address.into(),
            from_port: word(0)?,
            to_port: word(2)?,
            chunk: *packet.get(header + HEADER)?,
        })
    }
}
