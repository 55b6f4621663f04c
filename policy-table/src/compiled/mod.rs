//! A snapshot on disk, compiled: a table that is there at once, and the files it was made of.
//!
//! ```text
//! magic "BLASTDR\x1a" ─ version ─ count ─┬─ kind, length, CRC-32 of each section ─ CRC-32 of all that
//!                                        └─ about · sources · table                (docs/snapshot-format.md)
//! ```
//! Arrives: files as people write them, or bytes of unknown origin. Leaves: bytes, or a [`Compiled`], or a
//! [`CompiledError`] that says what is wrong. Invariants: nothing of a file is used before all of it has been checked; the
//! files in it are read by the same reader as a directory's, so that `explain` and `check` say the same; a table that was
//! made under other settings is not used, the files are compiled instead.

mod table;
mod wire;

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::compile::{self, Compiler};
use crate::snapshot::{Loaded, Notice, Refusals, Snapshot, Update};
use crate::table::{Enforcement, Settings, Table};
use wire::{Nonsense, Read, Reader, Writer};

/// What a compiled snapshot begins with. The last byte ends a file that is printed by mistake (Ctrl-Z).
pub const MAGIC: [u8; 8] = *b"BLASTDR\x1a";

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 2;

/// Sections, in the order in which they stand.
const SECTIONS: [(u32, &str); 3] = [(1, "about"), (2, "sources"), (3, "table")];

/// Magic, version, number of sections.
const FIXED: usize = 16;
/// Kind, length and checksum of one section.
const ENTRY: usize = 16;

/// Why a file is not a compiled snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompiledError {
    /// It begins otherwise.
    #[error("not a compiled snapshot; `blastdoor policy compile DIR -o FILE` makes one")]
    Magic,
    /// Another version wrote it.
    #[error(
        "compiled by another version (format {found}, this one reads {VERSION}); compile it again with this one"
    )]
    Version {
        /// Its format.
        found: u32,
    },
    /// It ends too early, or goes on too long.
    #[error(
        "{found} bytes long and not {wanted}: truncated, or not written to its end; compile it again"
    )]
    Length {
        /// What its header says.
        wanted: u64,
        /// What is there.
        found: u64,
    },
    /// Its bytes have changed since it was written.
    #[error("the checksum of its {section} is wrong: damaged; compile it again")]
    Checksum {
        /// Where.
        section: &'static str,
    },
    /// Its checksums are right, and its content makes no sense.
    #[error(
        "its {section} makes no sense at byte {offset}: {wanted} was expected; compile it again"
    )]
    Content {
        /// Where.
        section: &'static str,
        /// At which byte of the section.
        offset: usize,
        /// What was expected there.
        wanted: &'static str,
    },
}

/// What the table was made under.
#[derive(Debug)]
struct About {
    enforcement: Enforcement,
    /// The addresses that serve the Kubernetes API: a node that has one of them is another identity.
    api: BTreeSet<IpAddr>,
    /// How many policies there are.
    policies: u32,
    /// What was noticed in the files, in words.
    notices: Vec<String>,
}

/// A compiled snapshot, checked.
#[derive(Debug)]
pub struct Compiled {
    about: About,
    sources: Vec<(String, String)>,
    table: Table,
}

impl Compiled {
    /// Whether a file begins as a compiled snapshot does.
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Compiles files, each with the name its rules are known by. Returns the bytes and what was noticed.
    ///
    /// # Errors
    /// All refusals of all files.
    pub fn make(
        sources: &[(&str, &str)],
        enforcement: Enforcement,
    ) -> Result<(Vec<u8>, Vec<Notice>), Refusals> {
        let Loaded { snapshot, notices } = Snapshot::parse(sources)?;
        let settings = Settings { enforcement, ..Settings::default() };
        let table = compile(&snapshot, settings, 0);
        let mut about = Writer::default();
        about.byte(match enforcement {
            Enforcement::Default => 0,
            Enforcement::Always => 1,
            Enforcement::Never => 2,
        });
        about.list(&compile::api_servers(&snapshot), |out, address| out.address(*address));
        about.number(u32::try_from(snapshot.policies.len()).unwrap_or(u32::MAX));
        let said: Vec<String> = notices.iter().map(ToString::to_string).collect();
        about.list(&said, |out, notice| out.text(notice));
        let mut files = Writer::default();
        files.list(sources, |out, (name, text)| {
            out.raw(name.as_bytes());
            out.raw(text.as_bytes());
        });
        let sections = [about.finish(), files.finish(), table::write(&table)];
        Ok((frame(&sections), notices))
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub fn read(bytes: &[u8]) -> Result<Self, CompiledError> {
        let [about, sources, table] = sections(bytes)?;
        let of = |section: usize| {
            let name = SECTIONS.get(section).map_or("content", |(_, name)| *name);
            move |Nonsense { wanted, offset }| CompiledError::Content {
                section: name,
                offset,
                wanted,
            }
        };
        Ok(Self {
            about: read_about(about).map_err(of(0))?,
            sources: read_sources(sources).map_err(of(1))?,
            table: table::read(table).map_err(of(2))?,
        })
    }

    /// How many policies it holds.
    pub fn policies(&self) -> usize {
        usize::try_from(self.about.policies).unwrap_or(usize::MAX)
    }

    /// What was noticed in its files, in words.
    pub fn notices(&self) -> &[String] {
        &self.about.notices
    }

    /// The files it was made of: names and texts.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The snapshot of the files it was made of.
    ///
    /// # Errors
    /// They are refused; a file that this version wrote is not.
    pub fn snapshot(&self) -> Result<Loaded, Refusals> {
        Snapshot::parse(&self.sources().collect::<Vec<_>>())
    }

    /// Whether its table is that of these settings; otherwise [`Compiled::table`] compiles its files again.
    pub fn is_made_for(&self, settings: &Settings) -> bool {
        let serves = settings.host_addresses.iter().any(|own| self.about.api.contains(own));
        self.about.enforcement == settings.enforcement && !settings.audit && !serves
    }

    /// The table under these settings.
    ///
    /// # Errors
    /// Its files are refused, where they had to be compiled again.
    pub fn table(&self, settings: &Settings, epoch: u64) -> Result<Table, Refusals> {
        if !self.is_made_for(settings) {
            return Ok(compile(&self.snapshot()?.snapshot, settings.clone(), epoch));
        }
        let mut table = self.table.clone();
        table.epoch = epoch;
        table.set_hosts(&settings.host_addresses);
        Ok(table)
    }
}

fn compile(snapshot: &Snapshot, settings: Settings, epoch: u64) -> Table {
    let mut compiler = Compiler::default();
    compiler.set(settings);
    compiler.apply(&Update { gone: Vec::new(), come: snapshot.objects() }, epoch)
}

fn read_about(bytes: &[u8]) -> Read<About> {
    let mut from = Reader::new(bytes)?;
    let enforcement = match from.byte()? {
        0 => Enforcement::Default,
        1 => Enforcement::Always,
        2 => Enforcement::Never,
        _ => return Err(from.nonsense("an enforcement mode")),
    };
    let api = from.list(Reader::address)?.into_iter().collect();
    let policies = from.number()?;
    let notices = from.list(|from| from.text().map(str::to_owned))?;
    from.finish()?;
    Ok(About { enforcement, api, policies, notices })
}

fn read_sources(bytes: &[u8]) -> Read<Vec<(String, String)>> {
    let mut from = Reader::new(bytes)?;
    let text = |from: &mut Reader<'_>| {
        let raw = from.raw("a file")?;
        let text = std::str::from_utf8(raw).map_err(|_not_utf8| from.nonsense("UTF-8"))?;
        Ok(text.to_owned())
    };
    let sources = from.list(|from| Ok((text(from)?, text(from)?)))?;
    from.finish()?;
    Ok(sources)
}

/// A file whose header is right for whatever content: for fuzzers and tests, which must get past it.
///
/// `content` is two lengths (32 bits, little endian), then the sections: the first two as long as said (or as long as there
/// is something), the third one the rest.
pub fn framed(content: &[u8]) -> Vec<u8> {
    let (lengths, mut rest) = content.split_at_checked(8).unwrap_or((&[0; 8], content));
    let mut sections: [Vec<u8>; SECTIONS.len()] = Default::default();
    for (section, length) in sections.iter_mut().zip(lengths.chunks_exact(4)) {
        let length = length.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let (own, after) = rest.split_at(length.min(rest.len()));
        (*section, rest) = (own.to_vec(), after);
    }
    let [_, _, table] = &mut sections;
    *table = rest.to_vec();
    frame(&sections)
}

/// The content of a file, as [`framed`] takes it.
///
/// # Errors
/// Its header, its length or a checksum is wrong.
pub fn content(file: &[u8]) -> Result<Vec<u8>, CompiledError> {
    let sections = sections(file)?;
    let mut content = Vec::new();
    for section in sections.iter().take(2) {
        content.extend(u32::try_from(section.len()).unwrap_or(u32::MAX).to_le_bytes());
    }
    sections.iter().for_each(|section| content.extend(*section));
    Ok(content)
}

/// Puts sections into a file.
fn frame(sections: &[Vec<u8>; SECTIONS.len()]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend(VERSION.to_le_bytes());
    file.extend(u32::try_from(SECTIONS.len()).unwrap_or(u32::MAX).to_le_bytes());
    for ((kind, _), section) in SECTIONS.iter().zip(sections) {
        file.extend(kind.to_le_bytes());
        file.extend(u64::try_from(section.len()).unwrap_or(u64::MAX).to_le_bytes());
        file.extend(crc32fast::hash(section).to_le_bytes());
    }
    file.extend(crc32fast::hash(&file).to_le_bytes());
    sections.iter().for_each(|section| file.extend(section));
    file
}

/// The sections of a file whose lengths and checksums are right.
fn sections(bytes: &[u8]) -> Result<[&[u8]; SECTIONS.len()], CompiledError> {
    let length = |wanted: usize| CompiledError::Length {
        wanted: u64::try_from(wanted).unwrap_or(u64::MAX),
        found: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
    };
    if !Compiled::begins(bytes) {
        return Err(CompiledError::Magic);
    }
    let header = FIXED.saturating_add(ENTRY.saturating_mul(SECTIONS.len()));
    let word = |at: usize| {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let short = || length(header.saturating_add(4));
    let version = word(MAGIC.len()).ok_or_else(short)?;
    if version != VERSION {
        return Err(CompiledError::Version { found: version });
    }
    let (head, checksum) = (bytes.get(..header).ok_or_else(short)?, word(header));
    if crc32fast::hash(head) != checksum.ok_or_else(short)? {
        return Err(CompiledError::Checksum { section: "header" });
    }
    let content =
        |wanted| CompiledError::Content { section: "header", offset: MAGIC.len(), wanted };
    if word(12).and_then(|count| usize::try_from(count).ok()) != Some(SECTIONS.len()) {
        return Err(content("three sections"));
    }
    let mut rest = bytes.get(header.saturating_add(4)..).unwrap_or_default();
    let mut wanted = header.saturating_add(4);
    let mut found: [&[u8]; SECTIONS.len()] = [&[]; SECTIONS.len()];
    for (place, ((kind, name), section)) in SECTIONS.iter().zip(&mut found).enumerate() {
        let at = FIXED.saturating_add(ENTRY.saturating_mul(place));
        if word(at) != Some(*kind) {
            return Err(content("sections in their order"));
        }
        let long = bytes.get(at.saturating_add(4)..).and_then(|bytes| bytes.first_chunk());
        let long = long.and_then(|long| usize::try_from(u64::from_le_bytes(*long)).ok());
        let long = long.unwrap_or(usize::MAX);
        wanted = wanted.saturating_add(long);
        let (own, after) = rest.split_at_checked(long).ok_or_else(|| length(wanted))?;
        if word(at.saturating_add(12)) != Some(crc32fast::hash(own)) {
            return Err(CompiledError::Checksum { section: name });
        }
        (*section, rest) = (own, after);
    }
    if rest.is_empty() { Ok(found) } else { Err(length(wanted)) }
}
