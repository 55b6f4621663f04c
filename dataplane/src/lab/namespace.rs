//! Network namespaces by name: listing them, entering them, and finding who is in them.
//!
//! Only a thread or a process of its own enters one, so the caller's namespace never changes underneath it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::error::LabError;
use super::state::LabName;

/// Where iproute2 keeps named namespaces.
const DIRECTORY: &str = "/run/netns";

/// The file that stands for a namespace.
pub(crate) fn path_of(namespace: &str) -> PathBuf {
    Path::new(DIRECTORY).join(namespace)
}

/// The namespaces of a lab, also those that an earlier run left.
pub(crate) fn of_lab(name: &LabName) -> Result<Vec<String>, LabError> {
    let directory = Path::new(DIRECTORY);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(LabError::File {
                operation: "list",
                path: directory.to_path_buf(),
                source,
            });
        }
    };
    let prefix = name.namespace_prefix();
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|file| file.starts_with(&prefix))
        .collect())
}

/// Moves the calling thread into a namespace for good.
pub(crate) fn enter(namespace: &str) -> Result<(), LabError> {
    let path = path_of(namespace);
    let file = File::open(&path).map_err(LabError::file("open", &path))?;
    setns(file, CloneFlags::CLONE_NEWNET)
        .map_err(LabError::kernel(format!("enter network namespace {namespace}")))
}

/// Runs `work` on a thread inside a namespace.
pub(crate) fn within<T: Send>(
    namespace: &str,
    work: impl FnOnce() -> Result<T, LabError> + Send,
) -> Result<T, LabError> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(namespace)?;
            work()
        });
        thread.join().unwrap_or_else(|_| {
            Err(LabError::Command {
                command: format!("work in namespace {namespace}"),
                problem: "its thread panicked".to_owned(),
            })
        })
    })
}

/// The processes whose network namespace is one of `namespaces`, and nobody else's.
pub(crate) fn processes_in(namespaces: &[String]) -> BTreeSet<i32> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let wanted: BTreeSet<(u64, u64)> =
        namespaces.iter().filter_map(|name| identity(&path_of(name))).collect();
    // A name whose mount is gone (after an unclean end) is a plain file of that directory's own device; no process
    // can have it as its namespace, so it matches nothing.
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
            identity(&path).is_some_and(|found| wanted.contains(&found))
        })
        .collect()
}
