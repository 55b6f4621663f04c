//! The asking side: connections are opened at a pace and up to a number, requests go over each of them, and what comes back is
//! compared with what should have.

use std::{net::IpAddr, sync::Arc};

use hdrhistogram::Histogram;

use crate::{
    http::{Kind, Reader},
    measure::histogram,
    receive::Addresses,
    stack::{Flow, Role},
    tcp::{Connection, End, News},
    values::{Values, mix, noise},
};

/// Ports that connections are opened from.
pub const FIRST_PORT: u16 = 1024;
const PORTS: u64 = 64_512;

/// A request and the status that should answer it.
#[derive(Clone, Debug)]
pub struct Question {
    /// The request.
    pub request: Arc<[u8]>,
    /// Whether policy denies it, so that 403 is right; else any 2xx is.
    pub is_denied: bool,
}

/// What goes over every connection.
#[derive(Clone, Debug)]
pub struct Script {
    /// Requests over one connection, one after another; none for as many as there is time for.
    pub requests: Option<u32>,
    /// Questions that are allowed. INVARIANT: not empty, if there are requests.
    pub allowed: Vec<Question>,
    /// Questions that are denied.
    pub denied: Vec<Question>,
    /// How many of a hundred requests are denied ones.
    pub denied_share: u8,
    /// Whether connections stay open when their requests are done.
    pub holds: bool,
    /// Decides the order of requests.
    pub seed: u64,
}

/// What a client counts.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Connections begun.
    pub opened: u64,
    /// Handshakes done.
    pub connected: u64,
    /// Connections closed by both sides after all they were for.
    pub completed: u64,
    /// Connections that the peer, or somebody between, reset.
    pub reset: u64,
    /// Connections to whom nobody answered.
    pub timed_out: u64,
    /// Connections that the peer closed before their last response.
    pub cut: u64,
    /// Connections whose bytes were no responses.
    pub not_understood: u64,
    /// Requests sent.
    pub requests: u64,
    /// Allowed requests answered 2xx.
    pub allowed: u64,
    /// Denied requests answered 403.
    pub denied: u64,
    /// Requests answered otherwise: a denied one that passed, an allowed one that did not.
    pub wrong: u64,
    /// Bytes of responses.
    pub bytes: u64,
    /// Segments sent again.
    pub retransmissions: u64,
    /// Nanoseconds from SYN to SYN-ACK, the client's own queue included.
    pub handshakes: Histogram<u64>,
    /// Nanoseconds from a request to the end of its response.
    pub responses: Histogram<u64>,
}

impl Asked {
    fn new() -> Self {
        Self {
            opened: 0,
            connected: 0,
            completed: 0,
            reset: 0,
            timed_out: 0,
            cut: 0,
            not_understood: 0,
            requests: 0,
            allowed: 0,
            denied: 0,
            wrong: 0,
            bytes: 0,
            retransmissions: 0,
            handshakes: histogram(),
            responses: histogram(),
        }
    }

    /// Responses that were right.
    pub fn right(&self) -> u64 {
        self.allowed + self.denied
    }
}

/// The client's role.
#[derive(Debug)]
pub struct Client {
    addresses: Addresses,
    script: Script,
    /// What was counted.
    pub asked: Asked,
}

/// One connection of a client.
#[derive(Debug)]
pub struct Session {
    reader: Reader,
    opened_at: u64,
    asked_at: u64,
    /// Requests sent and answered.
    answered: u32,
    /// Whether a request waits for its response, and whether it is a denied one.
    pending: Option<bool>,
}

impl Client {
    /// A client at these addresses.
    pub fn new(addresses: Addresses, script: Script) -> Self {
        Self { addresses, script, asked: Asked::new() }
    }

    /// The session of a connection that is opened at `now`.
    pub fn session(&mut self, now: u64) -> Session {
        self.asked.opened += 1;
        let reader = Reader::new(Kind::Response);
        Session { reader, opened_at: now, asked_at: now, answered: 0, pending: None }
    }

    /// Asks the next question, or closes if there is none left.
    fn go_on(&mut self, session: &mut Session, connection: &mut Connection, now: u64) {
        if self.script.requests.is_some_and(|requests| session.answered >= requests) {
            if !self.script.holds {
                connection.close();
            }
            return;
        }
        let number = self.asked.requests;
        let draw = noise(self.script.seed, 0, 0, number) % 100;
        let is_denied = draw < u128::from(self.script.denied_share);
        let questions = if is_denied { &self.script.denied } else { &self.script.allowed };
        let index = usize::try_from(number % (questions.len().max(1) as u64)).unwrap_or(0);
        let Some(question) = questions.get(index) else {
            connection.close();
            return;
        };
        if connection.send(&question.request) {
            self.asked.requests += 1;
            session.asked_at = now;
            session.pending = Some(question.is_denied);
        }
    }
}

impl Role for Client {
    type Session = Session;

    fn is_ours(&self, address: IpAddr) -> bool {
        self.addresses.contains(address)
    }

    fn accept(&mut self, _flow: &Flow) -> Option<Session> {
        None
    }

    fn hear(
        &mut self,
        session: &mut Session,
        connection: &mut Connection,
        news: &News<'_>,
        now: u64,
    ) {
        if news.connected {
            self.asked.connected += 1;
            self.asked.handshakes.saturating_record(now.saturating_sub(session.opened_at).max(1));
            self.go_on(session, connection, now);
        }
        self.asked.bytes += news.data.len() as u64;
        let mut status = None;
        let mut surplus = 0;
        let understood = session.reader.read(news.data, |answer| {
            surplus += u64::from(status.replace(answer).is_some());
        });
        if understood.is_err() {
            self.asked.not_understood += 1;
            session.pending = None;
            connection.close();
            return;
        }
        self.asked.wrong += surplus;
        if let Some(status) = status {
            match (session.pending.take(), status) {
                (Some(false), 200..300) => self.asked.allowed += 1,
                (Some(true), 403) => self.asked.denied += 1,
                (Some(_) | None, _) => self.asked.wrong += 1,
            }
            session.answered += 1;
            self.asked.responses.saturating_record(now.saturating_sub(session.asked_at).max(1));
            if !news.peer_closed {
                self.go_on(session, connection, now);
            }
        }
        if news.peer_closed {
            connection.close();
        }
    }

    fn end(&mut self, session: Session, end: End, retransmissions: u32, _now: u64) {
        self.asked.retransmissions += u64::from(retransmissions);
        let is_done = session.pending.is_none()
            && self.script.requests.is_none_or(|requests| session.answered >= requests);
        match end {
            End::Closed if is_done => self.asked.completed += 1,
            End::Closed => self.asked.cut += 1,
            End::Reset => self.asked.reset += 1,
            End::TimedOut => self.asked.timed_out += 1,
        }
    }
}

/// Where connections go from and to.
#[derive(Clone, Debug)]
pub struct Targets {
    /// Whether they are IPv6.
    pub is_ipv6: bool,
    /// Our addresses.
    pub sources: Values,
    /// The servers'.
    pub destinations: Values,
    /// The servers' port.
    pub port: u16,
}

impl Targets {
    /// The flow of connection `number`: addresses first, so that a port is used again as late as possible.
    pub fn flow(&self, number: u64) -> Flow {
        let addresses = u64::try_from(self.sources.count()).unwrap_or(u64::MAX).max(1);
        let port = u16::try_from(number / addresses % PORTS).unwrap_or(0);
        Flow {
            local: self.address(self.sources.value(number, || u128::from(mix(number)))),
            local_port: FIRST_PORT.saturating_add(port),
            remote: self.address(self.destinations.value(number, || u128::from(mix(number)))),
            remote_port: self.port,
        }
    }

    /// Connections that there can be at once.
    pub fn most(&self) -> u64 {
        u64::try_from(self.sources.count()).unwrap_or(u64::MAX).saturating_mul(PORTS)
    }

    fn address(&self, number: u128) -> IpAddr {
        if self.is_ipv6 {
            IpAddr::V6(number.into())
        } else {
            IpAddr::V4(u32::try_from(number).unwrap_or(0).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_connection_has_a_flow_of_its_own_until_all_were_used() {
        let read = |text: &str| {
            text.parse::<std::net::Ipv4Addr>()
                .map(|ip| u128::from(ip.to_bits()))
                .map_err(|e| e.to_string())
        };
        let targets = Targets {
            is_ipv6: false,
            sources: Values::parse("10.0.0.1-10.0.0.3", read).unwrap(),
            destinations: Values::parse("10.1.0.1", read).unwrap(),
            port: 80,
        };
        let most = targets.most();
        let flows: HashSet<Flow> = (0..most).map(|number| targets.flow(number)).collect();
        assert_eq!((flows.len() as u64, most), (most, 3 * PORTS));
        assert_eq!(targets.flow(most), targets.flow(0));
    }
}
