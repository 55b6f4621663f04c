//! ARP and neighbour discovery: to a pod, everything beyond its interface is reached through us.
//!
//! We answer for every address but the asker's own, so pods may share a subnet or hold host routes. What the other end of a port
//! says about itself is believed once (`world::Neighbour`).

use std::net::{IpAddr, Ipv6Addr};

use parser::{
    arp::{Arp, ArpOperation},
    ethernet::MacAddress,
    headers::{Headers, Transport},
    icmpv6::{Icmpv6, Icmpv6Message},
    ndp::Ndp,
    network::Network,
};

use super::judge::Verdict;
use crate::{
    drop_reason::DropReason,
    reply::Answer,
    world::{PortKind, PortView, World},
};

/// The verdict on a frame as far as hardware addresses and neighbours are concerned; none if that is in order and policy has
/// the word.
pub(super) fn judge(world: &World, view: &PortView, headers: &Headers) -> Option<Verdict> {
    let sender = headers.ethernet.source;
    if view.kind != PortKind::Uplink && view.neighbour.mac().is_some_and(|known| known != sender) {
        return Some(Verdict::Drop(DropReason::InvalidMac));
    }
    if let Network::Arp(arp) = headers.network {
        return Some(judge_arp(world, view, &arp, sender));
    }
    if let Transport::Icmpv6(Icmpv6 { message: Icmpv6Message::Ndp(message), .. }) =
        headers.transport
    {
        return Some(judge_ndp(world, view, headers, &message));
    }
    if headers.network.is_to_group() {
        return Some(Verdict::Drop(DropReason::Multicast));
    }
    if headers.ethernet.destination != view.mac {
        return Some(Verdict::Drop(DropReason::InvalidMac));
    }
    // A pod's first packet tells its hardware address, if the packet is its own.
    if view.kind == PortKind::Pod
        && view.neighbour.mac().is_none()
        && headers.network.source().is_some_and(|source| world.owns(view, source))
    {
        view.neighbour.learn(sender);
    }
    None
}

fn judge_arp(world: &World, view: &PortView, arp: &Arp, sender: MacAddress) -> Verdict {
    if arp.sender_mac != sender {
        return Verdict::Drop(DropReason::InvalidMac);
    }
    let claimed = IpAddr::V4(arp.sender_ip);
    let asked = IpAddr::V4(arp.target_ip);
    match view.kind {
        PortKind::Pod => {
            let probe = arp.sender_ip.is_unspecified();
            if !probe && !world.owns(view, claimed) {
                return Verdict::Drop(DropReason::InvalidSourceIp);
            }
            if !probe {
                view.neighbour.learn(sender);
            }
            if arp.operation == ArpOperation::Reply
                || world.owns(view, asked)
                || view.endpoint.is_none()
            {
                return Verdict::Note;
            }
            Verdict::Answer(Answer::Arp(arp.reply(view.mac)))
        }
        PortKind::Host if arp.operation == ArpOperation::Request && world.is_ours(asked) => {
            Verdict::Answer(Answer::Arp(arp.reply(view.mac)))
        }
        PortKind::Host | PortKind::Uplink => Verdict::Note,
    }
}

fn judge_ndp(world: &World, view: &PortView, headers: &Headers, message: &Ndp) -> Verdict {
    let Some(IpAddr::V6(source)) = headers.network.source() else {
        return Verdict::Drop(DropReason::InvalidPacket);
    };
    let own = |address: Ipv6Addr| world.owns(view, IpAddr::V6(address));
    let link_local = source.is_unicast_link_local();
    if view.kind == PortKind::Pod && !own(source) && !link_local && !source.is_unspecified() {
        return Verdict::Drop(DropReason::InvalidSourceIp);
    }
    if view.kind == PortKind::Pod && (own(source) || link_local) {
        view.neighbour.learn(headers.ethernet.source);
    }
    match message {
        Ndp::NeighbourSolicitation { target, .. } => {
            let answers = match view.kind {
                PortKind::Pod => view.endpoint.is_some() && !own(*target),
                PortKind::Host => world.is_ours(IpAddr::V6(*target)),
                PortKind::Uplink => false,
            };
            // An unspecified source checks whether anybody has the address (RFC 4862 §5.4.3); we have none of its kind.
            if answers && !source.is_unspecified() && *target != source {
                Verdict::Answer(Answer::NeighbourAdvertisement)
            } else {
                Verdict::Note
            }
        }
        Ndp::NeighbourAdvertisement { .. } => Verdict::Note,
        // Pods get their routes from whoever made their interface, and never speak for routers.
        Ndp::RouterSolicitation { .. } | Ndp::RouterAdvertisement | Ndp::Redirect => {
            Verdict::Drop(DropReason::ForbiddenIcmpv6)
        }
    }
}
