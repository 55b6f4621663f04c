//! The receiver: frames arrive through a link, counts stay in its [`Meter`]; neighbours who ask for our address are answered.

use std::net::IpAddr;

use dataplane::umem::{Frame, Port};
use parser::{checksum, headers::Headers};

use crate::{
    clock,
    link::{Baseline, Link, LinkError, OwnLosses},
    measure::Meter,
    mix::Mix,
    neighbour,
    pace::BATCH,
    tag::Tag,
    values::Values,
};

/// Where the EtherType or a VLAN tag stands.
const ADDRESSES_LEN: usize = 12;
const VLAN_LEN: usize = 4;

/// Batches taken in one turn, at most: more than a sender on the same thread sends in its turn, so that a backlog shrinks.
const BATCHES: usize = 4;

/// Receives on a link.
#[derive(Debug)]
pub struct Receiver<'a> {
    link: &'a mut Link,
    /// What was counted.
    pub meter: Meter,
    /// When the first and the last packet of the run came.
    pub arrivals: Option<(u64, u64)>,
    /// When the first and the last packet of any kind came.
    pub any_arrivals: Option<(u64, u64)>,
    batch: Vec<Frame>,
    addresses: Addresses,
    oversized: u64,
    baseline: Baseline,
}

/// Which addresses a receiver stands for, besides those of the kernel in its namespace.
#[derive(Clone, Debug, Default)]
pub struct Addresses(Vec<(bool, Values)>);

impl Addresses {
    /// The receivers that a mix's packets are for.
    pub fn of(mix: &Mix) -> Self {
        Self(
            mix.streams.iter().map(|stream| (stream.is_ipv6, stream.destination.clone())).collect(),
        )
    }

    /// The addresses that these values are the numbers of.
    pub fn new(is_ipv6: bool, values: Values) -> Self {
        Self(vec![(is_ipv6, values)])
    }

    /// These single addresses.
    pub fn listed(addresses: &[IpAddr]) -> Self {
        let number = |address: &IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        Self(addresses.iter().map(|ip| (ip.is_ipv6(), Values::fixed(number(ip)))).collect())
    }

    /// Whether `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let number = match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        self.0
            .iter()
            .any(|(is_ipv6, values)| *is_ipv6 == address.is_ipv6() && values.contains(number))
    }
}

impl<'a> Receiver<'a> {
    /// A receiver that counts into `meter` from now on.
    ///
    /// # Errors
    /// The interface's counters cannot be read.
    pub fn new(link: &'a mut Link, meter: Meter, addresses: Addresses) -> Result<Self, LinkError> {
        let baseline = Baseline::of(link)?;
        let batch = Vec::with_capacity(BATCHES * BATCH);
        Ok(Self {
            link,
            meter,
            arrivals: None,
            any_arrivals: None,
            batch,
            addresses,
            oversized: 0,
            baseline,
        })
    }

    /// The link.
    pub fn link(&self) -> &Link {
        self.link
    }

    /// Takes what has arrived, at most four batches, and returns how much that was.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn turn(&mut self) -> Result<usize, LinkError> {
        let Link { place, port, pool, mac, addresses: kernels, .. } = &mut *self.link;
        for _ in 0..BATCHES {
            let before = self.batch.len();
            let refused = port.receive(&mut self.batch, BATCH, pool);
            self.oversized += u64::from(refused.too_long) + u64::from(refused.broken);
            if self.batch.len() - before < BATCH {
                break;
            }
        }
        let count = self.batch.len();
        if count > 0 {
            let now = clock::now();
            let received_before = self.meter.received;
            for mut frame in self.batch.drain(..) {
                // What we send and measure lies in one chunk.
                if frame.is_chain() {
                    self.oversized += 1;
                    pool.give(frame);
                    continue;
                }
                let len = frame.len();
                let (tag, is_intact) = read(frame.bytes_mut());
                if tag.is_none() {
                    let is_ours =
                        |address| kernels.contains(&address) || self.addresses.contains(address);
                    if let Some(mut reply) = pool.take() {
                        match neighbour::answer(frame.bytes(), *mac, is_ours, reply.room_mut()) {
                            Some(len) => {
                                reply.set_len(len);
                                if let Err(unsent) = port.send(reply) {
                                    pool.give(unsent);
                                }
                                pool.give(frame);
                                continue;
                            }
                            None => pool.give(reply),
                        }
                    }
                }
                self.meter.count(tag, is_intact, len, now);
                pool.give(frame);
            }
            let until_now =
                |before: Option<(u64, u64)>| (before.map_or(now, |(first, _)| first), now);
            self.any_arrivals = Some(until_now(self.any_arrivals));
            if self.meter.received > received_before {
                self.arrivals = Some(until_now(self.arrivals));
            }
        }
        port.flush().map_err(|_gone| LinkError::NoInterface(place.clone()))?;
        port.recycle(pool);
        Ok(count)
    }

    /// What was lost here since the start.
    ///
    /// # Errors
    /// The kernel would not tell.
    pub fn own_losses(&self) -> Result<OwnLosses, LinkError> {
        self.baseline.losses(self.link, self.oversized)
    }
}

/// The tag of a frame, behind VLAN tags or not, and whether the transport checksum is right.
fn read(frame: &mut [u8]) -> (Option<Tag>, bool) {
    let frame = without_vlan(frame);
    let Ok(headers) = Headers::parse(frame) else { return (None, false) };
    let tag = headers.payload(frame).and_then(Tag::read);
    (tag, tag.is_some() && checksum::verify_transport(frame, &headers))
}

/// The frame without its VLAN tags, of which it may have two (IEEE 802.1Q and 802.1ad): the addresses move over them.
fn without_vlan(mut frame: &mut [u8]) -> &mut [u8] {
    for _ in 0..2 {
        let is_tagged =
            matches!(frame.get(ADDRESSES_LEN..), Some([0x81, 0x00, ..] | [0x88, 0xa8, ..]));
        if !is_tagged || frame.len() < ADDRESSES_LEN + VLAN_LEN {
            break;
        }
        frame.copy_within(..ADDRESSES_LEN, VLAN_LEN);
        frame = frame.get_mut(VLAN_LEN..).unwrap_or_default();
    }
    frame
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dataplane::umem::CAPACITY;

    use super::*;
    use crate::build::Builder;

    fn frame(fields: &str) -> (Tag, Vec<u8>) {
        let text = format!(
            "[[stream]]\ndestination-mac = \"02:00:00:00:00:02\"\nsource = \"10.0.0.1\"\ndestination = \"10.1.0.1\"\n{fields}"
        );
        let mix = Mix::parse(&text, Path::new("mix"), "02:00:00:00:00:01").unwrap();
        let tag = Tag { run: 3, stream: 0, sequence: 77, sent_at: 5 };
        let mut out = [0; CAPACITY];
        let len = Builder::new(mix.streams[0].clone(), 1, 0).emit(77, tag, &mut out).unwrap();
        (tag, out[..len].to_vec())
    }

    #[test]
    fn what_was_built_is_read() {
        for fields in [
            "size = 60",
            "size = 64\nvlan = 9",
            "size = 1514",
            "size = 200\nprotocol = \"tcp-syn\"",
        ] {
            let (tag, mut frame) = frame(fields);
            assert_eq!(read(&mut frame), (Some(tag), true), "{fields}");
        }
    }

    #[test]
    fn a_second_vlan_tag_is_passed_over() {
        let (tag, frame) = frame("size = 64\nvlan = 9");
        let mut twice = frame[..12].to_vec();
        twice.extend_from_slice(&[0x88, 0xa8, 0, 1]);
        twice.extend_from_slice(&frame[12..]);
        assert_eq!(read(&mut twice), (Some(tag), true));
    }

    #[test]
    fn a_flipped_bit_is_noticed_wherever_it_is() {
        let (tag, frame) = frame("size = 100");
        for byte in 0..frame.len() {
            let mut flipped = frame.clone();
            flipped[byte] ^= 0x10;
            let (read_tag, is_intact) = read(&mut flipped);
            // Hardware addresses have no checksum but the wire's.
            let noticed = !is_intact || read_tag.is_none();
            assert_eq!(noticed, byte >= 12, "byte {byte}: {read_tag:?} instead of {tag:?}");
        }
    }

    #[test]
    fn other_frames_are_not_ours() {
        for len in 0..80 {
            assert_eq!(read(&mut vec![0x81; len]), (None, false));
        }
    }
}
