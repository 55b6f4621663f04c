//! "Who has this address?": a frame arrives, and the answer leaves if it asks for one of ours.
//!
//! A receiving link takes every frame of its interface, so that the kernel no longer answers ARP and neighbour discovery.

use std::net::IpAddr;

use parser::{
    answer::neighbour_advertisement,
    arp::{Arp, ArpOperation},
    ethernet::{EtherType, HEADER_LEN, MacAddress},
    headers::{Headers, Transport},
    icmpv6::Icmpv6Message,
    ndp::Ndp,
};

/// Writes the answer of `mac` to `frame` into `out` and returns its length; none if `frame` asks for nothing of ours.
pub fn answer(
    frame: &[u8],
    mac: MacAddress,
    is_ours: impl Fn(IpAddr) -> bool,
    out: &mut [u8],
) -> Option<usize> {
    let (header, packet) = frame.split_at_checked(HEADER_LEN)?;
    let [.., t0, t1] = *header else { return None };
    if EtherType::new(u16::from_be_bytes([t0, t1])) == EtherType::ARP {
        let arp = Arp::parse(packet).ok()?;
        let asks = arp.operation == ArpOperation::Request && is_ours(arp.target_ip.into());
        return asks.then(|| arp.reply(mac).emit(out).ok()).flatten();
    }
    let headers = Headers::parse(frame).ok()?;
    let Transport::Icmpv6(icmpv6) = headers.transport else { return None };
    let Icmpv6Message::Ndp(Ndp::NeighbourSolicitation { target, .. }) = icmpv6.message else {
        return None;
    };
    if !is_ours(target.into()) {
        return None;
    }
    neighbour_advertisement(&headers, mac, false, out).ok()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use parser::emit::neighbour_solicitation;

    use super::*;

    const ASKER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
    const OWN: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);

    #[test]
    fn arp_for_our_address_is_answered_and_for_others_not() {
        let (them, us) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let (mut question, mut out) = ([0; 64], [0; 128]);
        let len = Arp::request(ASKER, them, us).emit(&mut question).unwrap();
        let is_ours = |address: IpAddr| address == IpAddr::from(us);
        let len = answer(&question[..len], OWN, is_ours, &mut out).unwrap();
        let reply = Arp::parse(&out[HEADER_LEN..len]).unwrap();
        assert_eq!((reply.operation, reply.sender_mac), (ArpOperation::Reply, OWN));
        assert_eq!((reply.sender_ip, reply.target_ip), (us, them));
        assert_eq!(answer(&out[..len], OWN, |_| true, &mut [0; 128]), None, "a reply asks nothing");
        assert_eq!(answer(&question, OWN, |_| false, &mut out), None);
    }

    #[test]
    fn neighbour_solicitations_are_answered() {
        let them: Ipv6Addr = "fd00::1".parse().unwrap();
        let us: Ipv6Addr = "fd00::2".parse().unwrap();
        let (mut question, mut out) = ([0; 128], [0; 128]);
        let len = neighbour_solicitation(ASKER, them, us, &mut question).unwrap();
        let len = answer(&question[..len], OWN, |address| address == us, &mut out).unwrap();
        let headers = Headers::parse(&out[..len]).unwrap();
        assert_eq!((headers.source(), headers.destination()), (Some(us.into()), Some(them.into())));
        assert_eq!(headers.ethernet.source, OWN);
    }

    #[test]
    fn garbage_is_not_answered() {
        for len in 0..64 {
            assert_eq!(answer(&vec![0x08; len], OWN, |_| true, &mut [0; 128]), None);
        }
    }
}
