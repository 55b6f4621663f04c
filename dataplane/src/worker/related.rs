//! ICMP errors: each belongs to the connection of the packet that it quotes (Cilium's RELATED), or to none, and is told to that packet's
//! sender in the addresses and numbers that the sender knows. Read RFC 5927 first.

use parser::{
    flow_key::FlowTuple,
    headers::Headers,
    icmp::{ErrorCause, IcmpError},
    rewrite,
    tcp::SeqNumber,
};

use super::{
    PortId, Worker,
    carry_out::cut_padding,
    judge::{Verdict, forward},
    stream::side,
};
use crate::{
    connection::{Connection, Direction, Judgement},
    drop_reason::DropReason,
    umem::{Frame, Port},
    world::World,
};

/// A packet that an ICMP error quotes, as its sender sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Its addresses and ports; the error goes to its source.
    pub tuple: FlowTuple,
    /// Its sequence number, where a stream translates numbers.
    pub seq: Option<SeqNumber>,
}

impl<P: Port> Worker<P> {
    /// The verdict on an ICMP error.
    ///
    /// Whoever is not on the connection's far side may not speak of it (RFC 5927): a third pod that guesses the ports could slow or
    /// cut it.
    pub(super) fn judge_icmp_error(
        &mut self,
        world: &World,
        port: PortId,
        headers: &Headers,
        error: &IcmpError,
    ) -> Verdict {
        let quoted = error.quote.tuple;
        let Some(found) = self.connections.find(&quoted) else {
            // The quoted packet's sender receives the error; its connection is with the worker of one of the two ends.
            let other = world
                .route(quoted.source)
                .and_then(|route| world.port(route.port))
                .map(|view| view.home);
            return match other.filter(|worker| *worker != self.id) {
                Some(worker) => Verdict::HandOn { worker, settled: false },
                None => Verdict::Drop(DropReason::UnrelatedIcmpError),
            };
        };
        let Some(connection) = self.connections.connection(found.id) else {
            return Verdict::Drop(DropReason::UnrelatedIcmpError);
        };
        let Judgement { source_port, destination_port, .. } = *connection.judgement;
        let (to, far) = match found.direction {
            Direction::Original => (source_port, destination_port),
            Direction::Reply => (destination_port, source_port),
        };
        if port != far || headers.destination() != Some(quoted.source) {
            return Verdict::Drop(DropReason::UnrelatedIcmpError);
        }
        let mut seq = None;
        if let (Some(stream), Some(quoted_seq)) =
            (connection.follower.stream_mut(), error.quote.tcp_seq)
        {
            // A number that no segment on its way can have is a guess (RFC 5927 §4.1).
            let from = side(found.direction);
            let Some(sent) = stream.quoted(from, quoted_seq) else {
                return Verdict::Drop(DropReason::UnrelatedIcmpError);
            };
            if let ErrorCause::TooBig { mtu } = error.cause {
                stream.too_big(mtu, quoted.source.is_ipv6());
            }
            seq = Some(sent);
        }
        let quoted = Quoted { tuple: connection.sent_as(found.direction), seq };
        match forward(world, to, headers, &error.quote.tuple, error.quote.tuple) {
            Verdict::Forward { port, .. } => Verdict::Relate { port, quoted },
            refused => refused,
        }
    }
}

impl Connection {
    /// The tuple that a packet of this direction has when its sender sends it.
    fn sent_as(&self, direction: Direction) -> FlowTuple {
        match direction {
            Direction::Original => *self.service.as_deref().unwrap_or(&self.flow),
            Direction::Reply => self.flow.reversed(),
        }
    }
}

/// Makes an ICMP error ready for its next link: what it quotes, and whom it goes to, as the quoted packet's sender knows them.
pub(super) fn relate(
    frame: &mut Frame,
    headers: &Headers,
    quoted: &Quoted,
) -> Result<(), DropReason> {
    let Some(error) = headers.icmp_error() else { return Err(DropReason::UnrelatedIcmpError) };
    let (is, wanted) = (error.quote.tuple, &quoted.tuple);
    let mut headers = *headers;
    cut_padding(frame, &headers);
    let bytes = frame.bytes_mut();
    let port = |is: u16, wanted: u16| (is != wanted).then_some(wanted);
    if (is.source, is.src_port) != (wanted.source, wanted.src_port) {
        let port = port(is.src_port, wanted.src_port);
        rewrite::quoted_source(bytes, &mut headers, wanted.source, port)?;
        rewrite::destination(bytes, &mut headers, wanted.source, None)?;
    }
    if (is.destination, is.dst_port) != (wanted.destination, wanted.dst_port) {
        let port = port(is.dst_port, wanted.dst_port);
        rewrite::quoted_destination(bytes, &mut headers, wanted.destination, port)?;
        // A router on the way speaks for itself; the far end must be whom the sender spoke to.
        if headers.source() == Some(is.destination) {
            rewrite::source(bytes, &mut headers, wanted.destination, None)?;
        }
    }
    if let Some(seq) = quoted.seq {
        rewrite::quoted_seq(bytes, &mut headers, seq)?;
    }
    rewrite::decrement_hop_limit(bytes, &mut headers)?;
    Ok(())
}
