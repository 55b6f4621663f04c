//! Connections and requests as a load: a client, a server or both arrive, each with its link; they take turns on this thread until
//! the time or the number of connections is over.

use std::sync::atomic::{AtomicBool, Ordering};

use parser::ethernet::MacAddress;
use serde::{Deserialize, Serialize};

use crate::{
    client::{Asked, Client, Targets},
    clock::{self, SECOND},
    link::{Baseline, Link, LinkError, OwnLosses},
    pace::{BATCH, Limit, Pacer, Step},
    run::RunError,
    server::Server,
    stack::{Role, Stack, Turn},
    wait::Waiter,
};

/// Least nanoseconds between two samples.
const INTERVAL: u64 = SECOND / 10;

/// Flows looked at for one that is free.
const LOOKS: u32 = 1000;

/// The counts at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadSample {
    /// Seconds since the start.
    pub at: f64,
    /// Connections whose handshake was done until then.
    pub connected: u64,
    /// Right responses until then.
    pub responses: u64,
    /// Connections there are.
    pub open: u64,
}

/// One side: a stack on its link.
#[derive(Debug)]
pub struct Side<'a, R: Role> {
    /// Where.
    pub link: &'a mut Link,
    /// Its connections.
    pub stack: Stack<R>,
    baseline: Baseline,
}

/// What the client does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where connections go.
    pub targets: Targets,
    /// The station that takes our packets on.
    pub gateway: MacAddress,
    /// Connections at once.
    pub concurrent: u64,
    /// When each is opened, and when the last.
    pub pacer: Pacer,
    /// When it is over.
    pub limit: Limit,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct LoadCourse {
    /// Nanoseconds from the start to the end.
    pub duration: u64,
    /// The counts as they grew.
    pub series: Vec<LoadSample>,
    /// The most connections there were at once.
    pub peak: u64,
    /// What the client had counted at the end, before it let go of what was left.
    pub asked: Option<Asked>,
    /// Connections that were still open at the end.
    pub left_open: u64,
    /// Packets that the client itself lost until then.
    pub client_losses: OwnLosses,
    /// Packets that the server itself lost until then.
    pub server_losses: OwnLosses,
    /// Whether it was stopped before its end.
    pub was_stopped: bool,
    /// What part of the connection rate asked for was reached, if one was.
    pub reached: Option<f64>,
}

impl<'a, R: Role> Side<'a, R> {
    /// A side on this link, whose losses count from now on. The seed decides sequence numbers.
    ///
    /// # Errors
    /// The link's counters cannot be read.
    pub fn new(link: &'a mut Link, role: R, seed: u64) -> Result<Self, LinkError> {
        let baseline = Baseline::of(link)?;
        Ok(Self { stack: Stack::new(role, link.mac, link.mtu, seed), link, baseline })
    }

    fn losses(&self) -> Result<OwnLosses, LinkError> {
        self.baseline.losses(self.link, 0)
    }

    fn turn(&mut self, now: u64) -> Result<Turn, LinkError> {
        let Link { port, pool, place, .. } = &mut *self.link;
        self.stack.turn(port, pool, now).map_err(|_gone| LinkError::NoInterface(place.clone()))
    }

    fn abandon(&mut self) -> Result<(), LinkError> {
        let Link { port, pool, place, .. } = &mut *self.link;
        self.stack.abandon(port, pool).map_err(|_gone| LinkError::NoInterface(place.clone()))
    }
}

/// Loads the network with the client's connections, and answers them if the server is here too.
///
/// # Errors
/// An interface goes away.
pub fn load(
    client: &mut Side<'_, Client>,
    mut server: Option<&mut Side<'_, Server>>,
    plan: &mut Plan,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&LoadSample),
) -> Result<LoadCourse, RunError> {
    let sockets =
        std::iter::once(client.link.fd()).chain(server.as_ref().map(|server| server.link.fd()));
    let mut waiter = Waiter::new(sockets)?;
    let started = clock::now();
    let (mut next_sample, mut series, mut peak) = (started + INTERVAL, Vec::new(), 0);
    let mut number = 0;
    let duration = loop {
        let now = clock::now();
        let elapsed = now - started;
        let mut wait = open_due(client, plan, &mut number, elapsed, now);
        let turn = client.turn(now)?;
        let mut did_work = turn.did_work;
        let mut timers = [turn.next_timer, None];
        if let Some(server) = server.as_deref_mut() {
            let turn = server.turn(now)?;
            did_work |= turn.did_work;
            timers[1] = turn.next_timer;
        }
        peak = peak.max(client.stack.len() as u64);
        if now >= next_sample {
            next_sample = now + INTERVAL;
            let sample = sample(&client.stack, elapsed);
            watch(&sample);
            series.push(sample);
        }
        let asked = &client.stack.role.asked;
        let is_over = stop.load(Ordering::Relaxed)
            || plan.limit.time.is_some_and(|time| elapsed >= time)
            || plan.limit.count.is_some_and(|count| asked.opened >= count)
                && client.stack.is_empty();
        if is_over {
            break elapsed;
        }
        for timer in timers.into_iter().flatten() {
            wait = wait.min(timer.saturating_sub(now));
        }
        if let Some(time) = plan.limit.time {
            wait = wait.min(time.saturating_sub(elapsed));
        }
        waiter.rest(now, did_work, wait);
    };
    series.push(sample(&client.stack, duration));
    let course = LoadCourse {
        duration,
        series,
        peak,
        asked: Some(client.stack.role.asked.clone()),
        left_open: client.stack.len() as u64,
        client_losses: client.losses()?,
        server_losses: match &server {
            Some(server) => server.losses()?,
            None => OwnLosses::default(),
        },
        was_stopped: stop.load(Ordering::Relaxed),
        reached: plan.pacer.reached(duration),
    };
    client.abandon()?;
    if let Some(server) = server {
        // What the client's resets leave.
        server.turn(clock::now())?;
        server.abandon()?;
    }
    Ok(course)
}

/// Answers until the time is over or a stop.
///
/// # Errors
/// The interface goes away.
pub fn serve(
    server: &mut Side<'_, Server>,
    limit: Limit,
    stop: &AtomicBool,
) -> Result<LoadCourse, RunError> {
    let mut waiter = Waiter::new([server.link.fd()])?;
    let started = clock::now();
    let mut peak = 0;
    let duration = loop {
        let now = clock::now();
        let turn = server.turn(now)?;
        peak = peak.max(server.stack.len() as u64);
        if stop.load(Ordering::Relaxed) || limit.time.is_some_and(|time| now - started >= time) {
            break now - started;
        }
        waiter.rest(
            now,
            turn.did_work,
            turn.next_timer.map_or(u64::MAX, |at| at.saturating_sub(now)),
        );
    };
    let course = LoadCourse {
        duration,
        series: Vec::new(),
        peak,
        asked: None,
        left_open: server.stack.len() as u64,
        client_losses: OwnLosses::default(),
        server_losses: server.losses()?,
        was_stopped: stop.load(Ordering::Relaxed),
        reached: None,
    };
    server.abandon()?;
    Ok(course)
}

/// Opens the connections that are due, as far as there may be more. Returns for how long none will be due.
fn open_due(
    client: &mut Side<'_, Client>,
    plan: &mut Plan,
    number: &mut u64,
    elapsed: u64,
    now: u64,
) -> u64 {
    match plan.pacer.step(elapsed) {
        Step::Wait(wait) => return wait,
        Step::Stop => return u64::MAX,
        Step::Send => {}
    }
    for _ in 0..BATCH {
        if !plan.pacer.is_due() || client.stack.len() as u64 >= plan.concurrent {
            break;
        }
        let free = (0..LOOKS).find_map(|_| {
            let flow = plan.targets.flow(*number);
            *number += 1;
            (!client.stack.has(&flow)).then_some(flow)
        });
        let Some(flow) = free else { break };
        let session = client.stack.role.session(now);
        client.stack.open(flow, plan.gateway, session);
        plan.pacer.sent(0);
    }
    // Connections that end make room, and they end when something comes.
    if client.stack.len() as u64 >= plan.concurrent { u64::MAX } else { 0 }
}

fn sample(stack: &Stack<Client>, elapsed: u64) -> LoadSample {
    let asked = &stack.role.asked;
    LoadSample {
        at: clock::seconds(elapsed),
        connected: asked.connected,
        responses: asked.right(),
        open: stack.len() as u64,
    }
}
