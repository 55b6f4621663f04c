//! The sender: a stream and a pace arrive, packets leave through a port, counts come back.
//!
//! Every chunk that goes into the transmit ring comes back through the completion ring before the sender returns, or the sender
//! says that it did not.

use std::{num::NonZeroU32, thread, time::Duration};

use dataplane::{
    umem::{
        Pool, Port,
        kernel::{Umem, UmemError},
        pool,
    },
    worker::clock::Clock,
};
use parser::EmitError;

use crate::{
    pace::{Pace, Step},
    packet::Stream,
    report::Report,
};

/// Chunks of the generator's UMEM: twice a transmit ring, so that the ring and not the memory is the limit.
const FRAMES: NonZeroU32 = NonZeroU32::MIN.saturating_add(4095);

/// A kernel that completes nothing for this long is not sending.
const STALL: Duration = Duration::from_secs(2);

/// Waits shorter than this are spent spinning: a sleep would wake up too late.
const SPIN: Duration = Duration::from_micros(200);

/// Why sending ended early or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No interface of this name is in this network namespace.
    #[error("there is no interface {0} in this network namespace; `ip link` lists them")]
    NoInterface(String),
    /// The memory or the socket could not be had.
    #[error(transparent)]
    Umem(#[from] UmemError),
    /// The interface went away while packets were sent.
    #[error("{interface} went away or down after {completed} packets")]
    Gone {
        /// The interface.
        interface: String,
        /// Packets completed until then.
        completed: u64,
    },
    /// The kernel stopped taking packets.
    #[error(
        "{interface} completed nothing for 2 s; {completed} of {handed} packets were completed. Is the link up on both ends?"
    )]
    Stalled {
        /// The interface.
        interface: String,
        /// Packets put into the transmit ring.
        handed: u64,
        /// Packets completed.
        completed: u64,
    },
    /// A packet could not be written.
    #[error("cannot build a packet: {0:?}")]
    Emit(EmitError),
}

impl SendError {
    /// Whether a privilege or kernel feature is missing, rather than something else having failed.
    pub fn is_missing(&self) -> bool {
        let Self::Umem(UmemError::Register { source, .. } | UmemError::Bind { source, .. }) = self
        else {
            return false;
        };
        const EAFNOSUPPORT: i32 = 97;
        source.kind() == std::io::ErrorKind::PermissionDenied
            || source.raw_os_error() == Some(EAFNOSUPPORT)
    }
}

/// Sends `stream` at `pace` through a socket of its own on one queue of `interface`.
///
/// # Errors
/// The interface is missing or goes away, privileges are missing, or the kernel stops sending.
pub fn send(
    interface: &str,
    queue: u32,
    stream: &mut Stream,
    pace: &Pace,
) -> Result<Report, SendError> {
    if !exists(&std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default(), interface) {
        return Err(SendError::NoInterface(interface.to_owned()));
    }
    let (mut umem, frames) = Umem::register(FRAMES)?;
    let mut pool = Pool::new(pool::reserve(frames));
    let (mut port, mode) = umem.bind(interface, queue, false)?;
    let outcome = drive(interface, &mut port, &mut pool, stream, pace);
    port.close().into_iter().for_each(|frame| pool.give(frame));
    pool.retire();
    let Sent { handed, completed, duration } = outcome?;
    Ok(Report::new(interface, mode.as_str(), handed, completed, duration))
}

/// Whether `/proc/net/dev`, which follows the network namespace, lists `interface`.
fn exists(devices: &str, interface: &str) -> bool {
    devices
        .lines()
        .filter_map(|line| line.split_once(':'))
        .any(|(name, _)| name.trim() == interface)
}

#[derive(Debug, PartialEq, Eq)]
struct Sent {
    handed: u64,
    completed: u64,
    duration: Duration,
}

/// Sends until the pace says stop, then until the kernel has completed everything.
fn drive(
    interface: &str,
    port: &mut impl Port,
    pool: &mut Pool,
    stream: &mut Stream,
    pace: &Pace,
) -> Result<Sent, SendError> {
    let clock = Clock::start();
    let start = clock.read();
    let (mut handed, mut completed) = (0_u64, 0_u64);
    let mut last_progress = Duration::ZERO;
    loop {
        let elapsed = clock.read().since(start);
        let step = pace.step(handed, elapsed);
        if let Step::Send(count) = step {
            handed += put(port, pool, stream, handed, count)?;
        }
        port.flush()
            .map_err(|_gone| SendError::Gone { interface: interface.to_owned(), completed })?;
        port.recycle(pool);
        let chunks = port.frames();
        let outstanding = u64::try_from(chunks.tx + chunks.completion).unwrap_or(u64::MAX);
        let now_completed = handed.saturating_sub(outstanding);
        if now_completed > completed || outstanding == 0 {
            (completed, last_progress) = (now_completed, elapsed);
        } else if elapsed.saturating_sub(last_progress) > STALL {
            return Err(SendError::Stalled { interface: interface.to_owned(), handed, completed });
        }
        match step {
            Step::Stop if outstanding == 0 => {
                return Ok(Sent { handed, completed, duration: clock.read().since(start) });
            }
            Step::Wait(wait) if outstanding == 0 && wait > SPIN => {
                thread::sleep(wait.saturating_sub(SPIN))
            }
            Step::Wait(_) | Step::Stop => std::hint::spin_loop(),
            Step::Send(_) => {}
        }
    }
}

/// Puts at most `count` packets into the port, numbered from `sequence` on; returns how many there was room for.
fn put(
    port: &mut impl Port,
    pool: &mut Pool,
    stream: &mut Stream,
    sequence: u64,
    count: u64,
) -> Result<u64, SendError> {
    for put in 0..count {
        let Some(mut frame) = pool.take() else { return Ok(put) };
        match stream.emit(sequence.wrapping_add(put), frame.room_mut()) {
            Ok(len) => frame.set_len(len),
            Err(error) => {
                pool.give(frame);
                return Err(SendError::Emit(error));
            }
        }
        if let Err(frame) = port.send(frame) {
            pool.give(frame);
            return Ok(put);
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_name_is_an_interface() {
        let devices = "Inter-|   Receive\n face |bytes\n    lo: 1 2\n veth10: 3 4\n";
        assert!(exists(devices, "lo"));
        assert!(exists(devices, "veth10"));
        assert!(!exists(devices, "veth1"));
        assert!(!exists(devices, ""));
    }
}
