//! The packets of one stream: UDP datagrams that differ only in their sequence number.
//!
//! Addresses, ports and a size arrive once; a whole frame with right checksums leaves in the caller's buffer for every number.
//! The number is the first eight bytes of the payload, in network order, the rest of it is zero.

use std::net::IpAddr;

use dataplane::umem::CAPACITY;
use parser::{
    EmitError,
    emit::{Datagram, Envelope},
};

/// Bytes of the sequence number.
pub const SEQUENCE_LEN: usize = 8;

const ETHERNET_LEN: usize = 14;
const UDP_LEN: usize = 8;

/// Why no such packets can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Source and destination are of different IP versions.
    #[error("source and destination must be of the same IP version")]
    MixedFamilies,
    /// The frame has no room for headers and number, or does not fit a chunk.
    #[error("a frame of {size} bytes cannot be sent: choose {least} to {most}")]
    Size {
        /// Bytes asked for.
        size: usize,
        /// The smallest size that holds the headers and the sequence number.
        least: usize,
        /// The largest that fits one UMEM chunk.
        most: usize,
    },
    /// Port 0 stands for no port.
    #[error("the destination port must not be 0")]
    PortZero,
}

/// A stream of datagrams.
#[derive(Clone, Debug)]
pub struct Stream {
    envelope: Envelope,
    src_port: u16,
    dst_port: u16,
    /// INVARIANT: at least `SEQUENCE_LEN` bytes, and with its headers at most `CAPACITY`.
    payload: Vec<u8>,
}

impl Stream {
    /// A stream of frames of `size` bytes, Ethernet header included, checksum of the wire not.
    ///
    /// # Errors
    /// The addresses are of different versions, the destination port is 0, or no frame can have this size.
    pub fn new(
        envelope: Envelope,
        src_port: u16,
        dst_port: u16,
        size: usize,
    ) -> Result<Self, PacketError> {
        let ip_len = match (envelope.source, envelope.destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => 20,
            (IpAddr::V6(_), IpAddr::V6(_)) => 40,
            _ => return Err(PacketError::MixedFamilies),
        };
        if dst_port == 0 {
            return Err(PacketError::PortZero);
        }
        let headers_len = ETHERNET_LEN + ip_len + UDP_LEN;
        let least = headers_len + SEQUENCE_LEN;
        if !(least..=CAPACITY).contains(&size) {
            return Err(PacketError::Size { size, least, most: CAPACITY });
        }
        Ok(Self { envelope, src_port, dst_port, payload: vec![0; size - headers_len] })
    }

    /// Writes packet number `sequence` into `out` and returns its length.
    ///
    /// # Errors
    /// `out` is shorter than the stream's frames.
    pub fn emit(&mut self, sequence: u64, out: &mut [u8]) -> Result<usize, EmitError> {
        let number = self.payload.first_chunk_mut().ok_or(EmitError::BufferTooSmall)?;
        *number = sequence.to_be_bytes();
        let (src_port, dst_port) = (self.src_port, self.dst_port);
        Datagram { envelope: self.envelope, src_port, dst_port, payload: &self.payload }.emit(out)
    }
}

#[cfg(test)]
mod tests {
    use parser::{ethernet::MacAddress, headers::Headers};

    use super::*;

    fn envelope(source: &str, destination: &str) -> Envelope {
        Envelope {
            source_mac: MacAddress::new([2, 0, 0, 0, 0, 1]),
            destination_mac: MacAddress::new([2, 0, 0, 0, 0, 2]),
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            hop_limit: 64,
            traffic_class: 0,
        }
    }

    #[test]
    fn frames_have_the_size_asked_for_and_their_number_in_front() {
        for (source, destination, least) in
            [("10.0.0.1", "10.0.0.2", 50), ("fd00::1", "fd00::2", 70)]
        {
            for size in [least, 128, 1514, CAPACITY] {
                let mut stream = Stream::new(envelope(source, destination), 7, 9, size).unwrap();
                let mut out = [0xee; CAPACITY];
                for sequence in [0, 1, u64::MAX] {
                    assert_eq!(stream.emit(sequence, &mut out), Ok(size));
                    let frame = &out[..size];
                    let headers = Headers::parse(frame).unwrap();
                    assert_eq!(headers.source(), Some(source.parse().unwrap()));
                    assert_eq!(headers.destination(), Some(destination.parse().unwrap()));
                    let payload = headers.payload(frame).unwrap();
                    assert_eq!(payload[..SEQUENCE_LEN], sequence.to_be_bytes());
                    assert!(payload[SEQUENCE_LEN..].iter().all(|&byte| byte == 0));
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_before_anything_is() {
        let refused = |source, destination, dst_port, size| {
            Stream::new(envelope(source, destination), 7, dst_port, size).unwrap_err()
        };
        assert_eq!(refused("10.0.0.1", "fd00::2", 9, 128), PacketError::MixedFamilies);
        assert_eq!(refused("10.0.0.1", "10.0.0.2", 0, 128), PacketError::PortZero);
        for (source, destination, size) in [
            ("10.0.0.1", "10.0.0.2", 49),
            ("fd00::1", "fd00::2", 69),
            ("fd00::1", "fd00::2", CAPACITY + 1),
        ] {
            assert!(
                matches!(refused(source, destination, 9, size), PacketError::Size { .. }),
                "{size}"
            );
        }
    }
}
