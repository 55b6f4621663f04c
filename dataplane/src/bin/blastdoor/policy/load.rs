//! Snapshots from paths, and why one is not taken.
//!
//! Paths arrive; a snapshot or every refusal leaves. Invariant: all paths together are one snapshot, and a file is read once.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use policy_table::{Loaded, Refusal, Snapshot};

use super::{
    super::{REFUSED, fail},
    remark::Remark,
};

/// What a file of a snapshot ends with.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads all paths as one snapshot.
pub(super) fn load(paths: &[PathBuf]) -> Result<Loaded, Vec<Refusal>> {
    let refuse = |path: &Path, reason: String, advice: &str| {
        vec![Refusal {
            file: path.display().to_string(),
            line: 0,
            object: String::new(),
            field: String::new(),
            reason,
            advice: advice.to_owned(),
        }]
    };
    let unreadable = |path: &Path, error: &io::Error| {
        refuse(path, format!("cannot be read: {error}"), "check the path and its permissions")
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|error| unreadable(path, &error))? {
            let file = entry.map_err(|error| unreadable(path, &error))?.path();
            let wanted =
                file.extension().is_some_and(|end| ENDINGS.iter().any(|known| end == *known));
            let hidden =
                file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if wanted && !hidden && file.is_file() {
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
        if seen.insert(same) {
            let text = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?;
            sources.push((file.display().to_string(), text));
        }
    }
    let borrowed: Vec<(&str, &str)> =
        sources.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    Snapshot::parse(&borrowed).map_err(|refusals| refusals.0)
}

/// Says on standard error why a snapshot is not taken.
pub(super) fn refused(refusals: &[Refusal]) -> ExitCode {
    for refusal in refusals {
        let _code = fail(&Remark::of(&"refused", refusal), REFUSED);
    }
    ExitCode::from(REFUSED)
}
