//! `blastdoor policy compile`: a snapshot as one file that is in force at once.
//!
//! Paths arrive; a compiled snapshot (docs/snapshot-format.md) leaves. Invariant: the file is there whole or not at all, so a daemon
//! that watches it never reads half of it.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use policy_table::compiled::Compiled;

use super::{
    super::{REFUSED, fail},
    Mode,
    load::{refused, sources},
    remark::Remark,
    say,
};

/// Runs the command.
pub(super) fn compile(paths: &[PathBuf], file: &Path, mode: Mode) -> Result<ExitCode> {
    let sources = match sources(paths) {
        Ok(sources) => sources,
        Err(refusals) => return Ok(refused(&refusals)),
    };
    let borrowed: Vec<(&str, &str)> =
        sources.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let (bytes, notices) = match Compiled::make(&borrowed, mode.settings().enforcement) {
        Ok(made) => made,
        Err(refusals) => return Ok(refused(&refusals.0)),
    };
    for notice in &notices {
        let _code = fail(&Remark::from(notice), REFUSED);
    }
    // What nobody could load again is not worth writing.
    let made = Compiled::read(&bytes).context("what was compiled cannot be read back")?;
    write(file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
    say(&format!("{}: {} policies, {} bytes", file.display(), made.policies(), bytes.len()))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes beside the file and then in its place.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = file.with_file_name(name);
    let written = std::fs::File::create(&beside)
        .and_then(|mut out| out.write_all(bytes).and_then(|()| out.sync_all()))
        .and_then(|()| std::fs::rename(&beside, file));
    if written.is_err() {
        let _not_there = std::fs::remove_file(&beside);
    }
    written
}
