//! The handshake, and the segments that would begin or end a connection out of turn: SYN and RST.
//!
//! INVARIANT: the numbers of both sides are fixed by the one SYN-ACK that answers the client's SYN; no payload and no foreign
//! option passes with a SYN; only a RST with the exact number ends the state (RFC 5961).

use parser::tcp::{SeqNumber, TcpFlags};

use super::{
    Disposition, Edit, Header, Segment, Side, Sink, StreamDrop,
    options::{self, Options},
    stream::{Phase, Stream, read_options},
};

impl Stream {
    pub(super) fn opening<S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        sink: &mut S,
    ) -> Result<Disposition, StreamDrop> {
        let flags = segment.flags;
        match segment.from {
            Side::Client if flags.contains(TcpFlags::RST) && !flags.contains(TcpFlags::SYN) => {
                // The client may reset what an old connection of the server answers; only its own number ends this one.
                forward_bare(segment, sink);
                if segment.seq == self.up.number(1) {
                    self.close();
                }
                Ok(Disposition::Forwarded)
            }
            Side::Client if flags.contains(TcpFlags::SYN) => {
                if flags.contains(TcpFlags::FIN) || flags.contains(TcpFlags::RST) {
                    return Err(StreamDrop::BadFlags);
                }
                if flags.contains(TcpFlags::ACK) || segment.seq != self.up.number(0) {
                    return Err(StreamDrop::UnexpectedSyn);
                }
                let options = read_options(segment)?;
                if let Some(timestamps) = options.timestamps {
                    self.client.note(timestamps, true);
                }
                forward_syn(segment, options, sink);
                Ok(Disposition::Forwarded)
            }
            Side::Client => Err(StreamDrop::BadHandshake),
            Side::Server if flags.contains(TcpFlags::RST) => {
                if flags.contains(TcpFlags::SYN) {
                    return Err(StreamDrop::BadFlags);
                }
                if !flags.contains(TcpFlags::ACK) || segment.ack != self.up.number(1) {
                    return Err(StreamDrop::InexactReset);
                }
                forward_bare(segment, sink);
                self.close();
                Ok(Disposition::Forwarded)
            }
            Side::Server if flags.contains(TcpFlags::SYN) => {
                if flags.contains(TcpFlags::FIN) {
                    return Err(StreamDrop::BadFlags);
                }
                // A SYN without ACK would make the server the client (evasion row T6).
                if !flags.contains(TcpFlags::ACK) {
                    return Err(StreamDrop::UnexpectedSyn);
                }
                if segment.ack != self.up.number(1) {
                    return Err(StreamDrop::BadHandshake);
                }
                let options = read_options(segment)?;
                self.established_by(segment, options);
                forward_syn(segment, options, sink);
                Ok(Disposition::Forwarded)
            }
            Side::Server
                if flags.contains(TcpFlags::ACK)
                    && segment.payload.is_empty()
                    && !flags.contains(TcpFlags::FIN) =>
            {
                // A challenge from an older connection of the server (RFC 5961 §4): the client resets it and tries again.
                read_options(segment)?;
                forward_bare(segment, sink);
                Ok(Disposition::Forwarded)
            }
            Side::Server => Err(StreamDrop::BadHandshake),
        }
    }

    /// The server's SYN-ACK fixes both sides' numbers and what was negotiated.
    fn established_by(&mut self, syn_ack: &Segment<'_>, options: Options) {
        self.down.isn = syn_ack.seq.value();
        let offered = self.client.shift != u8::MAX;
        self.client.shift =
            if offered && options.window_scale.is_some() { self.client.shift } else { 0 };
        self.server.shift = if offered { options.window_scale.unwrap_or(0) } else { 0 };
        self.timestamps &= options.timestamps.is_some();
        self.sack &= options.sack_permitted;
        self.mss = self.mss.min(options.mss.unwrap_or(536).max(64));
        if let Some(timestamps) = options.timestamps {
            self.server.note(timestamps, true);
        }
        self.up.una = 1;
        self.up.told = 1;
        self.up.edge = 1 + u64::from(syn_ack.window);
        self.up.told_edge = self.up.edge;
        self.owned_to = 1;
        self.phase = Phase::Open;
    }

    /// A SYN after the handshake: a retransmission of the handshake passes, anything else is challenged (RFC 5961 §4).
    pub(super) fn repeated_syn<S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        sink: &mut S,
    ) -> Result<Disposition, StreamDrop> {
        let flags = segment.flags;
        if flags.contains(TcpFlags::FIN) || flags.contains(TcpFlags::RST) {
            return Err(StreamDrop::BadFlags);
        }
        let plain = self.up.splice.is_identity() && self.down.splice.is_identity();
        let repeated = match segment.from {
            Side::Client => {
                !flags.contains(TcpFlags::ACK)
                    && segment.seq == self.up.number(0)
                    && self.down.una == 0
            }
            Side::Server => {
                flags.contains(TcpFlags::ACK)
                    && segment.seq == self.down.number(0)
                    && segment.ack == self.up.number(1)
                    && plain
            }
        };
        if !repeated {
            if segment.from == Side::Client {
                let acknowledgement =
                    self.segment_to(Side::Client, self.down_next(), TcpFlags::ACK);
                acknowledgement.send(&[], self, sink);
            }
            return Err(StreamDrop::UnexpectedSyn);
        }
        let options = read_options(segment)?;
        if let Some(timestamps) = options.timestamps {
            self.end(segment.from).note(timestamps, true);
        }
        forward_syn(segment, options, sink);
        Ok(Disposition::Forwarded)
    }

    /// A RST passes if its number lies in the window, so that the receiver may challenge it; it ends our state only if the
    /// number is exact (RFC 5961 §3.2).
    pub(super) fn peer_reset<S: Sink>(
        &mut self,
        segment: &Segment<'_>,
        sink: &mut S,
    ) -> Result<Disposition, StreamDrop> {
        let from_client = segment.from == Side::Client;
        let flow = self.flow(segment.from);
        let position = flow.position(segment.seq, flow.told).ok_or(StreamDrop::InexactReset)?;
        let held_end = self.frontier.saturating_add(self.held as u64);
        let last = if from_client && self.held > 0 { held_end } else { flow.high };
        let exact = position == flow.told || position == last;
        if !exact && (position < flow.told || position > flow.sender_edge().max(last)) {
            return Err(StreamDrop::InexactReset);
        }
        if !from_client && self.phase == Phase::Closing {
            // The server is gone; our answer to the client still stands.
            self.server_reset = true;
            return Ok(Disposition::Absorbed);
        }
        let to_server_gone = from_client && self.server_reset;
        if !to_server_gone {
            let sent = if from_client { position.min(self.frontier) } else { position };
            let seq = flow.number(flow.splice.forward(sent));
            let header = Header {
                seq,
                ack: self.other_ack(segment),
                flags: segment.flags.without(TcpFlags::URG),
                window: segment.window,
                urgent: 0,
                options: None,
            };
            sink.forward(0..0, Edit::Rewrite(header));
        }
        if exact {
            self.close();
        }
        Ok(if to_server_gone { Disposition::Absorbed } else { Disposition::Forwarded })
    }

    /// A segment's acknowledgement number in the other side's counting.
    fn other_ack(&self, segment: &Segment<'_>) -> SeqNumber {
        let flow = self.flow(segment.from.other());
        match flow.position(segment.ack, flow.una) {
            Some(position) => flow.number(flow.splice.backward(position.max(flow.una))),
            None => segment.ack,
        }
    }
}

/// Sends a SYN or SYN-ACK on: no payload (RFC 7413 data would arrive unjudged), no foreign options, no urgent pointer.
pub(super) fn forward_syn<S: Sink>(segment: &Segment<'_>, options: Options, sink: &mut S) {
    let rewritten;
    let flags = segment.flags.without(TcpFlags::URG);
    let replaced = if options.has_foreign {
        rewritten = options::rewrite(segment.options, true, |_, _| None);
        Some(rewritten.as_slice())
    } else {
        None
    };
    if replaced.is_none() && flags == segment.flags && segment.urgent == 0 {
        sink.forward(0..0, Edit::Unchanged);
        return;
    }
    let Segment { seq, ack, window, .. } = *segment;
    sink.forward(
        0..0,
        Edit::Rewrite(Header { seq, ack, flags, window, urgent: 0, options: replaced }),
    );
}

/// Sends a segment's header on, as it is but for urgent data.
fn forward_bare<S: Sink>(segment: &Segment<'_>, sink: &mut S) {
    let Segment { seq, ack, window, .. } = *segment;
    let flags = segment.flags.without(TcpFlags::URG);
    sink.forward(0..0, Edit::Rewrite(Header { seq, ack, flags, window, urgent: 0, options: None }));
}
