//! A worker's sockets on all ports, and the packets that wait for a neighbour's hardware address.

use std::{collections::VecDeque, os::fd::RawFd, time::Duration};

use super::{
    PortId, PortReport,
    carry_out::Budget,
    clock::{Tick, between},
};
use crate::{
    counters::Counters,
    drop_reason::DropReason,
    umem::{Frame, Pool, Port, Refused},
};

/// Packets that may wait for one neighbour.
const WAITING: usize = 32;

/// How long a packet waits for a neighbour that does not answer; its sender sends it again by then.
const PATIENCE: Duration = Duration::from_secs(3);

/// A packet that is ready but for the neighbour's hardware address.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) port: PortId,
    pub(super) frame: Frame,
    pub(super) since: Tick,
}

#[derive(Debug)]
struct Slot<P> {
    sockets: P,
    fd: Option<RawFd>,
    received: u64,
    sent: u64,
    icmp_errors: Budget,
    /// Something was sent since the last flush.
    dirty: bool,
    /// The pod was told where its gateway is now.
    announced: bool,
    /// The interface is gone; the control thread will take the sockets away.
    gone: bool,
}

/// The sockets of one worker, by port.
#[derive(Debug)]
pub(super) struct Ports<P> {
    slots: Vec<Option<Slot<P>>>,
    /// Ports that this worker receives from.
    homes: Vec<PortId>,
    /// Ports with something to flush.
    dirty: Vec<PortId>,
    /// Packets that are ready but for the neighbour's hardware address.
    waiting: VecDeque<Waiting>,
    /// Sent to ports that only other workers have sockets on.
    icmp_errors_elsewhere: Budget,
}

impl<P> Default for Ports<P> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            homes: Vec::new(),
            dirty: Vec::new(),
            waiting: VecDeque::new(),
            icmp_errors_elsewhere: Budget::default(),
        }
    }
}

impl<P: Port> Ports<P> {
    /// Takes up the sockets of a port.
    pub(super) fn add(
        &mut self,
        port: PortId,
        mut sockets: P,
        receives: bool,
        fd: Option<RawFd>,
        pool: &mut Pool,
    ) {
        sockets.recycle(pool);
        let position = usize::from(port.0);
        if self.slots.len() <= position {
            self.slots.resize_with(position + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(position) {
            *slot = Some(Slot {
                sockets,
                fd: fd.filter(|_| receives),
                received: 0,
                sent: 0,
                icmp_errors: Budget::default(),
                dirty: false,
                announced: false,
                gone: false,
            });
        }
        if receives {
            self.homes.push(port);
        }
    }

    /// Gives the sockets of a port up.
    pub(super) fn remove(&mut self, port: PortId) -> Option<(P, Option<RawFd>)> {
        self.homes.retain(|home| *home != port);
        self.dirty.retain(|dirty| *dirty != port);
        let slot = self.slots.get_mut(usize::from(port.0))?.take()?;
        Some((slot.sockets, slot.fd))
    }

    /// Ports that this worker receives from.
    pub(super) fn homes(&self) -> usize {
        self.homes.len()
    }

    /// A home port whose pod was not told yet where its gateway is now; it counts as told from here on.
    pub(super) fn next_to_announce(&mut self) -> Option<PortId> {
        let Self { homes, slots, .. } = self;
        homes.iter().copied().find(|port| {
            let slot = slots.get_mut(usize::from(port.0)).and_then(Option::as_mut);
            slot.is_some_and(|slot| !std::mem::replace(&mut slot.announced, true))
        })
    }

    /// Takes a batch from the home port at `position`; the port's number if anything came.
    pub(super) fn receive(
        &mut self,
        position: usize,
        batch: &mut Vec<Frame>,
        budget: usize,
        pool: &mut Pool,
        counters: &mut Counters,
    ) -> Option<PortId> {
        let port = *self.homes.get(position)?;
        let slot = self.slots.get_mut(usize::from(port.0))?.as_mut()?;
        let Refused { too_long, broken } = slot.sockets.receive(batch, budget, pool);
        let refused = u64::from(too_long) + u64::from(broken);
        if refused > 0 {
            counters.received += refused;
            counters.count_drops(DropReason::FrameTooLong, u64::from(too_long));
            counters.count_drops(DropReason::FrameBroken, u64::from(broken));
        }
        if batch.is_empty() && refused == 0 {
            return None;
        }
        slot.received += batch.len() as u64 + refused;
        Self::mark(slot, &mut self.dirty, port);
        Some(port)
    }

    /// Whether this worker can send on the port itself.
    pub(super) fn can_send(&self, port: PortId) -> bool {
        matches!(self.slots.get(usize::from(port.0)), Some(Some(_)))
    }

    /// Whether one more ICMP error may go to this port in this second, of `most`. Each port has its own budget, so nobody can use up
    /// another one's.
    pub(super) fn may_send_icmp_error(&mut self, port: PortId, now: Tick, most: u32) -> bool {
        match self.slots.get_mut(usize::from(port.0)) {
            Some(Some(slot)) => slot.icmp_errors.take(now, most),
            _ => self.icmp_errors_elsewhere.take(now, most),
        }
    }

    /// Queues a packet, or says why not.
    #[inline]
    pub(super) fn send(&mut self, port: PortId, frame: Frame) -> Result<(), (DropReason, Frame)> {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(port.0)) else {
            return Err((DropReason::PortGone, frame));
        };
        if slot.gone {
            return Err((DropReason::PortGone, frame));
        }
        slot.sockets.send(frame).map_err(|frame| (DropReason::TxRingFull, frame))?;
        slot.sent += 1;
        Self::mark(slot, &mut self.dirty, port);
        Ok(())
    }

    /// One wake-up for every port with something to send, and the chunks of what was sent back.
    pub(super) fn flush(&mut self, pool: &mut Pool) {
        for port in self.dirty.drain(..) {
            if let Some(Some(slot)) = self.slots.get_mut(usize::from(port.0)) {
                slot.dirty = false;
                slot.gone = slot.sockets.flush().is_err();
                slot.sockets.recycle(pool);
            }
        }
    }

    /// Lets a packet wait for the neighbour, or gives it back if enough wait.
    pub(super) fn wait(&mut self, port: PortId, frame: Frame, since: Tick) -> Result<(), Frame> {
        if self.waiting.iter().filter(|waiting| waiting.port == port).count() >= WAITING {
            return Err(frame);
        }
        self.waiting.push_back(Waiting { port, frame, since });
        Ok(())
    }

    /// The next packet that waits, to be tried once more; call it at most [`Ports::waiting`] times.
    pub(super) fn next_waiting(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    /// Packets that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The frames of the packets that wait.
    pub(super) fn held(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.frame.chunks()).sum()
    }

    /// Takes out the packets that wait for a port.
    pub(super) fn forget_waiting(&mut self, port: PortId) -> Vec<Frame> {
        self.take_waiting(|waiting| waiting.port == port)
    }

    /// Takes out the packets that have waited for too long.
    pub(super) fn expire_waiting(&mut self, now: Tick) -> Vec<Frame> {
        self.take_waiting(|waiting| between(waiting.since, now) > PATIENCE)
    }

    /// Takes out all packets that wait.
    pub(super) fn forget_all_waiting(&mut self) -> Vec<Frame> {
        self.take_waiting(|_| true)
    }

    fn take_waiting(&mut self, which: impl Fn(&Waiting) -> bool) -> Vec<Frame> {
        let (taken, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| which(waiting));
        self.waiting = kept;
        taken.into_iter().map(|waiting| waiting.frame).collect()
    }

    /// How things are with every port.
    pub(super) fn report(&mut self) -> Vec<(PortId, PortReport)> {
        let report = |(number, slot): (usize, &mut Option<Slot<P>>)| {
            let slot = slot.as_mut()?;
            let report = PortReport {
                frames: slot.sockets.frames(),
                received: slot.received,
                sent: slot.sent,
                missed: slot.sockets.missed(),
            };
            Some((PortId(u16::try_from(number).ok()?), report))
        };
        self.slots.iter_mut().enumerate().filter_map(report).collect()
    }

    /// The sockets of a port.
    pub(super) fn sockets(&mut self, port: PortId) -> Option<&mut P> {
        self.slots.get_mut(usize::from(port.0))?.as_mut().map(|slot| &mut slot.sockets)
    }

    fn mark(slot: &mut Slot<P>, dirty: &mut Vec<PortId>, port: PortId) {
        if !slot.dirty {
            slot.dirty = true;
            dirty.push(port);
        }
    }
}
