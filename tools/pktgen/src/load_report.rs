//! What a load of connections did: counts arrive, text for people or JSON for programs leaves (README.md describes its fields).

use std::fmt;

use serde::{Deserialize, Serialize};
use xdp_redirect::Mode;

use crate::{
    client::Asked,
    clock,
    link::{Link, OwnLosses},
    load::{LoadCourse, LoadSample},
    report::{
        Latency, Limitation, REACHED, copy_limit, generic_limit, own_limit, per_second,
        write_limits,
    },
    server::Served,
};

/// The outcome of a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// `connections`.
    pub kind: String,
    /// The client, if it was in this process.
    pub client: Option<ClientReport>,
    /// The server, if it was in this process.
    pub server: Option<ServerReport>,
    /// How the client's counts grew.
    pub series: Vec<LoadSample>,
    /// What the run could not do.
    pub limits: Vec<Limitation>,
}

/// The asking side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientReport {
    /// The interface.
    pub interface: String,
    /// `copy` or `zero-copy`.
    pub mode: String,
    /// `native` or `generic`.
    pub xdp: String,
    /// Length of the run.
    pub seconds: f64,
    /// The most connections there were at once.
    pub peak: u64,
    /// Connections begun.
    pub opened: u64,
    /// Handshakes done.
    pub connected: u64,
    /// Connections closed by both sides after all they were for.
    pub completed: u64,
    /// Connections that were reset.
    pub reset: u64,
    /// Connections to whom nobody answered.
    pub timed_out: u64,
    /// Connections that the peer closed too early.
    pub cut: u64,
    /// Connections whose bytes were no responses.
    pub not_understood: u64,
    /// Connections open at the end.
    pub left_open: u64,
    /// Handshakes done per second.
    pub connections_per_second: f64,
    /// Requests sent.
    pub requests: u64,
    /// Allowed requests answered 2xx.
    pub allowed: u64,
    /// Denied requests answered 403.
    pub denied: u64,
    /// Requests answered otherwise.
    pub wrong: u64,
    /// Right responses per second.
    pub requests_per_second: f64,
    /// Bytes of responses.
    pub bytes: u64,
    /// Times that segments were sent again.
    pub retransmissions: u64,
    /// Nanoseconds of a handshake.
    pub handshake: Latency,
    /// Nanoseconds from a request to the end of its response.
    pub response: Latency,
    /// Packets that this side itself lost.
    pub own_losses: OwnLosses,
}

/// The answering side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerReport {
    /// The interface.
    pub interface: String,
    /// `copy` or `zero-copy`.
    pub mode: String,
    /// `native` or `generic`.
    pub xdp: String,
    /// Length of the run.
    pub seconds: f64,
    /// Connections accepted.
    pub accepted: u64,
    /// Requests that came.
    pub requests: u64,
    /// Connections whose bytes were no requests.
    pub not_understood: u64,
    /// Times that segments were sent again.
    pub retransmissions: u64,
    /// Packets that this side itself lost.
    pub own_losses: OwnLosses,
}

impl Connections {
    /// Puts together what both sides, or one, counted.
    pub fn new(
        course: &LoadCourse,
        client: Option<&Link>,
        server: Option<(&Link, Served)>,
    ) -> Self {
        let mut limits = Vec::new();
        let mut note = |link: &Link, own| {
            copy_limit(link, &mut limits);
            generic_limit(link, &mut limits);
            own_limit(link, own, &mut limits);
        };
        let client = client.zip(course.asked.as_ref()).map(|(link, asked)| {
            note(link, course.client_losses);
            ClientReport::new(course, asked, link)
        });
        let server = server.map(|(link, served)| {
            note(link, course.server_losses);
            ServerReport::new(course, served, link)
        });
        if let Some(reached) = course.reached.filter(|&reached| reached < REACHED) {
            let percent = reached * 100.0;
            let text =
                format!("the rate of connections was not reached: {percent:.1} % were opened");
            limits.push(Limitation::new("rate", text));
        }
        if let Some(client) = &client
            && client.reset + client.timed_out + client.cut + client.not_understood + client.wrong
                > 0
        {
            let text = format!(
                "not all went well: {} connections reset, {} without an answer, {} closed too early, {} not understood; {} wrong answers",
                client.reset, client.timed_out, client.cut, client.not_understood, client.wrong
            );
            limits.push(Limitation::new("failures", text));
        }
        if course.was_stopped && client.is_some() {
            let text = "the run was stopped before its end".to_owned();
            limits.push(Limitation::new("stopped", text));
        }
        let series = course.series.clone();
        Self { kind: "connections".to_owned(), client, server, series, limits }
    }
}

impl ClientReport {
    fn new(course: &LoadCourse, asked: &Asked, link: &Link) -> Self {
        Self {
            interface: link.place.to_string(),
            mode: link.copy.as_str().to_owned(),
            xdp: link.xdp.map_or("none", Mode::as_str).to_owned(),
            seconds: clock::seconds(course.duration),
            peak: course.peak,
            opened: asked.opened,
            connected: asked.connected,
            completed: asked.completed,
            reset: asked.reset,
            timed_out: asked.timed_out,
            cut: asked.cut,
            not_understood: asked.not_understood,
            left_open: course.left_open,
            connections_per_second: per_second(asked.connected, course.duration),
            requests: asked.requests,
            allowed: asked.allowed,
            denied: asked.denied,
            wrong: asked.wrong,
            requests_per_second: per_second(asked.right(), course.duration),
            bytes: asked.bytes,
            retransmissions: asked.retransmissions,
            handshake: Latency::of(&asked.handshakes),
            response: Latency::of(&asked.responses),
            own_losses: course.client_losses,
        }
    }
}

impl ServerReport {
    fn new(course: &LoadCourse, served: Served, link: &Link) -> Self {
        Self {
            interface: link.place.to_string(),
            mode: link.copy.as_str().to_owned(),
            xdp: link.xdp.map_or("none", Mode::as_str).to_owned(),
            seconds: clock::seconds(course.duration),
            accepted: served.accepted,
            requests: served.requests,
            not_understood: served.not_understood,
            retransmissions: served.retransmissions,
            own_losses: course.server_losses,
        }
    }
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(client) = &self.client {
            writeln!(
                f,
                "client      {} ({}, {} XDP): {} connections in {:.3} s: {:.0}/s, at most {} at once, {} open at the end",
                client.interface,
                client.mode,
                client.xdp,
                client.connected,
                client.seconds,
                client.connections_per_second,
                client.peak,
                client.left_open
            )?;
            writeln!(f, "handshake   {}", client.handshake)?;
            if client.requests > 0 {
                writeln!(
                    f,
                    "requests    {}: {:.0}/s right, {} allowed, {} denied, {} wrong",
                    client.requests,
                    client.requests_per_second,
                    client.allowed,
                    client.denied,
                    client.wrong
                )?;
                writeln!(f, "response    {}", client.response)?;
            }
            writeln!(f, "sent again  {} times", client.retransmissions)?;
        }
        if let Some(server) = &self.server {
            writeln!(
                f,
                "server      {} ({}, {} XDP): {} connections, {} requests, sent again {} times",
                server.interface,
                server.mode,
                server.xdp,
                server.accepted,
                server.requests,
                server.retransmissions
            )?;
        }
        write_limits(f, &self.limits)
    }
}
