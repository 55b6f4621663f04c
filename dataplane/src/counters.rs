//! What a worker counts: every packet that came in or that we built has exactly one exit.
//!
//! `received + built = sent + answered + absorbed + handed_on + dropped`, over all workers, packets that wait aside. Counters belong to one worker and are copied out on request; nothing is shared.

use crate::drop_reason::DropReason;

/// The counters of one worker since it started.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Packets taken from rx rings and from other workers' parcels to be judged.
    pub received: u64,
    /// Packets put into a tx ring: forwarded, or built by us.
    pub sent: u64,
    /// Packets that were for us: answered or taken note of (ARP, neighbour discovery).
    pub answered: u64,
    /// Packets taken in by an inspected connection: bytes held, retransmissions of what is done, fragments that were put together.
    pub absorbed: u64,
    /// Packets handed to the worker that owns their connection.
    pub handed_on: u64,
    /// Packets that were built in a free frame.
    pub built: u64,
    /// Connections and DNS queries that passed only because a policy is tried.
    pub audited: u64,
    /// HTTP requests, by verdict.
    pub requests: RequestCounters,
    /// Flow events that did not fit the queue to the control thread.
    pub events_lost: u64,
    /// Inspected connections that were reset because their endpoint's streams, or all, held too many bytes.
    pub streams_shed: u64,
    dropped: [u64; DropReason::ALL.len()],
}

/// HTTP requests, by verdict.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestCounters {
    /// Passed to the server.
    pub allowed: u64,
    /// Answered 403 by policy.
    pub denied: u64,
    /// Answered 4xx because of their form.
    pub refused: u64,
    /// Of the allowed ones, those that passed only because a policy is tried.
    pub audited: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            received: 0,
            sent: 0,
            answered: 0,
            absorbed: 0,
            handed_on: 0,
            built: 0,
            audited: 0,
            requests: RequestCounters::default(),
            events_lost: 0,
            streams_shed: 0,
            dropped: [0; DropReason::ALL.len()],
        }
    }
}

impl Counters {
    /// Counts one dropped packet.
    pub fn count_drop(&mut self, reason: DropReason) {
        self.count_drops(reason, 1);
    }

    /// Counts dropped packets.
    pub fn count_drops(&mut self, reason: DropReason, packets: u64) {
        if let Some(counter) = self.dropped.get_mut(reason as usize) {
            *counter += packets;
        }
    }

    /// Counts what happened to requests.
    pub fn count_requests(&mut self, requests: &RequestCounters) {
        self.requests.allowed += requests.allowed;
        self.requests.denied += requests.denied;
        self.requests.refused += requests.refused;
        self.requests.audited += requests.audited;
    }

    /// Packets dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// Packets dropped for any reason.
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Adds another worker's counters.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.sent += other.sent;
        self.answered += other.answered;
        self.absorbed += other.absorbed;
        self.handed_on += other.handed_on;
        self.built += other.built;
        self.audited += other.audited;
        self.count_requests(&other.requests);
        self.events_lost += other.events_lost;
        self.streams_shed += other.streams_shed;
        for (sum, more) in self.dropped.iter_mut().zip(other.dropped) {
            *sum += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_every_reason_apart() {
        let mut one = Counters::default();
        one.count_drop(DropReason::PolicyDenied);
        let mut other = Counters { received: 5, ..Counters::default() };
        other.count_drops(DropReason::StreamAmbiguous, 3);
        one.add(&other);
        assert_eq!(one.received, 5);
        assert_eq!(one.dropped(DropReason::PolicyDenied), 1);
        assert_eq!(one.dropped(DropReason::StreamAmbiguous), 3);
        assert_eq!(one.dropped_in_all(), 4);
    }
}
