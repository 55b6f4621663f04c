//! The Internet checksum: sums over bytes, and changes to a sum. Read RFC 1071 and RFC 1624 first.
//!
//! Bytes arrive, a 16-bit ones'-complement sum leaves. A [`Sum`] adds up whole ranges, also one
//! that is spread over several buffers; a [`Change`] is the difference an edit makes, so that a
//! rewritten header costs a few additions instead of a walk over the payload. Fast forms are tested
//! against a loop over 16-bit words.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    bytes,
    headers::{Headers, Transport},
    ipv4,
    network::{Network, Protocol},
};

/// A ones'-complement sum of 16-bit big-endian words, over any number of byte ranges taken one
/// after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// INVARIANT: 16 bits, carries already added back (`fold`).
    words: u16,
    /// Whether an odd number of bytes came so far, so that the next byte is the low half of a word.
    odd: bool,
}

impl Sum {
    /// The sum over nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: 0, odd: false }
    }

    /// The sum over everything so far, and then `bytes`.
    #[must_use]
    #[inline]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        let words = sum_words(bytes);
        let words = if self.odd { words.swap_bytes() } else { words };
        Self { words: add(self.words, words), odd: self.odd ^ (bytes.len() & 1 == 1) }
    }

    /// The sum over everything so far and a word at an even place.
    #[must_use]
    pub const fn add_word(self, word: u16) -> Self {
        Self { words: add(self.words, word), odd: self.odd }
    }

    /// The sum over everything so far and another range's, from an even place on.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { words: add(self.words, other.words), odd: self.odd ^ other.odd }
    }

    /// The sum itself, as it stands in the field of a frame whose checksum is left to the hardware.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.words
    }

    /// The checksum for the wire: the sum's complement.
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !self.words
    }

    /// Whether the range summed, its own checksum included, is intact.
    #[must_use]
    pub const fn is_intact(self) -> bool {
        self.words == 0xffff
    }
}

/// Adds two ones'-complement numbers: a carry out of the top comes back at the bottom.
const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(carry as u16)
}

/// The sum over `bytes` from an even place on; a last odd byte is the high half of a word (RFC 1071
/// §1).
///
/// Words are added as the machine reads them and swapped at the end, and four of them at a time,
/// both of which the sum's arithmetic permits (RFC 1071 §2); independent lanes let additions
/// overlap. What is left over is at most one word of each smaller size.
#[inline]
fn sum_words(bytes: &[u8]) -> u16 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut lanes = [0; 4];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = add_wide(*lane, u64::from_ne_bytes(*word));
        }
    }
    let [a, b, c, d] = lanes;
    let mut sum = add_wide(add_wide(a, b), add_wide(c, d));
    if rest.is_empty() {
        return u16::from_be(fold(sum));
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        sum = add_wide(sum, u64::from_ne_bytes(*word));
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        sum = add_wide(sum, u64::from(u32::from_ne_bytes(*half)));
    }
    let (quarters, rest) = rest.as_chunks::<2>();
    for quarter in quarters {
        sum = add_wide(sum, u64::from(u16::from_ne_bytes(*quarter)));
    }
    if let [last] = rest {
        sum = add_wide(sum, u64::from(u16::from_ne_bytes([*last, 0])));
    }
    u16::from_be(fold(sum))
}

/// [`add`] for four words at once: a carry out of the top comes back at the bottom.
const fn add_wide(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(carry as u64)
}

/// Adds the four words of a wide sum.
#[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
#[inline]
const fn fold(sum: u64) -> u16 {
    let (half, carry) = ((sum >> 32) as u32).overflowing_add(sum as u32);
    let half = half.wrapping_add(carry as u32);
    add((half >> 16) as u16, half as u16)
}

/// Whether an IPv4 header without options is intact (RFC 791 §3.1).
#[must_use]
#[inline]
pub(crate) fn is_intact_ipv4(header: &[u8; ipv4::MIN_HEADER_LEN]) -> bool {
    // Five numbers of 32 bits do not overflow 64.
    let sum = header
        .as_chunks::<4>()
        .0
        .iter()
        .fold(0, |sum: u64, word| sum.wrapping_add(u64::from(u32::from_ne_bytes(*word))));
    fold(sum) == 0xffff
}

/// What an edit adds to the sum of the range it lies in (RFC 1624 §3, equation 3).
///
/// Several edits add up to one `Change`, and one `Change` can serve several checksums that cover
/// the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "an edit whose change reaches no checksum corrupts the packet"]
pub struct Change(u16);

impl Change {
    /// No edit at all.
    pub const NONE: Self = Self(0);

    /// `old` bytes became `new` ones, of the same length, at an even place of the range.
    #[inline]
    pub fn of(old: &[u8], new: &[u8]) -> Self {
        Self(add(!sum_words(old), sum_words(new)))
    }

    /// A word at an even place of the range was `old` and is `new`.
    pub const fn of_word(old: u16, new: u16) -> Self {
        Self(add(!old, new))
    }

    /// The same edit, one byte further on.
    pub const fn at_odd_place(self) -> Self {
        Self(self.0.swap_bytes())
    }

    /// Both edits.
    pub const fn and(self, other: Self) -> Self {
        Self(add(self.0, other.0))
    }

    /// The checksum after the edit.
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !add(!checksum, self.0)
    }

    /// A UDP checksum after the edit: 0 means "none" and stays (RFC 768), and a computed 0 is sent
    /// as all ones.
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 { 0 } else { udp_checksum(self.apply(checksum)) }
    }
}

/// The UDP checksum to send for a computed one: all ones instead of 0, which would mean "none" (RFC
/// 768).
#[must_use]
pub const fn udp_checksum(computed: u16) -> u16 {
    if computed == 0 { 0xffff } else { computed }
}

/// A checksum after one 16-bit word of its range changed.
#[must_use]
pub fn update16(checksum: u16, old: u16, new: u16) -> u16 {
    Change::of_word(old, new).apply(checksum)
}

/// A checksum after one 32-bit word of its range changed, such as an IPv4 address or a sequence
/// number.
#[must_use]
pub fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    Change::of(&old.to_be_bytes(), &new.to_be_bytes()).apply(checksum)
}

/// A checksum after 16 bytes of its range changed, such as an IPv6 address.
#[must_use]
pub fn update128(checksum: u16, old: u128, new: u128) -> u16 {
    Change::of(&old.to_be_bytes(), &new.to_be_bytes()).apply(checksum)
}

/// The sum over the IPv4 pseudo header (RFC 9293 §3.1, RFC 768). `length` counts the transport
/// header and its payload.
#[must_use]
#[inline]
pub fn pseudo_header_v4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: Protocol,
    length: u16,
) -> Sum {
    // Four numbers of at most 32 bits do not overflow 64.
    let sum = u64::from(source.to_bits())
        .wrapping_add(u64::from(destination.to_bits()))
        .wrapping_add(u64::from(protocol.value()))
        .wrapping_add(u64::from(length));
    Sum { words: fold(sum), odd: false }
}

/// The sum over the IPv6 pseudo header (RFC 8200 §8.1). No jumbograms, so the length fits 16 bits.
#[must_use]
#[inline]
pub fn pseudo_header_v6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: Protocol,
    length: u16,
) -> Sum {
    let ((a, b), (c, d)) = (halves(source.to_bits()), halves(destination.to_bits()));
    // Two numbers of at most 16 bits do not overflow 64.
    let rest = u64::from(protocol.value()).wrapping_add(u64::from(length));
    let sum = add_wide(add_wide(add_wide(a, b), add_wide(c, d)), rest);
    Sum { words: fold(sum), odd: false }
}

/// The high and the low half of an address.
#[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
const fn halves(address: u128) -> (u64, u64) {
    ((address >> 64) as u64, address as u64)
}

/// Whether the transport checksum of a whole frame is right: TCP, UDP, ICMP or ICMPv6.
///
/// True as well where there is none to check: another protocol, ARP, and IPv4 UDP that was sent
/// without (RFC 768). False for a fragment, whose checksum covers bytes that are elsewhere, for
/// IPv6 UDP without a checksum (RFC 8200 §8.1), and for a frame shorter than its headers.
#[must_use]
pub fn verify_transport(frame: &[u8], headers: &Headers) -> bool {
    verify_transport_parts(frame, [], headers)
}

/// [`verify_transport`] for a frame spread over several buffers: the first, and the rest in order.
#[must_use]
pub fn verify_transport_parts<'a>(
    first: &[u8],
    rest: impl IntoIterator<Item = &'a [u8]>,
    headers: &Headers,
) -> bool {
    let Some(field) = ChecksumField::of(headers) else {
        return !matches!(headers.transport, Transport::Fragment(_));
    };
    field.verifies(field.pseudo_header(headers), first, rest, headers)
}

/// Completes a TCP or UDP checksum that the sender left to its hardware, and says whether there was
/// one.
///
/// A pod on a veth believes in such hardware: its frames arrive with the pseudo header's sum, not
/// complemented, in the field (`CHECKSUM_PARTIAL`). A frame that is right already is not changed.
/// `headers` keeps the checksum that came in.
#[must_use]
pub fn complete_partial(frame: &mut [u8], headers: &Headers) -> bool {
    complete_partial_parts(frame, [], headers)
}

/// [`complete_partial`] for a frame spread over several buffers: the first, and the rest in order.
#[must_use]
pub fn complete_partial_parts<'a>(
    first: &mut [u8],
    rest: impl IntoIterator<Item = &'a [u8]>,
    headers: &Headers,
) -> bool {
    let Some(field @ (ChecksumField::Tcp | ChecksumField::Udp)) = ChecksumField::of(headers) else {
        return false;
    };
    // The field itself holds the pseudo header's sum, so the sum over the transport bytes alone is
    // the whole sum.
    if field.read(first, headers) != Some(field.pseudo_header(headers).value()) {
        return false;
    }
    let Some(sum) = transport_sum(first, rest, headers) else {
        return false;
    };
    field.write(first, headers, field.finish(sum.checksum())).is_some()
}

/// [`verify_transport_parts`] for a segment that has been through [`complete_partial_parts`]: one whose checksum was left to its
/// sender's hardware has the right one since, and is not summed up again.
#[must_use]
pub fn verify_completed_parts<'a>(
    first: &[u8],
    rest: impl IntoIterator<Item = &'a [u8]>,
    headers: &Headers,
) -> bool {
    let Transport::Tcp(tcp) = headers.transport else {
        return verify_transport_parts(first, rest, headers);
    };
    let pseudo_header = ChecksumField::Tcp.pseudo_header(headers);
    pseudo_header.value() == tcp.checksum
        || ChecksumField::Tcp.verifies(pseudo_header, first, rest, headers)
}

/// The sum over the transport header and payload; none when the parts end before the packet does.
fn transport_sum<'a>(
    first: &[u8],
    rest: impl IntoIterator<Item = &'a [u8]>,
    headers: &Headers,
) -> Option<Sum> {
    let mut missing = headers.transport_len();
    let first = first.get(headers.transport_offset..)?;
    if let Some(whole) = first.get(..missing) {
        return Some(Sum::new().add_bytes(whole));
    }
    let mut sum = Sum::new();
    let mut add = |part: &[u8]| {
        let part = part.get(..missing).unwrap_or(part);
        sum = sum.add_bytes(part);
        missing = missing.saturating_sub(part.len());
    };
    add(first);
    rest.into_iter().for_each(add);
    (missing == 0).then_some(sum)
}

/// Which transport checksum a packet has, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChecksumField {
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
}

impl ChecksumField {
    pub(crate) const fn of(headers: &Headers) -> Option<Self> {
        match headers.transport {
            Transport::Tcp(_) => Some(Self::Tcp),
            Transport::Udp(_) => Some(Self::Udp),
            Transport::Icmp(_) => Some(Self::Icmp),
            Transport::Icmpv6(_) => Some(Self::Icmpv6),
            Transport::Sctp(_)
            | Transport::Fragment(_)
            | Transport::Other { .. }
            | Transport::None => None,
        }
    }

    const fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::TCP,
            Self::Udp => Protocol::UDP,
            Self::Icmp => Protocol::ICMP,
            Self::Icmpv6 => Protocol::ICMPV6,
        }
    }

    /// Where the field lies in the transport header.
    pub(crate) const fn offset_in(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
            Self::Icmp | Self::Icmpv6 => 2,
        }
    }

    /// Whether the checksum covers the addresses (ICMP's does not, RFC 792).
    pub(crate) const fn covers_addresses(self) -> bool {
        !matches!(self, Self::Icmp)
    }

    pub(crate) fn read(self, frame: &[u8], headers: &Headers) -> Option<u16> {
        bytes::be16(frame, headers.transport_offset.saturating_add(self.offset_in()))
    }

    pub(crate) fn write(self, frame: &mut [u8], headers: &Headers, checksum: u16) -> Option<()> {
        let offset = headers.transport_offset.saturating_add(self.offset_in());
        bytes::put(frame, offset, &checksum.to_be_bytes())
    }

    /// What to send for a computed checksum.
    pub(crate) const fn finish(self, computed: u16) -> u16 {
        match self {
            Self::Udp => udp_checksum(computed),
            Self::Tcp | Self::Icmp | Self::Icmpv6 => computed,
        }
    }

    /// Whether the checksum is right; true as well for IPv4 UDP without one.
    fn verifies<'a>(
        self,
        pseudo_header: Sum,
        first: &[u8],
        rest: impl IntoIterator<Item = &'a [u8]>,
        headers: &Headers,
    ) -> bool {
        match (self, self.read(first, headers), headers.network) {
            (_, None, _) | (Self::Udp, Some(0), Network::Ipv6(_)) => false,
            (Self::Udp, Some(0), _) => true,
            _ => transport_sum(first, rest, headers)
                .is_some_and(|sum| pseudo_header.and(sum).is_intact()),
        }
    }

    fn pseudo_header(self, headers: &Headers) -> Sum {
        // An IP packet without jumbo payload is shorter than 64 KiB, so its transport length fits.
        let length = u16::try_from(headers.transport_len()).unwrap_or(u16::MAX);
        match headers.network {
            _ if !self.covers_addresses() => Sum::new(),
            Network::Ipv4(header) => {
                pseudo_header_v4(header.source, header.destination, self.protocol(), length)
            }
            Network::Ipv6(header) => {
                pseudo_header_v6(header.source, header.destination, self.protocol(), length)
            }
            Network::Arp(_) => Sum::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        tcp::TcpFlags,
        testing::{
            frames, naive_sum, naive_transport_sum, parsed, tcp_frame, tcp_frames, udp_frame,
            udp_frames,
        },
    };

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        let sum = Sum::new().add_bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.value(), 0xddf2);
        assert_eq!(sum.checksum(), 0x220d);
    }

    #[test]
    fn the_example_of_rfc_1624_updates() {
        assert_eq!(update16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn a_computed_zero_is_sent_as_ones_and_none_stays_none() {
        assert_eq!(udp_checksum(0), 0xffff);
        assert_eq!(Change::of(&[0, 1], &[0, 2]).apply_udp(0), 0);
        let change = Change::of(&0x5555_u16.to_be_bytes(), &0x3285_u16.to_be_bytes());
        assert_eq!(change.apply(0xdd2f), 0);
        assert_eq!(change.apply_udp(0xdd2f), 0xffff);
    }

    #[test]
    fn one_wrong_bit_is_noticed() {
        for mut frame in [tcp_frame(false, TcpFlags::ACK, b"hello"), udp_frame(true, b"hello")] {
            let headers = parsed(&frame);
            assert!(verify_transport(&frame, &headers));
            let last = frame.len() - 1;
            frame[last] ^= 1;
            assert!(!verify_transport(&frame, &headers));
        }
    }

    #[test]
    fn padding_is_not_summed() {
        let mut frame = tcp_frame(false, TcpFlags::ACK, b"");
        frame.extend([0xff; 6]);
        assert!(verify_transport(&frame, &parsed(&frame)));
    }

    #[test]
    fn udp_without_checksum_is_intact_in_ipv4_alone() {
        for (is_ipv6, intact) in [(false, true), (true, false)] {
            let mut frame = udp_frame(is_ipv6, b"hello");
            let headers = parsed(&frame);
            let field = headers.transport_offset + 6;
            frame[field..field + 2].fill(0);
            assert_eq!(verify_transport(&frame, &parsed(&frame)), intact);
            assert!(!complete_partial(&mut frame, &headers));
        }
    }

    #[test]
    fn a_frame_that_is_not_the_headers_own_is_not_intact() {
        let mut frame = tcp_frame(true, TcpFlags::ACK, b"hello");
        let headers = parsed(&frame);
        let short = frame.len() - 1;
        assert!(!verify_transport(&frame[..short], &headers));
        assert!(!verify_transport(&frame[..20], &headers));
        assert!(!complete_partial(&mut frame[..20], &headers));
    }

    /// What a pod's stack does when it believes in hardware.
    fn leave_to_hardware(frame: &mut [u8]) -> Headers {
        let headers = parsed(frame);
        let field = ChecksumField::of(&headers).unwrap();
        field.write(frame, &headers, field.pseudo_header(&headers).value()).unwrap();
        parsed(frame)
    }

    proptest! {
        #[test]
        fn fast_sum_equals_the_slow_one(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            cuts: [prop::sample::Index; 3],
        ) {
            prop_assert_eq!(Sum::new().add_bytes(&bytes).value(), naive_sum(&bytes));
            let mut cuts = cuts.map(|cut| cut.index(bytes.len() + 1));
            cuts.sort_unstable();
            let [a, b, c] = cuts;
            let parts = [&bytes[..a], &bytes[a..b], &bytes[b..c], &bytes[c..]];
            let sum = parts.iter().fold(Sum::new(), |sum, part| sum.add_bytes(part));
            prop_assert_eq!(sum.value(), naive_sum(&bytes));
        }

        #[test]
        fn an_update_equals_a_fresh_sum(
            mut bytes in prop::collection::vec(any::<u8>(), 20..100), place: prop::sample::Index, new: [u8; 16],
        ) {
            // No real packet sums up to zero: its protocol number is in it.
            bytes[0] = 6;
            let place = 2 + place.index(bytes.len() - 18);
            let before = Sum::new().add_bytes(&bytes).checksum();
            let change = Change::of(&bytes[place..place + 16], &new);
            let change = if place % 2 == 0 { change } else { change.at_odd_place() };
            bytes[place..place + 16].copy_from_slice(&new);
            prop_assert_eq!(change.apply(before), !naive_sum(&bytes));
        }

        #[test]
        fn updates_of_all_widths_equal_a_fresh_sum(
            before: [u8; 16],
            word: u16,
            long: u32,
            all: u128,
        ) {
            let sum = |bytes: &[u8]| !naive_sum(&[&[0, 6], bytes].concat());
            let with = |new: &[u8]| sum(&[new, &before[new.len()..]].concat());
            let [a, b, c, d, ..] = before;
            prop_assert_eq!(update16(sum(&before), u16::from_be_bytes([a, b]), word), with(&word.to_be_bytes()));
            prop_assert_eq!(update32(sum(&before), u32::from_be_bytes([a, b, c, d]), long), with(&long.to_be_bytes()));
            prop_assert_eq!(update128(sum(&before), u128::from_be_bytes(before), all), with(&all.to_be_bytes()));
        }

        #[test]
        fn emitted_frames_are_intact_by_the_slow_sum(frame in frames()) {
            let headers = parsed(&frame);
            let protocol = ChecksumField::of(&headers).unwrap().protocol().value();
            prop_assert_eq!(naive_transport_sum(&frame, &headers, protocol), 0xffff);
            prop_assert!(verify_transport(&frame, &headers));
        }

        #[test]
        fn a_partial_checksum_is_completed(mut frame in prop_oneof![tcp_frames(), udp_frames()]) {
            let whole = frame.clone();
            let headers = leave_to_hardware(&mut frame);
            prop_assert!(!verify_transport(&frame, &headers));
            prop_assert!(complete_partial(&mut frame, &headers));
            prop_assert_eq!(&frame, &whole);
            prop_assert!(verify_completed_parts(&frame, [], &headers));
        }

        #[test]
        fn a_segment_that_was_damaged_on_its_way_is_not_intact(
            mut frame in tcp_frames(),
            place: prop::sample::Index,
            bit in 0..8_u8,
        ) {
            let headers = parsed(&frame);
            prop_assert!(verify_completed_parts(&frame, [], &headers));
            let segment = &mut frame[headers.transport_offset..headers.payload_end()];
            segment[place.index(segment.len())] ^= 1 << bit;
            prop_assert!(!verify_completed_parts(&frame, [], &headers));
        }

        #[test]
        fn a_whole_checksum_is_left_alone(mut frame in prop_oneof![tcp_frames(), udp_frames()]) {
            let whole = frame.clone();
            let headers = parsed(&frame);
            let _ = complete_partial(&mut frame, &headers);
            prop_assert_eq!(frame, whole);
        }

        #[test]
        fn buffers_may_be_cut_anywhere_behind_the_headers(
            frame in tcp_frames(),
            cuts: [prop::sample::Index; 2],
        ) {
            let whole = frame.clone();
            let mut frame = frame;
            let headers = leave_to_hardware(&mut frame);
            let mut cuts = cuts.map(|cut| headers.payload_offset + cut.index(headers.payload_len + 1));
            cuts.sort_unstable();
            let [a, b] = cuts;
            let (first, rest) = frame.split_at_mut(a);
            prop_assert_eq!(Headers::parse_first(first, whole.len()), Ok(headers));
            let rest = [&rest[..b - a], &rest[b - a..]];
            prop_assert!(complete_partial_parts(first, rest, &headers));
            prop_assert!(verify_transport_parts(first, rest, &headers));
            prop_assert_eq!(frame, whole);
        }
    }
}
