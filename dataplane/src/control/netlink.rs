//! The node's interfaces, addresses and routes, by rtnetlink.
//!
//! Only the control thread uses it: requests are answered one at a time, and a second socket tells of links that go away.

use std::{io, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
        RouteType,
    },
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use parser::ethernet::MacAddress;

/// `RTNLGRP_LINK` (include/uapi/linux/rtnetlink.h): links made, changed and deleted.
const RTNLGRP_LINK: u32 = 1;

/// Larger than any single answer of the kernel's (it uses at most 32 KiB for a dump).
const BUFFER: usize = 64 * 1024;

/// An interface as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Transmit queues it was made with.
    pub tx_queues: u32,
}

/// What a request to the kernel was for and what it said.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {source}")]
pub struct NetlinkError {
    action: String,
    source: io::Error,
}

impl NetlinkError {
    /// Whether the thing asked for does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(
            self.source.raw_os_error(),
            Some(libc::ENODEV | libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL)
        )
    }
}

/// A connection to the kernel's routing and link tables, in the namespace of the calling thread.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens the connection.
    pub fn open() -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket =
            open().map_err(|source| NetlinkError { action: "open rtnetlink".into(), source })?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The interface of that name.
    pub fn interface(&mut self, name: &str) -> Result<Interface, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let answers = self.request(
            &format!("find the interface {name}"),
            RouteNetlinkMessage::GetLink(message),
            NLM_F_ACK,
        )?;
        answers
            .into_iter()
            .find_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => Some(describe(&link)),
                _ => None,
            })
            .ok_or_else(|| NetlinkError {
                action: format!("find the interface {name}"),
                source: io::Error::from_raw_os_error(libc::ENODEV),
            })
    }

    /// Makes a veth pair, both ends up, with the MTU given. `peer` has one receive queue and `queues` transmit queues, `name` the
    /// other way round, so that each of several workers can have a socket of its own to send on `peer`.
    pub fn make_veth(
        &mut self,
        name: &str,
        peer: &str,
        mtu: u32,
        queues: u32,
    ) -> Result<(), NetlinkError> {
        let end = |name: &str, rx_queues, tx_queues| {
            let mut message = LinkMessage::default();
            message.attributes = vec![
                LinkAttribute::IfName(name.to_owned()),
                LinkAttribute::Mtu(mtu),
                LinkAttribute::NumRxQueues(rx_queues),
                LinkAttribute::NumTxQueues(tx_queues),
            ];
            message
        };
        let mut message = end(name, queues, 1);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end(peer, 1, queues)))),
        ]));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.request(
            &format!("make the veth pair {name} and {peer}"),
            RouteNetlinkMessage::NewLink(message),
            flags,
        )?;
        // An end can only go up once it has its other end.
        self.set_up(name)?;
        self.set_up(peer)
    }

    fn set_up(&mut self, name: &str) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.request(&format!("set {name} up"), RouteNetlinkMessage::SetLink(message), NLM_F_ACK)
            .map(drop)
    }

    /// Deletes an interface (and a veth's other end with it).
    pub fn delete(&mut self, index: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.request(
            &format!("delete interface {index}"),
            RouteNetlinkMessage::DelLink(message),
            NLM_F_ACK,
        )
        .map(drop)
    }

    /// Gives an interface an address; it is no error if it has it.
    pub fn add_address(&mut self, index: u32, address: IpNet) -> Result<(), NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = address.prefix_len();
        message.header.family = family(address.addr());
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes = vec![
            AddressAttribute::Local(address.addr()),
            AddressAttribute::Address(address.addr()),
        ];
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.request(
            &format!("add the address {address}"),
            RouteNetlinkMessage::NewAddress(message),
            flags,
        )
        .map(drop)
    }

    /// All addresses of the node.
    pub fn addresses(&mut self) -> Result<Vec<IpAddr>, NetlinkError> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.request("list the node's addresses", request, NLM_F_DUMP)?;
        let mut addresses = Vec::new();
        for answer in answers {
            let RouteNetlinkMessage::NewAddress(message) = answer else { continue };
            // IPv4 has the own address in Local; IPv6 has only Address.
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            });
            let address = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            });
            addresses.extend(local.or(address));
        }
        Ok(addresses)
    }

    /// Routes one address out of an interface; replaces an earlier route to it.
    pub fn add_route(&mut self, destination: IpAddr, index: u32) -> Result<(), NetlinkError> {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        let message = RouteNetlinkMessage::NewRoute(route(destination, index));
        self.request(&format!("add a route to {destination}"), message, flags).map(drop)
    }

    /// Removes such a route; it is no error if there is none.
    pub fn remove_route(&mut self, destination: IpAddr, index: u32) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::DelRoute(route(destination, index));
        match self.request(&format!("remove the route to {destination}"), message, NLM_F_ACK) {
            Err(error) if !error.is_missing() => Err(error),
            _ => Ok(()),
        }
    }

    fn request(
        &mut self,
        action: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.exchange(message, flags)
            .map_err(|source| NetlinkError { action: action.to_owned(), source })
    }

    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        loop {
            let mut buffer = Vec::with_capacity(BUFFER);
            self.socket.recv(&mut buffer, 0)?;
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(io::Error::other)?;
                let ours = answer.header.sequence_number == self.sequence;
                // Messages are aligned to 4 bytes (NLMSG_ALIGN).
                let length = (answer.header.length as usize).next_multiple_of(4);
                rest = rest.get(length.max(4)..).unwrap_or_default();
                match answer.payload {
                    _ if !ours => {}
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) => {
                        return error.code.map_or(Ok(answers), |_| Err(error.to_io()));
                    }
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    _ => {}
                }
            }
        }
    }
}

/// Tells of links that go away.
#[derive(Debug)]
pub struct LinkWatch {
    socket: Socket,
}

impl LinkWatch {
    /// Watches from now on.
    pub fn open() -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.add_membership(RTNLGRP_LINK)?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let socket = open()
            .map_err(|source| NetlinkError { action: "watch the node's links".into(), source })?;
        Ok(Self { socket })
    }

    /// The indices of links deleted since the last call.
    pub fn deleted(&mut self) -> Vec<u32> {
        let mut deleted = Vec::new();
        loop {
            let mut buffer = Vec::with_capacity(BUFFER);
            if self.socket.recv(&mut buffer, 0).is_err() {
                return deleted;
            }
            let mut rest = buffer.as_slice();
            while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(length.max(4)..).unwrap_or_default();
                if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) =
                    message.payload
                {
                    deleted.push(link.header.index);
                }
            }
        }
    }
}

fn describe(link: &LinkMessage) -> Interface {
    let mut interface = Interface {
        index: link.header.index,
        name: String::new(),
        mac: MacAddress::new([0; 6]),
        mtu: 1500,
        tx_queues: 1,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::NumTxQueues(queues) => interface.tx_queues = *queues,
            LinkAttribute::Address(mac) => {
                if let Ok(mac) = <[u8; 6]>::try_from(mac.as_slice()) {
                    interface.mac = MacAddress::new(mac);
                }
            }
            _ => {}
        }
    }
    interface
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn route(destination: IpAddr, index: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination);
    message.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope =
        if destination.is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
    message.header.kind = RouteType::Unicast;
    let address = match destination {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    };
    message.attributes = vec![RouteAttribute::Destination(address), RouteAttribute::Oif(index)];
    message
}
