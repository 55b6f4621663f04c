//! A segment that owns its bytes, for the model network.

use std::ops::Range;

use dataplane::inspect::{Edit, NewSegment, Segment, Side, Sink};
use parser::tcp::{SeqNumber, TcpFlags};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: TcpFlags,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    pub(crate) fn segment(&self, from: Side) -> Segment<'_> {
        Segment {
            from,
            seq: SeqNumber::new(self.seq),
            ack: SeqNumber::new(self.ack),
            flags: self.flags,
            window: self.window,
            urgent: self.urgent,
            options: &self.options,
            payload: &self.payload,
        }
    }
}

/// Collects what the engine sends, as the frames it would become.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    pub(crate) arriving: Option<(Side, Packet)>,
    pub(crate) sent: Vec<(Side, Packet)>,
    pub(crate) forwards: usize,
    pub(crate) unchanged: usize,
}

impl Wire {
    pub(crate) fn at(from: Side, packet: &Packet) -> Self {
        Self { arriving: Some((from, packet.clone())), ..Self::default() }
    }
}

impl Sink for Wire {
    fn forward(&mut self, keep: Range<usize>, edit: Edit<'_>) {
        let (from, mut packet) =
            self.arriving.clone().expect("nothing arrives, nothing can be forwarded");
        self.forwards += 1;
        assert_eq!(self.forwards, 1, "one frame goes on at most once");
        packet.payload = packet.payload[keep].to_vec();
        match edit {
            Edit::Unchanged => {
                assert_eq!(packet.urgent, 0);
                self.unchanged += 1;
            }
            Edit::Rewrite(header) => {
                packet.seq = header.seq.value();
                packet.ack = header.ack.value();
                packet.flags = header.flags;
                packet.window = header.window;
                packet.urgent = header.urgent;
                if let Some(options) = header.options {
                    assert_eq!(options.len(), packet.options.len(), "options keep their length");
                    packet.options = options.to_vec();
                }
            }
        }
        assert!(!packet.flags.contains(TcpFlags::URG), "urgent data never passes");
        self.sent.push((from.other(), packet));
    }

    fn inject(&mut self, to: Side, segment: NewSegment<'_>) {
        assert!(segment.options.len() <= 40 && segment.options.len().is_multiple_of(4));
        self.sent.push((
            to,
            Packet {
                seq: segment.seq.value(),
                ack: segment.ack.value(),
                flags: segment.flags,
                window: segment.window,
                urgent: 0,
                options: segment.options.to_vec(),
                payload: segment.payload.to_vec(),
            },
        ));
    }
}
