//! `blastdoor policy diff`: what two snapshots treat differently.
//!
//! Two paths arrive; changes leave, for people or as one line of JSON.

use std::{path::Path, process::ExitCode};

use anyhow::Result;
use policy_table::diff;
use serde::Serialize;

use super::{
    super::Format,
    FOUND, Mode,
    load::{load, refused},
    say, say_json,
};

/// What `diff -o json` prints for each change.
#[derive(Debug, Serialize)]
struct Changed {
    from: String,
    from_more: usize,
    to: String,
    to_more: usize,
    protocol: String,
    first_port: u16,
    last_port: u16,
    method: Option<String>,
    path: Option<String>,
    before: String,
    after: String,
}

/// Runs the command.
pub(super) fn compare(old: &Path, new: &Path, mode: Mode, output: Format) -> Result<ExitCode> {
    let (old, new) = match (load(&[old.to_owned()]), load(&[new.to_owned()])) {
        (Ok(old), Ok(new)) => (old.snapshot, new.snapshot),
        (old, new) => {
            let refusals = [old.err(), new.err()].into_iter().flatten().flatten();
            return Ok(refused(&refusals.collect::<Vec<_>>()));
        }
    };
    let changes = diff(&old, &new, &mode.settings());
    let code = if changes.is_empty() { 0 } else { FOUND };
    match output {
        Format::Text => {
            for change in &changes {
                say(&change.to_string())?;
            }
        }
        Format::Json => {
            let changed = changes.into_iter().map(|change| {
                let (method, path) = change.request.unzip();
                Changed {
                    from: change.from.0,
                    from_more: change.from.1,
                    to: change.to.0,
                    to_more: change.to.1,
                    protocol: change.protocol.to_string(),
                    first_port: change.ports.0,
                    last_port: change.ports.1,
                    method,
                    path,
                    before: change.before.to_string(),
                    after: change.after.to_string(),
                }
            });
            say_json(&changed.collect::<Vec<_>>())?;
        }
    }
    Ok(ExitCode::from(code))
}
