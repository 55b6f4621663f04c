//! What the engine wants sent: edits of the frame that arrived, and new frames, in the order in which they must leave.

use std::ops::Range;

use parser::{
    emit::{self, Envelope},
    ethernet::MacAddress,
    flow_key::FlowTuple,
    headers::Headers,
    rewrite::{self, TcpEdit},
    tcp::{SeqNumber, TcpFlags},
};

use crate::{
    counters::Counters,
    drop_reason::DropReason,
    inspect::{Edit, Header, NewSegment, Side, Sink},
    umem::{CAPACITY, Frame, Pool},
    worker::linear::Workbench,
};

/// What the engine wants sent, in the order in which it must leave.
#[derive(Debug)]
pub(super) enum Out {
    /// The segment that arrived, as it came or with [`Outbox::edit`].
    Forward { keep: Range<usize> },
    /// A segment in a frame of its own, ready but for the hardware addresses.
    Inject { to: Side, frame: Frame },
}

/// A [`Header`] that outlives the engine's call.
#[derive(Debug)]
pub(super) struct OwnedHeader {
    pub(super) seq: SeqNumber,
    pub(super) ack: SeqNumber,
    pub(super) flags: TcpFlags,
    pub(super) window: u16,
    pub(super) options: Option<([u8; 40], usize)>,
}

impl OwnedHeader {
    fn of(header: &Header<'_>) -> Self {
        let options = header.options.map(|options| {
            let mut bytes = [0; 40];
            let length = options.len().min(bytes.len());
            for (to, from) in bytes.iter_mut().zip(options) {
                *to = *from;
            }
            (bytes, length)
        });
        Self {
            seq: header.seq,
            ack: header.ack,
            flags: header.flags,
            window: header.window,
            options,
        }
    }

    /// Writes it over a segment's header.
    pub(super) fn write(&self, bytes: &mut [u8], headers: &mut Headers) -> Result<(), DropReason> {
        if let Some((options, length)) = &self.options {
            rewrite::options(bytes, headers, options.get(..*length).unwrap_or_default())?;
        }
        let edit = TcpEdit {
            seq: Some(self.seq),
            ack: Some(self.ack),
            flags: Some(self.flags),
            window: Some(self.window),
            urgent: Some(0),
        };
        rewrite::tcp(bytes, headers, &edit)?;
        Ok(())
    }
}

/// What the engine wants sent; kept by the worker so that nothing is allocated per packet.
#[derive(Debug, Default)]
pub(in crate::worker) struct Outbox {
    pub(super) outs: Vec<Out>,
    /// What is written over the header of the segment that arrived, which is sent on once at most.
    pub(super) edit: Option<OwnedHeader>,
}

impl Outbox {
    /// Whether it holds nothing but the segment that arrived, as it came, with its payload of so many bytes.
    pub(super) fn is_whole(&self, payload_len: usize) -> bool {
        matches!(&self.outs[..], [Out::Forward { keep }] if *keep == (0..payload_len))
            && self.edit.is_none()
    }
}

/// The engine's sink: notes what happens to the arriving frame and builds new ones.
pub(super) struct FrameSink<'a> {
    pub(super) outbox: &'a mut Outbox,
    pub(super) pool: &'a mut Pool,
    pub(super) workbench: &'a mut Workbench,
    pub(super) counters: &'a mut Counters,
    /// As the server knows the connection.
    pub(super) flow: &'a FlowTuple,
    /// As the client does, if it addressed a service.
    pub(super) service: Option<&'a FlowTuple>,
}

impl Sink for FrameSink<'_> {
    fn forward(&mut self, keep: Range<usize>, edit: Edit<'_>) {
        if let Edit::Rewrite(header) = edit {
            self.outbox.edit = Some(OwnedHeader::of(&header));
        }
        self.outbox.outs.push(Out::Forward { keep });
    }

    fn inject(&mut self, to: Side, segment: NewSegment<'_>) {
        self.counters.built += 1;
        let tuple = match to {
            Side::Client => self.service.unwrap_or(self.flow).reversed(),
            Side::Server => *self.flow,
        };
        match emit(&segment, &tuple, self.pool, self.workbench) {
            Ok(frame) => self.outbox.outs.push(Out::Inject { to, frame }),
            // The engine sends it again when nobody acknowledges it.
            Err(reason) => self.counters.count_drop(reason),
        }
    }
}

/// Makes a packet of a segment of the engine's, ready but for the hardware addresses.
pub(super) fn emit(
    segment: &NewSegment<'_>,
    tuple: &FlowTuple,
    pool: &mut Pool,
    workbench: &mut Workbench,
) -> Result<Frame, DropReason> {
    /// What a fresh packet of ours may cross (the same as Linux's `ip_default_ttl`).
    const HOP_LIMIT: u8 = 64;
    /// More than all headers together have.
    const HEADERS: usize = 128;
    let unknown_yet = MacAddress::new([0; 6]);
    let envelope = Envelope {
        source_mac: unknown_yet,
        destination_mac: unknown_yet,
        source: tuple.source,
        destination: tuple.destination,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
    };
    let whole = emit::Segment {
        envelope,
        src_port: tuple.src_port,
        dst_port: tuple.dst_port,
        seq: segment.seq,
        ack: segment.ack,
        flags: segment.flags,
        window: segment.window,
        options: segment.options,
        payload: segment.payload,
    };
    // The engine keeps its segments within the connection's MSS, which is within the longest packet.
    let too_long = |_does_not_fit| DropReason::StreamBudget;
    if segment.payload.len() + HEADERS > CAPACITY {
        let length = whole.emit(workbench.room()).map_err(too_long)?;
        let bytes = workbench.room().get(..length).unwrap_or_default();
        return pool.packet(bytes).ok_or(DropReason::PoolEmpty);
    }
    let mut frame = pool.take().ok_or(DropReason::PoolEmpty)?;
    match whole.emit(frame.room_mut()).map_err(too_long) {
        Ok(length) => {
            frame.set_len(length);
            Ok(frame)
        }
        Err(reason) => {
            pool.give(frame);
            Err(reason)
        }
    }
}
