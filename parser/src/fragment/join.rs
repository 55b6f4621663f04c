//! Makes one packet of all its fragments: the header of the first without what made it one, then
//! the data of all in their order. Read RFC 791 §3.2 and RFC 8200 §4.5 first.

use std::iter;

use crate::{
    EmitError, bytes,
    checksum::Sum,
    fragment::Fragment,
    headers::{Headers, Transport},
    network::Network,
};

/// Length of an IPv6 fragment header (RFC 8200 §4.5).
const FRAGMENT_HEADER_LEN: usize = 8;

/// Length of an IPv6 header; its payload length counts what follows.
const IPV6_HEADER_LEN: usize = 40;

/// A fragment's frame, as it lies in buffers: the bytes in the first, which has all headers, the
/// bytes in all of them, and the other buffers in order.
pub type InBuffers<'a, R> = (&'a [u8], usize, R);

/// Writes the packet of these frames, which are all its fragments in their order, into `out`, and
/// returns the frame's length.
///
/// # Errors
/// [`EmitError::BufferTooSmall`] when it does not fit, [`EmitError::TooLong`] when no packet can be
/// that long, [`EmitError::NotAnswerable`] when a frame is no fragment, ends before its packet does,
/// or the first is not the first.
pub fn join<'a, R: IntoIterator<Item = &'a [u8]>>(
    fragments: impl IntoIterator<Item = InBuffers<'a, R>>,
    out: &mut [u8],
) -> Result<usize, EmitError> {
    let mut length = 0;
    let mut first = None;
    for (start, frame_len, rest) in fragments {
        let headers = Headers::parse_first(start, frame_len)
            .map_err(|_no_packet| EmitError::NotAnswerable)?;
        let Transport::Fragment(fragment) = headers.transport else {
            return Err(EmitError::NotAnswerable);
        };
        if first.is_none() {
            if fragment.offset != 0 {
                return Err(EmitError::NotAnswerable);
            }
            let header = match headers.network {
                Network::Ipv6(_) => headers.transport_offset.saturating_sub(FRAGMENT_HEADER_LEN),
                _ => headers.transport_offset,
            };
            length = append(out, 0, start.get(..header).ok_or(EmitError::NotAnswerable)?)?;
            first = Some((headers, fragment));
        }
        let mut missing = headers.payload_len;
        let data = start.get(headers.payload_offset..).ok_or(EmitError::NotAnswerable)?;
        for part in iter::once(data).chain(rest) {
            // Behind the packet's end lies the link's padding.
            let part = part.get(..missing).unwrap_or(part);
            length = append(out, length, part)?;
            missing = missing.saturating_sub(part.len());
        }
        if missing > 0 {
            return Err(EmitError::NotAnswerable);
        }
    }
    let (headers, fragment) = first.ok_or(EmitError::NotAnswerable)?;
    mark_whole(out, &headers, fragment, length)?;
    Ok(length)
}

fn append(out: &mut [u8], at: usize, piece: &[u8]) -> Result<usize, EmitError> {
    bytes::put(out, at, piece).ok_or(EmitError::BufferTooSmall)?;
    Ok(at.saturating_add(piece.len()))
}

/// Writes the lengths of the whole, and takes out what says that it is a fragment.
fn mark_whole(
    out: &mut [u8],
    headers: &Headers,
    fragment: Fragment,
    length: usize,
) -> Result<(), EmitError> {
    let network = headers.network_offset;
    let packet = length.saturating_sub(network);
    let counted = match headers.network {
        Network::Ipv6(_) => packet.saturating_sub(IPV6_HEADER_LEN),
        _ => packet,
    };
    let counted = u16::try_from(counted).map_err(|_beyond| EmitError::TooLong)?.to_be_bytes();
    let mut put = |offset: usize, value: &[u8]| {
        bytes::put(out, network.saturating_add(offset), value).ok_or(EmitError::BufferTooSmall)
    };
    match headers.network {
        Network::Ipv4(ipv4) => {
            put(2, &counted)?;
            put(6, &[0, 0])?;
            put(10, &[0, 0])?;
            let header = bytes::range(out, network, usize::from(ipv4.header_len));
            let sum = Sum::new().add_bytes(header.unwrap_or_default()).checksum();
            bytes::put(out, network.saturating_add(10), &sum.to_be_bytes())
                .ok_or(EmitError::BufferTooSmall)
        }
        Network::Ipv6(_) => {
            put(4, &counted)?;
            put(fragment.announced_at, &[fragment.protocol.value()])
        }
        Network::Arp(_) => Err(EmitError::NotAnswerable),
    }
}
