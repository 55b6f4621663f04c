//! TCP options (RFC 9293 §3.2, RFC 7323, RFC 2018) of one segment: read once, rewritten in place.
//!
//! Only what the engine understands passes: MSS, window scale, SACK-permitted on a SYN; timestamps and SACK. Everything else
//! becomes NOPs: fast open (RFC 7413) would carry data past the handshake, MD5 and AO signatures (RFC 2385, 5925) make a
//! server drop what we let through, MPTCP (RFC 8684) would move the stream to a connection we do not see.
//!
//! INVARIANT: a rewritten option list has the length of the one that arrived.

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// The largest option list (RFC 9293 §3.1: the data offset counts at most 60 bytes).
pub(super) const MAX: usize = 40;

/// A timestamp option: the sender's value and the echo of the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timestamps {
    pub(super) value: u32,
    pub(super) echo: u32,
}

/// What a segment's options say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) mss: Option<u16>,
    pub(super) window_scale: Option<u8>,
    pub(super) sack_permitted: bool,
    pub(super) timestamps: Option<Timestamps>,
    /// SACK blocks are present.
    pub(super) has_sack: bool,
    /// Something must become NOPs.
    pub(super) has_foreign: bool,
}

/// The options could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// An option list to be written over the one that arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct OptionBytes {
    bytes: [u8; MAX],
    len: usize,
}

impl OptionBytes {
    pub(super) fn new() -> Self {
        Self { bytes: [NOP; MAX], len: 0 }
    }

    fn copy_of(options: &[u8]) -> Self {
        let mut copy = Self::new();
        copy.push(options);
        copy
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Appends as much as fits.
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Appends a timestamp option, aligned as every stack sends it.
    pub(super) fn push_timestamps(&mut self, timestamps: Timestamps) {
        self.push(&[NOP, NOP, TIMESTAMPS, 10]);
        self.push(&timestamps.value.to_be_bytes());
        self.push(&timestamps.echo.to_be_bytes());
    }

    /// Appends one SACK block.
    pub(super) fn push_sack(&mut self, left: u32, right: u32) {
        self.push(&[NOP, NOP, SACK, 10]);
        self.push(&left.to_be_bytes());
        self.push(&right.to_be_bytes());
    }
}

/// Calls `each(kind, bytes of the whole option, index)` for every option but padding.
fn walk(options: &[u8], mut each: impl FnMut(u8, &[u8], usize)) -> Result<(), Malformed> {
    if options.len() > MAX {
        return Err(Malformed);
    }
    let mut index = 0;
    while let Some(&kind) = options.get(index) {
        match kind {
            END => break,
            NOP => index += 1,
            _ => {
                let len = usize::from(*options.get(index + 1).ok_or(Malformed)?);
                if len < 2 {
                    return Err(Malformed);
                }
                let option = options.get(index..index + len).ok_or(Malformed)?;
                each(kind, option, index);
                index += len;
            }
        }
    }
    Ok(())
}

/// Reads an option list.
///
/// # Errors
/// [`Malformed`] when an option runs over the end or a known one has the wrong length.
#[inline(always)]
pub(super) fn read(options: &[u8], is_syn: bool) -> Result<Options, Malformed> {
    // What nearly every segment carries: nothing, or timestamps alone.
    if options.is_empty() {
        return Ok(Options::default());
    }
    if let Some(timestamps) = timestamps_alone(options) {
        return Ok(Options { timestamps: Some(timestamps), ..Options::default() });
    }
    read_one_by_one(options, is_syn)
}

fn read_one_by_one(options: &[u8], is_syn: bool) -> Result<Options, Malformed> {
    let mut found = Options::default();
    let mut malformed = false;
    walk(options, |kind, option, _| match (kind, option) {
        (MSS, [_, _, a, b]) if is_syn => found.mss = Some(u16::from_be_bytes([*a, *b])),
        // RFC 7323 §2.3: a larger shift than 14 is to be used as 14.
        (WINDOW_SCALE, [_, _, shift]) if is_syn => found.window_scale = Some((*shift).min(14)),
        (SACK_PERMITTED, [_, _]) if is_syn => found.sack_permitted = true,
        (TIMESTAMPS, [_, _, a, b, c, d, e, f, g, h]) => {
            found.timestamps = Some(Timestamps {
                value: u32::from_be_bytes([*a, *b, *c, *d]),
                echo: u32::from_be_bytes([*e, *f, *g, *h]),
            });
        }
        (SACK, [_, _, blocks @ ..]) if !is_syn && !blocks.is_empty() && blocks.len() % 8 == 0 => {
            found.has_sack = true
        }
        (MSS | WINDOW_SCALE | SACK_PERMITTED | TIMESTAMPS, _) if is_syn => malformed = true,
        (TIMESTAMPS | SACK, _) if !is_syn => malformed = true,
        _ => found.has_foreign = true,
    })?;
    if malformed { Err(Malformed) } else { Ok(found) }
}

/// The timestamps of a segment that has no other option, aligned as every stack sends them.
#[inline]
fn timestamps_alone(options: &[u8]) -> Option<Timestamps> {
    let (begin, rest) = options.split_first_chunk::<4>()?;
    let (value, echo) = <&[u8; 8]>::try_from(rest).ok()?.split_first_chunk::<4>()?;
    let is_alone = u32::from_ne_bytes(*begin) == u32::from_ne_bytes([NOP, NOP, TIMESTAMPS, 10]);
    is_alone.then_some(Timestamps {
        value: u32::from_be_bytes(*value),
        echo: u32::from_be_bytes(*echo.first_chunk()?),
    })
}

/// The list with every option the engine does not understand turned into NOPs, and every SACK block passed through
/// `translate`, which returns `None` for a block that must not be seen.
pub(super) fn rewrite(
    options: &[u8],
    is_syn: bool,
    mut translate: impl FnMut(u32, u32) -> Option<(u32, u32)>,
) -> OptionBytes {
    let mut out = OptionBytes::copy_of(options);
    // The list was read before, so it is well formed.
    let _ = walk(options, |kind, option, index| {
        let Some(target) = out.bytes.get_mut(index..index + option.len()) else { return };
        match kind {
            TIMESTAMPS => {}
            MSS | WINDOW_SCALE | SACK_PERMITTED if is_syn => {}
            SACK if !is_syn => {
                target.fill(NOP);
                let mut at = 2;
                for block in option.get(2..).unwrap_or_default().chunks_exact(8) {
                    let &[a, b, c, d, e, f, g, h] = block else { continue };
                    let edges = translate(
                        u32::from_be_bytes([a, b, c, d]),
                        u32::from_be_bytes([e, f, g, h]),
                    );
                    if let (Some((left, right)), Some(room)) = (edges, target.get_mut(at..at + 8)) {
                        let (low, high) = room.split_at_mut(4);
                        low.copy_from_slice(&left.to_be_bytes());
                        high.copy_from_slice(&right.to_be_bytes());
                        at += 8;
                    }
                }
                if at > 2
                    && let (Some([kind, len]), Ok(total)) = (target.get_mut(..2), u8::try_from(at))
                {
                    *kind = SACK;
                    *len = total;
                }
            }
            _ => target.fill(NOP),
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linux_syn_is_read() {
        let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
        let read = read(&options, true).unwrap();
        assert_eq!(read.mss, Some(1460));
        assert_eq!(read.window_scale, Some(7));
        assert!(read.sack_permitted && !read.has_foreign);
        assert_eq!(read.timestamps, Some(Timestamps { value: 9, echo: 0 }));
    }

    #[test]
    fn fast_open_md5_and_mptcp_become_nops_of_the_same_length() {
        let options =
            [34, 2, 2, 4, 5, 0xb4, 30, 4, 0, 0, 19, 4, 7, 7, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0];
        assert!(read(&options, true).unwrap().has_foreign);
        let out = rewrite(&options, true, |_, _| None);
        assert_eq!(
            out.as_slice(),
            [1, 1, 2, 4, 5, 0xb4, 1, 1, 1, 1, 1, 1, 1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0]
        );
    }

    #[test]
    fn sack_blocks_are_translated_and_shrink_in_place() {
        let mut options = vec![1, 1, 5, 18];
        options.extend([10u32, 20, 30, 40].iter().flat_map(|edge| edge.to_be_bytes()));
        let out =
            rewrite(&options, false, |left, right| (left > 10).then_some((left + 1, right + 1)));
        let mut expected = vec![1, 1, 5, 10];
        expected.extend([31u32, 41].iter().flat_map(|edge| edge.to_be_bytes()));
        expected.extend([1; 8]);
        assert_eq!(out.as_slice(), expected);
        let none = rewrite(&options, false, |_, _| None);
        assert_eq!(none.as_slice(), [1; 20]);
    }

    #[test]
    fn bad_lengths_are_malformed() {
        for bad in [
            &[8u8, 10, 0][..],
            &[8, 1],
            &[8],
            &[8, 9, 0, 0, 0, 0, 0, 0, 0],
            &[5, 2],
            &[5, 9, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(read(bad, false), Err(Malformed), "{bad:?}");
        }
        assert_eq!(read(&[1; 41], false), Err(Malformed));
        assert!(read(&[0, 9, 9, 9], false).is_ok(), "nothing is read after the end of the list");
    }
}
