//! Snapshots from paths, and why one is not taken.
//!
//! Paths arrive; a snapshot or every refusal leaves. Invariant: all paths together are one snapshot, and a file is read once.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use policy_table::{Directory, Loaded, Refusal, Snapshot, compiled::Compiled};

use super::{
    super::{REFUSED, fail},
    remark::Remark,
};

/// Reads all paths as one snapshot.
pub(super) fn load(paths: &[PathBuf]) -> Result<Loaded, Vec<Refusal>> {
    let sources = sources(paths)?;
    let borrowed: Vec<(&str, &str)> =
        sources.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    Snapshot::parse(&borrowed).map_err(|refusals| refusals.0)
}

/// The names and texts of all files; a compiled snapshot is the files it was made of.
pub(super) fn sources(paths: &[PathBuf]) -> Result<Vec<(String, String)>, Vec<Refusal>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|error| unreadable(path, &error))? {
            let file = entry.map_err(|error| unreadable(path, &error))?.path();
            if Directory::holds(&file) && file.is_file() {
                found.push(file);
            }
        }
        if found.is_empty() {
            let advice = "name a directory with Kubernetes objects, or a file";
            return Err(refuse(path, "holds no *.yaml, *.yml or *.json".to_owned(), advice));
        }
        found.sort();
        files.append(&mut found);
    }
    // A file that is named and in a named directory is one file.
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for file in files {
        let same = file.canonicalize().map_err(|error| unreadable(&file, &error))?;
        if !seen.insert(same) {
            continue;
        }
        let bytes = std::fs::read(&file).map_err(|error| unreadable(&file, &error))?;
        if Compiled::begins(&bytes) {
            let compiled =
                Compiled::read(&bytes).map_err(|error| refuse(&file, error.to_string(), ""))?;
            let own = compiled.sources().map(|(name, text)| (name.to_owned(), text.to_owned()));
            sources.extend(own);
            continue;
        }
        let text = String::from_utf8(bytes).map_err(|_not_utf8| {
            refuse(&file, "is neither text nor a compiled snapshot".to_owned(), "")
        })?;
        sources.push((file.display().to_string(), text));
    }
    Ok(sources)
}

fn refuse(path: &Path, reason: String, advice: &str) -> Vec<Refusal> {
    vec![Refusal {
        file: path.display().to_string(),
        line: 0,
        object: String::new(),
        field: String::new(),
        reason,
        advice: advice.to_owned(),
    }]
}

fn unreadable(path: &Path, error: &io::Error) -> Vec<Refusal> {
    refuse(path, format!("cannot be read: {error}"), "check the path and its permissions")
}

/// Says on standard error why a snapshot is not taken.
pub(super) fn refused(refusals: &[Refusal]) -> ExitCode {
    for refusal in refusals {
        let _code = fail(&Remark::of(&"refused", refusal), REFUSED);
    }
    ExitCode::from(REFUSED)
}
