//! The options of a TCP header. Read RFC 9293 §3.2 first.
//!
//! The bytes between the fixed header and the payload arrive; typed options leave, in order, or an
//! error for the first one whose length is wrong. A server ignores what is malformed, and two
//! servers may ignore different things, so the connection that carries it is not worth keeping.

use crate::{ParseError, bytes, tcp::SeqNumber};

/// Option kinds (IANA "TCP Option Kind Numbers").
mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
    pub(super) const MD5: u8 = 19;
    pub(super) const AUTHENTICATION: u8 = 29;
    pub(super) const MULTIPATH: u8 = 30;
    pub(super) const FAST_OPEN: u8 = 34;
}

/// The largest shift a window scale may ask for (RFC 7323 §2.3).
const MAX_WINDOW_SHIFT: u8 = 14;

/// The TSval and `TSecr` of a segment (RFC 7323 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// The sender's clock.
    pub value: u32,
    /// The last value received from the other side.
    pub echo: u32,
}

impl Timestamps {
    /// The option's bytes, with two bytes of padding in front as most stacks send it (RFC 7323
    /// appendix A).
    #[must_use]
    pub const fn to_option(self) -> [u8; 12] {
        let ([v0, v1, v2, v3], [e0, e1, e2, e3]) =
            (self.value.to_be_bytes(), self.echo.to_be_bytes());
        [
            kind::NO_OPERATION,
            kind::NO_OPERATION,
            kind::TIMESTAMPS,
            10,
            v0,
            v1,
            v2,
            v3,
            e0,
            e1,
            e2,
            e3,
        ]
    }
}

/// A range of received bytes, from the first to the one after the last (RFC 2018 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlock {
    /// The first byte.
    pub left: SeqNumber,
    /// The byte after the last.
    pub right: SeqNumber,
}

/// At most four blocks fit a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlocks {
    blocks: [SackBlock; 4],
    /// INVARIANT: at most 4.
    count: usize,
}

impl SackBlocks {
    /// The blocks in the order of the wire.
    #[must_use]
    pub fn as_slice(&self) -> &[SackBlock] {
        self.blocks.get(..self.count).unwrap_or(&[])
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let (edges, rest) = body.as_chunks::<8>();
        if !rest.is_empty() || edges.is_empty() {
            return None;
        }
        let mut blocks = [SackBlock::default(); 4];
        for (block, edge) in blocks.get_mut(..edges.len())?.iter_mut().zip(edges) {
            let [l0, l1, l2, l3, r0, r1, r2, r3] = *edge;
            block.left = SeqNumber::new(u32::from_be_bytes([l0, l1, l2, l3]));
            block.right = SeqNumber::new(u32::from_be_bytes([r0, r1, r2, r3]));
        }
        Some(Self { blocks, count: edges.len() })
    }
}

/// One option. Padding is not an option and is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// The largest segment the sender takes (RFC 9293 §3.7.1).
    Mss(u16),
    /// The shift of all later windows, already limited to 14 (RFC 7323 §2).
    WindowScale(u8),
    /// Selective acknowledgements are welcome (RFC 2018 §2).
    SackPermitted,
    /// Ranges received beyond the acknowledgement (RFC 2018 §3, RFC 2883).
    Sack(SackBlocks),
    /// Clock values (RFC 7323 §3).
    Timestamps(Timestamps),
    /// An MD5 signature, which a middlebox that changes the segment breaks (RFC 2385).
    Md5,
    /// The authentication option, likewise (RFC 5925).
    Ao,
    /// Multipath TCP: bytes of this stream may travel elsewhere (RFC 8684).
    Mptcp,
    /// A fast-open cookie or the request for one: data may follow in the SYN (RFC 7413).
    FastOpen,
    /// Another kind.
    Unknown {
        /// The kind's number.
        kind: u8,
        /// Bytes of the whole option, kind and length included.
        length: u8,
    },
}

/// The options in `bytes`, the part of a TCP header after its first 20 bytes.
#[must_use]
pub const fn options(bytes: &[u8]) -> Options<'_> {
    Options { rest: bytes, offset: 0 }
}

/// An iterator over options that ends after the last, or after the first error.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
    /// Where `rest` starts in the bytes given.
    offset: usize,
}

impl<'a> Options<'a> {
    /// The next option with its place: the offset of its kind byte, and all its bytes.
    fn next_raw(&mut self) -> Option<Result<(usize, &'a [u8]), ParseError>> {
        loop {
            match self.rest.split_first() {
                None | Some((&kind::END, _)) => {
                    self.rest = &[];
                    return None;
                }
                Some((&kind::NO_OPERATION, rest)) => {
                    self.rest = rest;
                    self.offset = self.offset.saturating_add(1);
                }
                Some((_, rest)) => {
                    let length =
                        rest.first().copied().filter(|&length| length >= 2).map(usize::from);
                    let Some((option, rest)) =
                        length.and_then(|length| self.rest.split_at_checked(length))
                    else {
                        self.rest = &[];
                        return Some(Err(ParseError::TcpOptionMalformed));
                    };
                    let offset = self.offset;
                    self.rest = rest;
                    self.offset = offset.saturating_add(option.len());
                    return Some(Ok((offset, option)));
                }
            }
        }
    }
}

impl Iterator for Options<'_> {
    type Item = Result<TcpOption, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let option = match self.next_raw()? {
            Ok((_, option)) => typed(option).ok_or(ParseError::TcpOptionMalformed),
            Err(malformed) => Err(malformed),
        };
        if option.is_err() {
            self.rest = &[];
        }
        Some(option)
    }
}

/// The first option of `bytes`, the padding before it and its length.
pub(crate) fn next_option(bytes: &[u8]) -> Option<Result<(usize, usize, TcpOption), ParseError>> {
    let next = options(bytes).next_raw()?;
    Some(next.and_then(|(padding, option)| {
        typed(option)
            .map(|typed| (padding, option.len(), typed))
            .ok_or(ParseError::TcpOptionMalformed)
    }))
}

/// Reads one whole option; `None` when its length does not suit its kind.
fn typed(option: &[u8]) -> Option<TcpOption> {
    let (&[kind, length], body) = option.split_first_chunk()?;
    let empty = |option| body.is_empty().then_some(option);
    match kind {
        kind::MSS => Some(TcpOption::Mss(u16::from_be_bytes(body.try_into().ok()?))),
        kind::WINDOW_SCALE => <[u8; 1]>::try_from(body)
            .ok()
            .map(|[shift]| TcpOption::WindowScale(shift.min(MAX_WINDOW_SHIFT))),
        kind::SACK_PERMITTED => empty(TcpOption::SackPermitted),
        kind::SACK => SackBlocks::parse(body).map(TcpOption::Sack),
        kind::TIMESTAMPS if body.len() == 8 => Some(TcpOption::Timestamps(Timestamps {
            value: bytes::be32(body, 0)?,
            echo: bytes::be32(body, 4)?,
        })),
        kind::TIMESTAMPS => None,
        kind::MD5 => (body.len() == 16).then_some(TcpOption::Md5),
        kind::AUTHENTICATION => (body.len() >= 2).then_some(TcpOption::Ao),
        kind::MULTIPATH => (!body.is_empty()).then_some(TcpOption::Mptcp),
        kind::FAST_OPEN => Some(TcpOption::FastOpen),
        _ => Some(TcpOption::Unknown { kind, length }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Result<TcpOption, ParseError>> {
        options(bytes).collect()
    }

    #[test]
    fn the_options_of_a_linux_syn_are_read() {
        let syn = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
        assert_eq!(
            all(&syn),
            [
                Ok(TcpOption::Mss(1460)),
                Ok(TcpOption::SackPermitted),
                Ok(TcpOption::Timestamps(Timestamps { value: 9, echo: 0 })),
                Ok(TcpOption::WindowScale(7)),
            ]
        );
    }

    #[test]
    fn sack_blocks_keep_their_order() {
        let bytes = [1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 9];
        let Ok(TcpOption::Sack(sack)) = all(&bytes)[0] else { panic!("no SACK") };
        let block =
            |left, right| SackBlock { left: SeqNumber::new(left), right: SeqNumber::new(right) };
        assert_eq!(sack.as_slice(), [block(1, 2), block(5, 9)]);
    }

    #[test]
    fn options_that_need_policy_are_named() {
        let mut bytes = vec![19, 18];
        bytes.extend([0; 16]);
        bytes.extend([29, 4, 0, 0, 30, 4, 0, 0, 34, 2, 253, 3, 0]);
        assert_eq!(
            all(&bytes),
            [
                Ok(TcpOption::Md5),
                Ok(TcpOption::Ao),
                Ok(TcpOption::Mptcp),
                Ok(TcpOption::FastOpen),
                Ok(TcpOption::Unknown { kind: 253, length: 3 }),
            ]
        );
    }

    #[test]
    fn nothing_is_read_after_the_end() {
        assert_eq!(all(&[1, 0, 2, 4, 5, 180]), []);
        assert_eq!(all(&[]), []);
    }

    #[test]
    fn a_wrong_length_is_the_last_thing_read() {
        for malformed in [
            &[2][..],
            &[2, 0, 1, 1],
            &[2, 1, 1, 1],
            &[2, 3, 5, 1],
            &[2, 5, 5, 180],
            &[3, 2, 1, 1],
            &[4, 3, 0, 1],
            &[5, 2, 1, 1],
            &[5, 9, 0, 0, 0, 0, 0, 0, 0],
            &[8, 9, 0, 0, 0, 0, 0, 0, 0],
            &[19, 3, 0],
            &[29, 3, 0],
            &[30, 2],
        ] {
            assert_eq!(all(malformed), [Err(ParseError::TcpOptionMalformed)], "{malformed:?}");
        }
        let five_blocks = [[5, 42].as_slice(), &[0; 40]].concat();
        assert_eq!(all(&five_blocks), [Err(ParseError::TcpOptionMalformed)]);
    }

    #[test]
    fn an_excessive_window_scale_counts_as_fourteen() {
        assert_eq!(all(&[3, 3, 255]), [Ok(TcpOption::WindowScale(14))]);
    }
}
