//! The frames of a stream: a packet's number and tag arrive, a whole frame with right checksums leaves in the caller's buffer.
//!
//! Nothing is remembered between two packets: number `n` of a stream is the same frame whenever it is built, but for its tag.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use parser::{
    EmitError,
    emit::{Datagram, Envelope, Segment},
    tcp::{SeqNumber, TcpFlags},
};

use crate::{
    mac,
    mix::{Payload, Protocol, Stream},
    tag::{self, Tag},
    values::{mix, noise},
};

/// IEEE 802.1Q.
const VLAN_ETHERTYPE: [u8; 2] = [0x81, 0x00];
/// Both hardware addresses: what stands in front of a VLAN tag.
const ADDRESSES_LEN: usize = 12;
const VLAN_LEN: usize = 4;

/// What each field draws its random numbers by.
#[derive(Clone, Copy)]
#[repr(u16)]
enum Field {
    SourceMac,
    DestinationMac,
    Vlan,
    Source,
    Destination,
    SrcPort,
    DstPort,
    Size,
    Payload,
    Sequence,
}

/// Builds the frames of one stream.
#[derive(Clone, Debug)]
pub struct Builder {
    stream: Stream,
    headers_len: usize,
    seed: u64,
    position: u16,
    /// Payload of the largest frame, its tag in front. INVARIANT: at least [`tag::LEN`] bytes.
    payload: Vec<u8>,
}

impl Builder {
    /// Builds frames of `stream`, which is number `position` of its mix.
    pub fn new(stream: Stream, seed: u64, position: u16) -> Self {
        let headers_len = stream.headers_len();
        let largest = usize::try_from(stream.size.bounds().1).unwrap_or(0);
        let mut payload = vec![0; largest.saturating_sub(headers_len).max(tag::LEN)];
        if let Payload::Repeated(text) = &stream.payload {
            let behind = payload.iter_mut().skip(tag::LEN);
            behind.zip(text.iter().cycle()).for_each(|(byte, &letter)| *byte = letter);
        }
        Self { stream, headers_len, seed, position, payload }
    }

    /// The stream.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Writes packet `number` with its tag and returns its length.
    ///
    /// # Errors
    /// `out` is shorter than the stream's frames.
    pub fn emit(&mut self, number: u64, tag: Tag, out: &mut [u8]) -> Result<usize, EmitError> {
        let (seed, position) = (self.seed, self.position);
        let draw = |field: Field| noise(seed, position, field as u16, number);
        let stream = &self.stream;
        let size = stream.size.value(number, || draw(Field::Size));
        let size = usize::try_from(size).map_err(|_beyond| EmitError::TooLong)?;
        let payload = self
            .payload
            .get_mut(..size.saturating_sub(self.headers_len))
            .ok_or(EmitError::TooLong)?;
        let (room, behind) =
            payload.split_first_chunk_mut::<{ tag::LEN }>().ok_or(EmitError::BufferTooSmall)?;
        *room = tag.to_bytes();
        if stream.payload == Payload::Random {
            fill(behind, draw(Field::Payload));
        }
        let address = |value: u128| {
            if stream.is_ipv6 {
                IpAddr::V6(Ipv6Addr::from_bits(value))
            } else {
                IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(value).unwrap_or(0)))
            }
        };
        let port = |value: u128| u16::try_from(value).unwrap_or(0);
        let envelope = Envelope {
            source_mac: mac::from_number(
                stream.source_mac.value(number, || draw(Field::SourceMac)),
            ),
            destination_mac: mac::from_number(
                stream.destination_mac.value(number, || draw(Field::DestinationMac)),
            ),
            source: address(stream.source.value(number, || draw(Field::Source))),
            destination: address(stream.destination.value(number, || draw(Field::Destination))),
            hop_limit: 64,
            traffic_class: 0,
        };
        let src_port = port(stream.src_port.value(number, || draw(Field::SrcPort)));
        let dst_port = port(stream.dst_port.value(number, || draw(Field::DstPort)));
        let shift = if stream.vlan.is_some() { VLAN_LEN } else { 0 };
        let frame = out.get_mut(shift..).ok_or(EmitError::BufferTooSmall)?;
        let len = match stream.protocol {
            Protocol::Udp => Datagram { envelope, src_port, dst_port, payload }.emit(frame)?,
            Protocol::TcpSyn => {
                let [.., n0, n1, n2, n3] = draw(Field::Sequence).to_be_bytes();
                Segment {
                    envelope,
                    src_port,
                    dst_port,
                    seq: SeqNumber::new(u32::from_be_bytes([n0, n1, n2, n3])),
                    ack: SeqNumber::new(0),
                    flags: TcpFlags::SYN,
                    window: u16::MAX,
                    options: &[],
                    payload,
                }
                .emit(frame)?
            }
        };
        if let Some(vlan) = &stream.vlan {
            let number = port(vlan.value(number, || draw(Field::Vlan)));
            out.copy_within(VLAN_LEN..VLAN_LEN + ADDRESSES_LEN, 0);
            let ([e0, e1], [n0, n1]) = (VLAN_ETHERTYPE, number.to_be_bytes());
            out.get_mut(ADDRESSES_LEN..ADDRESSES_LEN + VLAN_LEN)
                .ok_or(EmitError::BufferTooSmall)?
                .copy_from_slice(&[e0, e1, n0, n1]);
        }
        Ok(shift + len)
    }
}

/// Fills `bytes` with random ones drawn from `noise`.
fn fill(bytes: &mut [u8], noise: u128) {
    let [n0, n1, n2, n3, n4, n5, n6, n7, ..] = noise.to_be_bytes();
    let mut state = u64::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
    for word in bytes.chunks_mut(8) {
        state = mix(state);
        word.iter_mut().zip(state.to_be_bytes()).for_each(|(byte, drawn)| *byte = drawn);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dataplane::umem::CAPACITY;
    use parser::{checksum, headers::Headers};

    use super::*;
    use crate::mix::Mix;

    fn builder(fields: &str) -> Builder {
        let text = format!("[[stream]]\ndestination-mac = \"02:00:00:00:00:02\"\n{fields}");
        let mix = Mix::parse(&text, Path::new("mix"), "02:00:00:00:00:01").unwrap();
        Builder::new(mix.streams[0].clone(), 7, 3)
    }

    fn emit(builder: &mut Builder, number: u64) -> Vec<u8> {
        let mut out = [0xee; CAPACITY];
        let tag = Tag { run: 1, stream: 3, sequence: number, sent_at: 5 };
        let len = builder.emit(number, tag, &mut out).unwrap();
        out[..len].to_vec()
    }

    const FOUR: &str = "source = \"10.0.0.1-10.0.0.9\"\ndestination = \"10.1.0.1\"\n";
    const SIX: &str = "source = \"fd00::1-fd00::9\"\ndestination = \"fd01::1\"\n";

    #[test]
    fn frames_have_their_size_and_right_checksums_and_carry_the_tag() {
        for (addresses, least) in [(FOUR, 60), (SIX, 80)] {
            for size in [least, 128, 1514, CAPACITY] {
                let mut builder =
                    builder(&format!("{addresses}size = {size}\npayload = \"text:abc\""));
                for number in [0, 1, 1 << 40] {
                    let frame = emit(&mut builder, number);
                    assert_eq!(frame.len(), size);
                    let headers = Headers::parse(&frame).unwrap();
                    assert!(checksum::verify_transport(&frame, &headers));
                    let payload = headers.payload(&frame).unwrap();
                    assert_eq!(Tag::read(payload).unwrap().sequence, number);
                    assert!(
                        payload[tag::LEN..].iter().zip(b"abc".iter().cycle()).all(|(a, b)| a == b)
                    );
                }
            }
        }
    }

    #[test]
    fn fields_change_as_their_values_say() {
        let fields = "src-port = \"1000-1002\"\ndst-port = [80, 443]\nsize = \"imix\"";
        let mut builder = builder(&format!("{FOUR}{fields}"));
        for number in 0..20_u64 {
            let frame = emit(&mut builder, number);
            let headers = Headers::parse(&frame).unwrap();
            let tuple = headers.flow_tuple().unwrap();
            assert_eq!(tuple.src_port, 1000 + u16::try_from(number % 3).unwrap());
            assert_eq!(tuple.dst_port, [80, 443][usize::try_from(number % 2).unwrap()]);
            let source = Ipv4Addr::new(10, 0, 0, 1 + u8::try_from(number % 9).unwrap());
            assert_eq!(headers.source(), Some(source.into()));
            assert_eq!(frame.len() as u128, builder.stream().size.value(number, || 0));
        }
    }

    #[test]
    fn a_vlan_tag_stands_behind_the_addresses() {
        let mut builder = builder(&format!("{FOUR}vlan = 300\nsize = 64"));
        let tagged = emit(&mut builder, 0);
        assert_eq!(tagged.len(), 64);
        assert_eq!(tagged[..6], [2, 0, 0, 0, 0, 2]);
        assert_eq!(tagged[12..16], [0x81, 0x00, 0x01, 0x2c]);
        let mut untagged = tagged[..12].to_vec();
        untagged.extend_from_slice(&tagged[16..]);
        let headers = Headers::parse(&untagged).unwrap();
        assert!(checksum::verify_transport(&untagged, &headers));
    }

    #[test]
    fn a_syn_is_one_that_a_stack_would_send() {
        let mut builder = builder(&format!("{SIX}protocol = \"tcp-syn\"\nsize = 92"));
        let frames = [emit(&mut builder, 0), emit(&mut builder, 1)];
        let seqs = frames.map(|frame| {
            let headers = Headers::parse(&frame).unwrap();
            assert!(checksum::verify_transport(&frame, &headers));
            assert_eq!(headers.tcp().unwrap().flags, TcpFlags::SYN);
            headers.tcp().unwrap().seq
        });
        assert_ne!(seqs[0], seqs[1]);
    }

    #[test]
    fn the_same_seed_gives_the_same_frames_and_another_one_others() {
        let fields = format!("{FOUR}payload = \"random\"\nsize = \"random:100-1000\"");
        let frames = |seed| {
            let mut builder = builder(&fields);
            builder.seed = seed;
            (0..50).map(|number| emit(&mut builder, number)).collect::<Vec<_>>()
        };
        assert_eq!(frames(1), frames(1));
        assert_ne!(frames(1), frames(2));
    }
}
