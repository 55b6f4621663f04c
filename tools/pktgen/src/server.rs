//! The answering side: every connection to it is accepted, every request answered with the same response.

use std::{net::IpAddr, sync::Arc};

use crate::{
    http::{self, Kind, Reader},
    receive::Addresses,
    stack::{Flow, Role},
    tcp::{Connection, End, News},
};

/// What a server counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Connections whose handshake was done.
    pub accepted: u64,
    /// Requests that came.
    pub requests: u64,
    /// Connections whose bytes were no requests.
    pub not_understood: u64,
    /// Segments sent again.
    pub retransmissions: u64,
}

/// The server's role.
#[derive(Debug)]
pub struct Server {
    addresses: Addresses,
    response: Arc<[u8]>,
    /// What was counted.
    pub served: Served,
}

/// One connection of a server.
#[derive(Debug)]
pub struct Session {
    reader: Reader,
    /// Requests that wait for the response before theirs to be acknowledged.
    waiting: u32,
}

impl Server {
    /// A server at these addresses, on every port, whose responses have bodies of `body` bytes.
    pub fn new(addresses: Addresses, body: usize) -> Self {
        Self { addresses, response: http::response(body), served: Served::default() }
    }
}

impl Role for Server {
    type Session = Session;

    fn is_ours(&self, address: IpAddr) -> bool {
        self.addresses.contains(address)
    }

    fn accept(&mut self, _flow: &Flow) -> Option<Session> {
        Some(Session { reader: Reader::new(Kind::Request), waiting: 0 })
    }

    fn hear(
        &mut self,
        session: &mut Session,
        connection: &mut Connection,
        news: &News<'_>,
        _now: u64,
    ) {
        self.served.accepted += u64::from(news.connected);
        let mut requests = 0;
        if session.reader.read(news.data, |_| requests += 1).is_err() {
            self.served.not_understood += 1;
            connection.close();
        }
        self.served.requests += u64::from(requests);
        session.waiting += requests;
        while session.waiting > 0 && connection.send(&self.response) {
            session.waiting -= 1;
        }
        if news.peer_closed {
            connection.close();
        }
    }

    fn end(&mut self, _session: Session, _end: End, retransmissions: u32, _now: u64) {
        self.served.retransmissions += u64::from(retransmissions);
    }
}
