//! Packets of several chunks as one run of bytes, for the stream engine, which reads heads wherever they stand.
//!
//! Most packets lie in one chunk and are read where they are. A longer one of an inspected connection is copied once, into memory
//! that the worker keeps, because chunks end in the middle of heads (ADR 5); one of content alone is not, because nobody reads
//! it. Packets of the engine's own that exceed a chunk are built in one run too, and then cut.

use parser::ethernet;

use crate::umem::Frame;

/// The longest packet with its Ethernet header.
const LONGEST: usize = 65_535 + ethernet::HEADER_LEN;

/// The packet at hand as one run of bytes.
#[derive(Debug)]
pub(super) struct Linear {
    /// A copy of it, if it is longer than a chunk. INVARIANT: at most `LONGEST` bytes, so loading never allocates.
    copy: Vec<u8>,
    /// Stands for content. INVARIANT: `LONGEST` zeros; as nobody reads them, they take no memory.
    unread: Box<[u8]>,
}

impl Default for Linear {
    fn default() -> Self {
        Self { copy: Vec::with_capacity(LONGEST), unread: vec![0; LONGEST].into() }
    }
}

impl Linear {
    /// Makes a packet ready for [`Linear::view`].
    pub(super) fn load(&mut self, frame: &Frame) {
        self.copy.clear();
        if frame.is_chain() {
            for part in std::iter::once(frame.bytes()).chain(frame.rest()) {
                let room = LONGEST.saturating_sub(self.copy.len());
                self.copy.extend_from_slice(part.get(..room).unwrap_or(part));
            }
        }
    }

    /// So many bytes that say nothing, in place of content that is not read.
    pub(super) fn unread(&self, len: usize) -> Option<&[u8]> {
        self.unread.get(..len)
    }

    /// The bytes of the packet that was loaded last, and is still as it was then.
    pub(super) fn view<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        if frame.is_chain() { &self.copy } else { frame.bytes() }
    }
}

/// Where a packet of ours that may be longer than a chunk is built.
#[derive(Debug)]
pub(super) struct Workbench(Box<[u8]>);

impl Default for Workbench {
    fn default() -> Self {
        Self(vec![0; LONGEST].into())
    }
}

impl Workbench {
    /// Room for the longest packet.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
