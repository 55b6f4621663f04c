//! Edits of the packet that an ICMP error quotes, so that its receiver finds the connection it
//! knows.
//!
//! Each byte changed inside the quote changes the quote's own checksums, and all of these together
//! the error's.

use std::net::IpAddr;

use super::{IDENTIFIER_OFFSET, Side, carry_on, check, has_ports, replace};
use crate::{
    RewriteError, bytes,
    checksum::{Change, ChecksumField},
    headers::{Headers, Transport},
    icmp::IcmpMessage,
    icmpv6::Icmpv6Message,
    network::{L4Port, Protocol},
    quote::Quote,
    tcp::SeqNumber,
};

/// Sets the quoted packet's source address, and its source port or echo identifier if one is given.
///
/// # Errors
/// The frame is not the headers' own or no ICMP error, the address is of the other IP version, or
/// the quoted packet has no such port.
pub fn quoted_source(
    frame: &mut [u8],
    headers: &mut Headers,
    address: IpAddr,
    port: Option<L4Port>,
) -> Result<(), RewriteError> {
    quoted_side(frame, headers, Side::Source, address, port)
}

/// Sets the quoted packet's destination address, and its destination port or echo identifier if one
/// is given.
///
/// # Errors
/// As for [`quoted_source`].
pub fn quoted_destination(
    frame: &mut [u8],
    headers: &mut Headers,
    address: IpAddr,
    port: Option<L4Port>,
) -> Result<(), RewriteError> {
    quoted_side(frame, headers, Side::Destination, address, port)
}

/// Sets the quoted segment's sequence number: on a connection whose numbers are translated, an
/// error must name the number its receiver sent (RFC 5927 §4.1 lets it check).
///
/// # Errors
/// The frame is not the headers' own, or not an ICMP error about TCP.
pub fn quoted_seq(
    frame: &mut [u8],
    headers: &mut Headers,
    seq: SeqNumber,
) -> Result<(), RewriteError> {
    let (field, quote) = quote_of(frame, headers)?;
    if quote.tcp_seq.is_none() {
        return Err(RewriteError::NoSuchField);
    }
    let start = headers.transport_offset;
    let change = replace(
        frame,
        start,
        relative(quote.transport_offset, start, 4),
        &seq.value().to_be_bytes(),
    )?;
    let change = change.and(quoted_checksum(frame, headers, &quote, change)?);
    if let Some(quote) = quote_mut(headers) {
        quote.tcp_seq = Some(seq);
    }
    carry_on(frame, headers, field, change)
}

fn quoted_side(
    frame: &mut [u8],
    headers: &mut Headers,
    side: Side,
    address: IpAddr,
    port: Option<L4Port>,
) -> Result<(), RewriteError> {
    let (field, quote) = quote_of(frame, headers)?;
    if quote.tuple.source.is_ipv4() != address.is_ipv4() {
        return Err(RewriteError::MixedFamilies);
    }
    let port = match port {
        Some(port) => {
            Some((port, quoted_port_offset(&quote, side).ok_or(RewriteError::NoSuchField)?))
        }
        None => None,
    };
    let start = headers.transport_offset;
    let address_offset = relative(quote.network_offset, start, side.address_offset(address));
    let mut change = match address {
        IpAddr::V4(address) => replace(frame, start, address_offset, &address.octets())?,
        IpAddr::V6(address) => replace(frame, start, address_offset, &address.octets())?,
    };
    let header_checksum = match address {
        IpAddr::V4(_) => {
            update(frame, start, quote.network_offset, 10, |checksum| change.apply(checksum))?
        }
        IpAddr::V6(_) => Change::NONE,
    };
    let mut covered = if quote.tuple.protocol == Protocol::ICMP { Change::NONE } else { change };
    change = change.and(header_checksum);
    if let Some((port, offset)) = port {
        let offset = relative(quote.transport_offset, start, offset);
        let port_change = replace(frame, start, offset, &port.to_be_bytes())?;
        covered = covered.and(port_change);
        change = change.and(port_change);
    }
    change = change.and(quoted_checksum(frame, headers, &quote, covered)?);
    if let Some(quote) = quote_mut(headers) {
        let tuple = &mut quote.tuple;
        match side {
            Side::Source => {
                (tuple.source, tuple.src_port) =
                    (address, port.map_or(tuple.src_port, |(port, _)| port))
            }
            Side::Destination => {
                (tuple.destination, tuple.dst_port) =
                    (address, port.map_or(tuple.dst_port, |(port, _)| port));
            }
        }
    }
    carry_on(frame, headers, field, change)
}

/// The error's checksum and its quote, when the frame holds all of the quote that may be changed.
fn quote_of(frame: &[u8], headers: &Headers) -> Result<(ChecksumField, Quote), RewriteError> {
    check(frame, headers)?;
    let quote = headers.icmp_error().ok_or(RewriteError::NoSuchField)?.quote;
    let field = ChecksumField::of(headers).ok_or(RewriteError::NoSuchField)?;
    if frame.len() < quote.transport_offset.saturating_add(8) {
        return Err(RewriteError::FrameTooShort);
    }
    Ok((field, quote))
}

fn quote_mut(headers: &mut Headers) -> Option<&mut Quote> {
    match &mut headers.transport {
        Transport::Icmp(icmp) => match &mut icmp.message {
            IcmpMessage::Error(error) => Some(&mut error.quote),
            _ => None,
        },
        Transport::Icmpv6(icmpv6) => match &mut icmpv6.message {
            Icmpv6Message::Error(error) => Some(&mut error.quote),
            _ => None,
        },
        _ => None,
    }
}

/// Where the quoted transport header has this side's port, if it has one. An echo's identifier is
/// the port of the side that sent the request.
fn quoted_port_offset(quote: &Quote, side: Side) -> Option<usize> {
    let port = match side {
        Side::Source => quote.tuple.src_port,
        Side::Destination => quote.tuple.dst_port,
    };
    match quote.tuple.protocol {
        protocol if has_ports(protocol) => Some(side.port_offset()),
        Protocol::ICMP | Protocol::ICMPV6 if port != 0 => Some(IDENTIFIER_OFFSET),
        _ => None,
    }
}

/// Carries a change over into the quoted transport checksum, as far as the quote reaches, and
/// returns what that changes.
fn quoted_checksum(
    frame: &mut [u8],
    headers: &Headers,
    quote: &Quote,
    covered: Change,
) -> Result<Change, RewriteError> {
    let offset = match quote.tuple.protocol {
        Protocol::TCP => 16,
        Protocol::UDP => 6,
        Protocol::ICMP | Protocol::ICMPV6 => 2,
        _ => return Ok(Change::NONE),
    };
    let end = quote.transport_offset.saturating_add(offset).saturating_add(2);
    if end > headers.payload_end().min(frame.len()) {
        return Ok(Change::NONE);
    }
    update(frame, headers.transport_offset, quote.transport_offset, offset, |checksum| {
        if quote.tuple.protocol == Protocol::UDP {
            covered.apply_udp(checksum)
        } else {
            covered.apply(checksum)
        }
    })
}

/// Replaces a checksum inside the quote and says what that changes in the sum that begins at
/// `start`.
fn update(
    frame: &mut [u8],
    start: usize,
    header: usize,
    offset: usize,
    update: impl FnOnce(u16) -> u16,
) -> Result<Change, RewriteError> {
    let old =
        bytes::be16(frame, header.saturating_add(offset)).ok_or(RewriteError::FrameTooShort)?;
    replace(frame, start, relative(header, start, offset), &update(old).to_be_bytes())
}

/// `header + offset`, counted from `start`, which lies before.
const fn relative(header: usize, start: usize, offset: usize) -> usize {
    header.saturating_sub(start).saturating_add(offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::tests::{assert_consistent, suited},
        *,
    };
    use crate::{
        checksum::Sum,
        tcp::TcpFlags,
        testing::{
            built, envelope, icmp_error_frame, icmp_frames, naive_transport_sum, parsed, tcp_frame,
            udp_frame,
        },
    };

    #[test]
    fn a_whole_quoted_packet_stays_intact() {
        for is_ipv6 in [false, true] {
            let echo =
                built(|out| crate::emit::echo_request(envelope(is_ipv6), 7, 1, b"data", out));
            for quoted in
                [tcp_frame(is_ipv6, TcpFlags::ACK, b"abc"), udp_frame(is_ipv6, b"abc"), echo]
            {
                let (icmp_type, protocol) =
                    (if is_ipv6 { 1 } else { 3 }, quoted[if is_ipv6 { 20 } else { 23 }]);
                let mut frame = icmp_error_frame(is_ipv6, icmp_type, 1, [0; 4], &quoted[14..]);
                let mut headers = parsed(&frame);
                let address = suited(&headers, [10, 7, 7, 7], [7; 15]);
                quoted_source(&mut frame, &mut headers, address, Some(777)).unwrap();
                let has_ports = protocol == 6 || protocol == 17;
                quoted_destination(&mut frame, &mut headers, address, has_ports.then_some(888))
                    .unwrap();
                if protocol == 6 {
                    quoted_seq(&mut frame, &mut headers, SeqNumber::new(5)).unwrap();
                }
                assert_consistent(&frame, &headers);
                let quote = headers.icmp_error().unwrap().quote;
                assert_eq!(quote.tuple.src_port, 777);
                let inner = [&quoted[..14], &frame[quote.network_offset..]].concat();
                let inner_headers = parsed(&inner);
                assert_eq!(inner_headers.flow_tuple(), Some(quote.tuple));
                assert_eq!(naive_transport_sum(&inner, &inner_headers, protocol), 0xffff);
            }
        }
    }

    #[test]
    fn a_short_quote_has_no_checksum_and_padding_is_not_taken_for_one() {
        let quoted = tcp_frame(false, TcpFlags::ACK, b"");
        let mut frame = icmp_error_frame(false, 3, 1, [0; 4], &quoted[14..42]);
        frame.extend([0xaa; 20]);
        let mut headers = parsed(&frame);
        let address = suited(&headers, [10, 7, 7, 7], [7; 15]);
        quoted_source(&mut frame, &mut headers, address, Some(777)).unwrap();
        assert_consistent(&frame, &headers);
        assert_eq!(frame[headers.payload_end()..], [0xaa; 20]);
    }

    #[test]
    fn only_errors_have_a_quote() {
        let mut frame = tcp_frame(false, TcpFlags::ACK, b"");
        let mut headers = parsed(&frame);
        let address = suited(&headers, [10, 0, 0, 9], [0; 15]);
        assert_eq!(
            quoted_source(&mut frame, &mut headers, address, None),
            Err(RewriteError::NoSuchField)
        );
        let quoted = udp_frame(false, b"");
        let mut frame = icmp_error_frame(false, 3, 1, [0; 4], &quoted[14..]);
        let mut headers = parsed(&frame);
        assert_eq!(
            quoted_seq(&mut frame, &mut headers, SeqNumber::new(1)),
            Err(RewriteError::NoSuchField)
        );
    }

    proptest! {
        #[test]
        fn quotes_of_any_length_are_translated(
            mut frame in icmp_frames(), v4: [u8; 4], v6: [u8; 15], port in 1..=u16::MAX, seq: u32,
        ) {
            let mut headers = parsed(&frame);
            if let Some(quote) = headers.icmp_error().map(|error| error.quote) {
                let address = suited(&headers, v4, v6);
                quoted_source(&mut frame, &mut headers, address, Some(port)).unwrap();
                quoted_destination(&mut frame, &mut headers, address, Some(port)).unwrap();
                let is_tcp = quote.tcp_seq.is_some();
                prop_assert_eq!(quoted_seq(&mut frame, &mut headers, SeqNumber::new(seq)).is_ok(), is_tcp);
                assert_consistent(&frame, &headers);
                if headers.source().unwrap().is_ipv4() {
                    let inner = &frame[quote.network_offset..quote.transport_offset];
                    prop_assert!(Sum::new().add_bytes(inner).is_intact());
                }
            }
        }
    }
}
