//! ARP for IPv4 over Ethernet. Read RFC 826 first.
//!
//! A packet arrives after the Ethernet header, and a question or an answer about an address leaves;
//! or the other way round.

use std::net::Ipv4Addr;

use crate::{
    EmitError, ParseError, bytes,
    ethernet::{EtherType, Ethernet, HEADER_LEN, MacAddress},
};

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const PACKET_LEN: usize = 28;

/// Hardware type 1, protocol IPv4, address lengths 6 and 4.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What an ARP packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ArpOperation {
    /// Who has the target address?
    Request = 1,
    /// The sender has the sender address.
    Reply = 2,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Question or answer.
    pub operation: ArpOperation,
    /// The MAC the sender claims for `sender_ip`; the anti-spoofing check compares it with the
    /// port's.
    pub sender_mac: MacAddress,
    /// The address the sender claims; unspecified in a probe (RFC 5227 §2.1.1).
    pub sender_ip: Ipv4Addr,
    /// The asker's MAC in a reply; meaningless in a request.
    pub target_mac: MacAddress,
    /// The address asked for.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Reads the packet that follows the Ethernet header.
    ///
    /// # Errors
    /// The packet is cut short, is not a request or reply for IPv4 over Ethernet, or its sender is
    /// a group of stations.
    pub fn parse(packet: &[u8]) -> Result<Self, ParseError> {
        let packet: [u8; PACKET_LEN] = bytes::array(packet, 0).ok_or(ParseError::ArpTruncated)?;
        let [h0, h1, p0, p1, hl, pl, o0, o1, addresses @ ..] = packet;
        if [h0, h1, p0, p1, hl, pl] != ETHERNET_IPV4 {
            return Err(ParseError::ArpUnsupported);
        }
        let operation = match u16::from_be_bytes([o0, o1]) {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            _ => return Err(ParseError::ArpUnsupported),
        };
        let [s0, s1, s2, s3, s4, s5, i0, i1, i2, i3, t0, t1, t2, t3, t4, t5, j0, j1, j2, j3] =
            addresses;
        let sender_mac = MacAddress::new([s0, s1, s2, s3, s4, s5]);
        if sender_mac.is_group() {
            return Err(ParseError::ArpGroupSender);
        }
        Ok(Self {
            operation,
            sender_mac,
            sender_ip: Ipv4Addr::new(i0, i1, i2, i3),
            target_mac: MacAddress::new([t0, t1, t2, t3, t4, t5]),
            target_ip: Ipv4Addr::new(j0, j1, j2, j3),
        })
    }

    /// The request "who has `target_ip`?" of `sender_mac` and `sender_ip`.
    #[must_use]
    pub const fn request(sender_mac: MacAddress, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Self {
        let target_mac = MacAddress::new([0; 6]);
        Self { operation: ArpOperation::Request, sender_mac, sender_ip, target_mac, target_ip }
    }

    /// The answer to this packet: `mac` has the address that was asked for.
    #[must_use]
    pub const fn reply(&self, mac: MacAddress) -> Self {
        Self {
            operation: ArpOperation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Writes the frame: a request to every station, a reply to the asker. Returns its length.
    ///
    /// # Errors
    /// [`EmitError::BufferTooSmall`] below 42 bytes.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, EmitError> {
        let destination = match self.operation {
            ArpOperation::Request => MacAddress::BROADCAST,
            ArpOperation::Reply => self.target_mac,
        };
        let ethernet = Ethernet { destination, source: self.sender_mac, ethertype: EtherType::ARP };
        let frame = out
            .first_chunk_mut::<{ HEADER_LEN + PACKET_LEN }>()
            .ok_or(EmitError::BufferTooSmall)?;
        let (header, packet) = frame.split_at_mut(HEADER_LEN);
        header.copy_from_slice(&ethernet.to_bytes());
        let fields: [(usize, &[u8]); 6] = [
            (0, &ETHERNET_IPV4),
            (6, &(self.operation as u16).to_be_bytes()),
            (8, &self.sender_mac.octets()),
            (14, &self.sender_ip.octets()),
            (18, &self.target_mac.octets()),
            (24, &self.target_ip.octets()),
        ];
        for (offset, field) in fields {
            bytes::put(packet, offset, field).ok_or(EmitError::BufferTooSmall)?;
        }
        Ok(HEADER_LEN + PACKET_LEN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
    const GATEWAY: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);

    fn emitted(arp: &Arp) -> [u8; 42] {
        let mut frame = [0; 42];
        assert_eq!(arp.emit(&mut frame), Ok(42));
        frame
    }

    #[test]
    fn a_request_goes_to_everyone_and_its_reply_to_the_asker() {
        let request = Arp::request(ASKER, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 254));
        let frame = emitted(&request);
        assert_eq!(Ethernet::parse(&frame).unwrap().destination, MacAddress::BROADCAST);
        let reply = Arp::parse(&frame[HEADER_LEN..]).unwrap().reply(GATEWAY);
        let frame = emitted(&reply);
        let ethernet = Ethernet::parse(&frame).unwrap();
        assert_eq!((ethernet.destination, ethernet.source), (ASKER, GATEWAY));
        let reply = Arp::parse(&frame[HEADER_LEN..]).unwrap();
        assert_eq!(reply.operation, ArpOperation::Reply);
        assert_eq!((reply.sender_mac, reply.sender_ip), (GATEWAY, request.target_ip));
        assert_eq!((reply.target_mac, reply.target_ip), (ASKER, request.sender_ip));
    }

    #[test]
    fn other_hardware_protocols_lengths_and_operations_are_refused() {
        let request = Arp::request(ASKER, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 254));
        let good = emitted(&request);
        for offset in [0, 1, 2, 3, 4, 5, 6] {
            let mut frame = good;
            frame[HEADER_LEN + offset] ^= 0x80;
            assert_eq!(
                Arp::parse(&frame[HEADER_LEN..]),
                Err(ParseError::ArpUnsupported),
                "byte {offset}"
            );
        }
        assert_eq!(Arp::parse(&good[HEADER_LEN..41]), Err(ParseError::ArpTruncated));
    }

    #[test]
    fn a_group_of_stations_cannot_ask_or_answer() {
        let request = Arp::request(MacAddress::BROADCAST, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        assert_eq!(Arp::parse(&emitted(&request)[HEADER_LEN..]), Err(ParseError::ArpGroupSender));
    }

    #[test]
    fn a_small_buffer_is_refused() {
        let request = Arp::request(ASKER, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        assert_eq!(request.emit(&mut [0; 41]), Err(EmitError::BufferTooSmall));
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_read_back(
            reply: bool,
            mut sender_mac: [u8; 6],
            sender_ip: [u8; 4],
            target_mac: [u8; 6],
            target_ip: [u8; 4],
        ) {
            sender_mac[0] &= 0xfe;
            let arp = Arp {
                operation: if reply { ArpOperation::Reply } else { ArpOperation::Request },
                sender_mac: MacAddress::new(sender_mac),
                sender_ip: sender_ip.into(),
                target_mac: MacAddress::new(target_mac),
                target_ip: target_ip.into(),
            };
            prop_assert_eq!(Arp::parse(&emitted(&arp)[HEADER_LEN..]), Ok(arp));
        }
    }
}
