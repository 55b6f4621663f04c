//! A recording: a pcap or pcapng file arrives, its frames and the times between them leave, each frame as it was captured.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use dataplane::umem::CAPACITY;
use pcap_file::{
    DataLink,
    pcap::PcapReader,
    pcapng::{PcapNgReader, blocks::block_common::Block},
};

/// The first four bytes of every pcapng file, in either byte order (draft-ietf-opsawg-pcapng, Section Header Block).
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Why a file is no recording.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It could not be opened.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path}: packet {number}: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Packets read before.
        number: usize,
        /// What is wrong.
        reason: String,
    },
    /// No packet of it can be sent.
    #[error("{path}: has no Ethernet frame that could be sent")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The frames of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The frames, in order. INVARIANT: not empty, none longer than a chunk holds.
    pub frames: Vec<Box<[u8]>>,
    /// When each was captured, in nanoseconds after the first. INVARIANT: as many as frames, never decreasing.
    pub offsets: Arc<[u64]>,
    /// Frames that were left out: larger than a chunk, or cut short when they were captured.
    pub left_out: usize,
}

impl Recording {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is no pcap or pcapng file of Ethernet frames, or has none that can be sent.
    pub fn read(path: &Path) -> Result<Self, ReplayError> {
        let failed = |source| ReplayError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let mut magic = [0; 4];
        file.read_exact(&mut magic).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let mut taker = Taker::default();
        let reader = BufReader::new(file);
        let outcome = if magic == PCAPNG { taker.pcapng(reader) } else { taker.pcap(reader) };
        outcome.map_err(|reason| ReplayError::Format {
            path: path.to_owned(),
            number: taker.frames.len() + taker.left_out,
            reason,
        })?;
        taker.finish().ok_or_else(|| ReplayError::Empty { path: path.to_owned() })
    }

    /// Nanoseconds from a packet to its next coming when the file is played again: its length and one mean gap.
    pub fn pass(&self) -> u64 {
        let last = self.offsets.last().copied().unwrap_or(0);
        let gaps = self.offsets.len().saturating_sub(1).max(1) as u64;
        last.saturating_add((last / gaps).max(1))
    }
}

#[derive(Default)]
struct Taker {
    frames: Vec<Box<[u8]>>,
    times: Vec<Duration>,
    left_out: usize,
}

impl Taker {
    fn pcap(&mut self, reader: impl Read) -> Result<(), String> {
        let mut reader = PcapReader::new(reader).map_err(|error| error.to_string())?;
        check(reader.header().datalink)?;
        while let Some(packet) = reader.next_packet() {
            let packet = packet.map_err(|error| error.to_string())?;
            self.take(packet.data(), packet.orig_len(), packet.timestamp());
        }
        Ok(())
    }

    fn pcapng(&mut self, reader: impl Read) -> Result<(), String> {
        let mut reader = PcapNgReader::new(reader).map_err(|error| error.to_string())?;
        while let Some(block) = reader.next_block() {
            let (block, state) = block.map_err(|error| error.to_string())?;
            match block {
                Block::EnhancedPacket(packet) => {
                    let interface = usize::try_from(packet.interface_id).unwrap_or(usize::MAX);
                    let interface =
                        state.interfaces().get(interface).ok_or("it names no interface")?;
                    check(interface.linktype)?;
                    self.take(&packet.data, packet.original_len, packet.timestamp);
                }
                Block::SimplePacket(packet) => {
                    let interface = state.interfaces().first().ok_or("it names no interface")?;
                    check(interface.linktype)?;
                    // These have no time; they go with the packet before.
                    let time = self.times.last().copied().unwrap_or_default();
                    self.take(&packet.data, packet.original_len, time);
                }
                // Names, statistics and whatever else describes packets.
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, data: &[u8], original_len: u32, time: Duration) {
        if data.is_empty() || data.len() > CAPACITY || data.len() as u64 != u64::from(original_len)
        {
            self.left_out += 1;
        } else {
            self.frames.push(data.into());
            self.times.push(time);
        }
    }

    fn finish(self) -> Option<Recording> {
        let start = *self.times.first()?;
        let mut latest = 0;
        let offsets = self.times.iter().map(|time| {
            // Packets of several interfaces may be a little out of order; they are sent in the file's order.
            let offset = u64::try_from(time.saturating_sub(start).as_nanos()).unwrap_or(u64::MAX);
            latest = offset.max(latest);
            latest
        });
        let offsets = offsets.collect();
        Some(Recording { frames: self.frames, offsets, left_out: self.left_out })
    }
}

fn check(link: DataLink) -> Result<(), String> {
    if link == DataLink::ETHERNET {
        Ok(())
    } else {
        Err(format!("it was captured on a link of type {link:?}, and only Ethernet can be sent"))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use pcap_file::{
        pcap::{PcapPacket, PcapWriter},
        pcapng::{
            PcapNgWriter,
            blocks::{
                enhanced_packet::EnhancedPacketBlock,
                interface_description::InterfaceDescriptionBlock,
            },
        },
    };

    use super::*;

    const FRAMES: [(&[u8], u64); 3] = [(&[1; 60], 1000), (&[2; 1514], 1500), (&[3; 61], 9000)];

    fn saved(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn pcap(frames: &[(&[u8], u64)]) -> Vec<u8> {
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        for (data, micros) in frames {
            let len = u32::try_from(data.len()).unwrap();
            let packet = PcapPacket::new(Duration::from_micros(*micros), len, *data).unwrap();
            writer.write_packet(&packet).unwrap();
        }
        writer.into_inner()
    }

    fn pcapng(frames: &[(&[u8], u64)], link: DataLink) -> Vec<u8> {
        let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
        writer.write_pcapng_block(InterfaceDescriptionBlock::new(link, 0)).unwrap();
        for (data, micros) in frames {
            let packet = EnhancedPacketBlock {
                interface_id: 0,
                timestamp: Duration::from_micros(*micros),
                original_len: u32::try_from(data.len()).unwrap(),
                data: Cow::Borrowed(data),
                options: Vec::new(),
            };
            writer.write_pcapng_block(packet).unwrap();
        }
        writer.into_inner()
    }

    #[test]
    fn both_formats_give_the_same_frames_and_times() {
        let old = Recording::read(saved(&pcap(&FRAMES)).path()).unwrap();
        let new = Recording::read(saved(&pcapng(&FRAMES, DataLink::ETHERNET)).path()).unwrap();
        assert_eq!(old, new);
        assert_eq!(*old.offsets, [0, 500_000, 8_000_000]);
        assert_eq!(old.frames.iter().map(|frame| frame.len()).collect::<Vec<_>>(), [60, 1514, 61]);
        assert_eq!(old.pass(), 12_000_000);
    }

    #[test]
    fn frames_that_no_chunk_holds_are_left_out_and_counted() {
        let frames: [(&[u8], u64); 2] = [(&[1; CAPACITY + 1], 0), (&[1; 60], 5)];
        let recording = Recording::read(saved(&pcap(&frames)).path()).unwrap();
        assert_eq!((recording.frames.len(), recording.left_out), (1, 1));
        let none = Recording::read(saved(&pcap(&frames[..1])).path()).unwrap_err();
        assert!(none.to_string().ends_with("has no Ethernet frame that could be sent"), "{none}");
    }

    #[test]
    fn what_is_no_recording_of_ethernet_is_refused() {
        let raw = Recording::read(saved(&pcapng(&FRAMES, DataLink::RAW)).path()).unwrap_err();
        assert!(raw.to_string().contains("only Ethernet can be sent"), "{raw}");
        assert!(Recording::read(saved(b"hello, world").path()).is_err());
        assert!(Recording::read(saved(b"").path()).is_err());
        assert!(Recording::read(Path::new("/nonexistent")).is_err());
        let whole = pcap(&FRAMES);
        let cut = Recording::read(saved(&whole[..whole.len() - 1]).path()).unwrap_err();
        assert!(cut.to_string().contains("packet 2"), "{cut}");
    }
}
