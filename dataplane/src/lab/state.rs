//! Where a lab keeps its things: a name, and the directory `/run/blastdoor/<name>` that belongs to it.
//!
//! Invariant: a [`LabName`] has no hyphen, so the namespaces of two labs can never be mistaken for each other's
//! (`bd-<name>-` is a prefix of its own namespaces only).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::LabError;

/// Where the labs live, one directory each.
const ROOT: &str = "/run/blastdoor";

/// A lab's name: 1 to 12 characters of a-z and 0-9.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabName(String);

impl LabName {
    /// What every namespace of this lab begins with.
    #[must_use]
    pub fn namespace_prefix(&self) -> String {
        format!("bd-{}-", self.0)
    }

    /// The namespace the daemon runs in.
    #[must_use]
    pub fn node_namespace(&self) -> String {
        format!("bd-{}-node", self.0)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LabName {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self, LabError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if (1..=12).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(LabError::BadName(text.to_owned()))
        }
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The directory of one lab, and the names of what lies in it.
#[derive(Debug, Clone)]
pub struct StateDirectory(PathBuf);

impl StateDirectory {
    /// The directory of `name`, whether it exists or not.
    #[must_use]
    pub fn of(name: &LabName) -> Self {
        Self(Path::new(ROOT).join(name.as_str()))
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The daemon's configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// What the daemon watches.
    #[must_use]
    pub fn snapshot(&self) -> PathBuf {
        self.0.join("snapshot")
    }

    /// The daemon's control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("blastdoor.sock")
    }

    /// Where the daemon mounts its bpffs.
    #[must_use]
    pub fn bpf(&self) -> PathBuf {
        self.0.join("bpf")
    }

    /// The lab's own record, a [`super::plan::Plan`].
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.0.join("lab.json")
    }

    /// The supervisor's process.
    #[must_use]
    pub fn kubelet(&self) -> PathBuf {
        self.0.join("kubelet.json")
    }

    /// The containers as the supervisor last saw them.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.0.join("containers.json")
    }

    /// One file per container, and the supervisor's.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// One hosts file per pod.
    #[must_use]
    pub fn hosts(&self) -> PathBuf {
        self.0.join("hosts")
    }
}

/// Reads a JSON file; `None` when it does not exist.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LabError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| LabError::Record { path: path.to_path_buf(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LabError::File { operation: "read", path: path.to_path_buf(), source }),
    }
}

/// Writes a JSON file so that a reader sees the old or the new content, never a part.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), LabError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| LabError::Record { path: path.to_path_buf(), source })?;
    bytes.push(b'\n');
    write_file(path, &bytes)
}

/// Writes a file beside its place and renames it there.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), LabError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    fs::write(&temporary, bytes).map_err(LabError::file("write", &temporary))?;
    fs::rename(&temporary, path).map_err(LabError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_hide_in_another_lab_is_refused() {
        for bad in ["", "a-b", "Lab", "../etc", "thirteenchars"] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
        let name: LabName = "lab2".parse().unwrap();
        assert_eq!(name.node_namespace(), "bd-lab2-node");
    }

    #[test]
    fn a_missing_record_is_none_and_a_damaged_one_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), None);
        write_json(&path, &vec![1_u8, 2]).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), Some(vec![1, 2]));
        fs::write(&path, "[1,").unwrap();
        assert!(read_json::<Vec<u8>>(&path).unwrap_err().to_string().contains("lab down"));
    }
}
