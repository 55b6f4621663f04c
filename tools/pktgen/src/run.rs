//! One run: a sender, a receiver or both arrive; they take turns on this thread until the traffic is over, and how the counts
//! grew leaves.
//!
//! With a receiver the thread never sleeps while packets are sent, since a wake-up would count as delay. A sender alone sleeps
//! when its next packet is far; a receiver alone sleeps when nothing has come for a while.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    clock::{self, SECOND},
    link::LinkError,
    pace::Limit,
    receive::Receiver,
    send::{SendError, Sender, State},
    wait::Waiter,
};

/// Waits shorter than this are spent spinning: a sleep would wake up too late.
const SPIN: u64 = 200_000;

/// After the last packet was sent the run is over when nothing has come for this long.
const QUIET: u64 = SECOND / 5;

/// Most samples of one run, and the least time between two.
const SAMPLES: u64 = 100;
const LEAST_INTERVAL: u64 = SECOND / 10;

/// The counts at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the start.
    pub at: f64,
    /// Packets handed to the kernel until then.
    pub handed: u64,
    /// Different packets received until then; for a recording, all.
    pub received: u64,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The sender failed.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The receiver failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Waiting for packets is not possible.
    #[error("cannot wait for packets: {0}")]
    Wait(#[from] io::Error),
}

/// How a run went.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// Nanoseconds from the start to the last completion, or to the end for a receiver alone.
    pub duration: u64,
    /// The counts as they grew.
    pub series: Vec<Sample>,
    /// Whether it was stopped before its end.
    pub was_stopped: bool,
}

/// Takes samples when they are due.
struct Sampler<'a> {
    started: u64,
    interval: u64,
    next: u64,
    series: Vec<Sample>,
    watch: &'a mut dyn FnMut(&Sample),
}

impl<'a> Sampler<'a> {
    fn new(started: u64, time: Option<u64>, watch: &'a mut dyn FnMut(&Sample)) -> Self {
        let interval = (time.unwrap_or(SECOND * SAMPLES) / SAMPLES).max(LEAST_INTERVAL);
        let series = vec![Sample { at: 0.0, handed: 0, received: 0 }];
        Self { started, interval, next: started + interval, series, watch }
    }

    fn look(&mut self, now: u64, handed: u64, received: u64) {
        if now >= self.next {
            self.take(now, handed, received);
            self.next = now + self.interval;
        }
    }

    fn take(&mut self, now: u64, handed: u64, received: u64) {
        let at = clock::seconds(now.saturating_sub(self.started));
        let sample = Sample { at, handed, received };
        (self.watch)(&sample);
        self.series.push(sample);
    }
}

/// Sends until the pace says stop and the kernel has completed everything, then receives until all have come or no more come.
///
/// # Errors
/// An interface goes away, or the kernel stops sending.
pub fn exchange(
    sender: &mut Sender<'_>,
    mut receiver: Option<&mut Receiver<'_>>,
    limit: Limit,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Sample),
) -> Result<Course, RunError> {
    let is_tagged = sender.is_tagged();
    let mut sampler = Sampler::new(clock::now(), limit.time, watch);
    let duration = loop {
        let now = clock::now();
        let state = sender.turn(now, stop.load(Ordering::Relaxed))?;
        let mut received = 0;
        if let Some(receiver) = receiver.as_deref_mut() {
            receiver.turn()?;
            received = received_by(receiver, is_tagged);
        }
        sampler.look(now, sender.handed, received);
        match state {
            State::Done => break sender.elapsed(clock::now()),
            State::Waiting(wait) if receiver.is_none() && wait > SPIN => {
                thread::sleep(Duration::from_nanos((wait - SPIN).min(LEAST_INTERVAL)));
            }
            State::Waiting(_) | State::Draining => std::hint::spin_loop(),
            State::Sending => {}
        }
    };
    let mut received = 0;
    if let Some(receiver) = receiver {
        let mut quiet_since = clock::now();
        loop {
            let count = receiver.turn()?;
            received = received_by(receiver, is_tagged);
            let now = clock::now();
            if count > 0 {
                quiet_since = now;
            }
            if received >= sender.handed || now - quiet_since > QUIET {
                break;
            }
        }
    }
    sampler.take(clock::now(), sender.handed, received);
    let was_stopped = stop.load(Ordering::Relaxed);
    Ok(Course { duration, series: sampler.series, was_stopped })
}

/// Receives until the limit or a stop.
///
/// # Errors
/// The interface goes away.
pub fn listen(
    receiver: &mut Receiver<'_>,
    limit: Limit,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Sample),
) -> Result<Course, RunError> {
    let mut waiter = Waiter::new([receiver.link().fd()])?;
    let started = clock::now();
    let mut sampler = Sampler::new(started, limit.time, watch);
    let duration = loop {
        let count = receiver.turn()?;
        let now = clock::now();
        let received = received_by(receiver, true);
        sampler.look(now, 0, received);
        let is_over = limit.count.is_some_and(|count| received >= count)
            || limit.time.is_some_and(|time| now - started >= time)
            || stop.load(Ordering::Relaxed);
        if is_over {
            break now - started;
        }
        waiter.rest(now, count > 0, u64::MAX);
    };
    // What has come but was not looked at yet counts too.
    while receiver.turn()? > 0 {}
    sampler.take(clock::now(), 0, received_by(receiver, true));
    let was_stopped = stop.load(Ordering::Relaxed);
    Ok(Course { duration, series: sampler.series, was_stopped })
}

/// Different packets of the run; without tags, every packet.
fn received_by(receiver: &Receiver<'_>, is_tagged: bool) -> u64 {
    let meter = &receiver.meter;
    if is_tagged { meter.unique() } else { meter.received + meter.foreign }
}
