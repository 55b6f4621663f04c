//! The snapshot directory, watched: says what has changed in it, once that has been quiet for a moment.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    os::fd::{AsFd, AsRawFd, RawFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use policy_table::Directory;

use super::policy::Changed;

/// Quiet time after a file came to its end: `kubectl` and editors write several in a row.
const QUIET: Duration = Duration::from_millis(3);

/// Quiet time after a file came to be: who makes one is about to write it.
const BEGUN: Duration = Duration::from_millis(30);

/// Longest wait for quiet: a directory that never rests is read anyway.
const PATIENCE: Duration = Duration::from_millis(500);

/// The directory cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch the snapshot {path}: {source}; it must exist and be readable")]
pub struct WatchError {
    path: PathBuf,
    source: nix::errno::Errno,
}

/// A watch on one directory.
#[derive(Debug)]
pub struct DirectoryWatch {
    inotify: Inotify,
    /// The one file of the directory that counts, if it is not all.
    only: Option<OsString>,
    changed: Option<Burst>,
}

/// Changes that have not settled yet.
#[derive(Debug)]
struct Burst {
    first: Instant,
    /// When it will have been quiet for long enough.
    quiet: Instant,
    changed: Changed,
}

impl DirectoryWatch {
    /// Watches a directory of objects, or a compiled file, from now on.
    pub fn open(path: &Path) -> Result<Self, WatchError> {
        let refuse = |source| WatchError { path: path.to_owned(), source };
        let inotify =
            Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(refuse)?;
        let events = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_ONLYDIR;
        // A file is replaced rather than written to: the directory tells.
        let only = path.file_name().filter(|_| path.is_file()).map(OsString::from);
        let directory = match (&only, path.parent()) {
            (Some(_), Some(parent)) if parent.as_os_str().is_empty() => Path::new("."),
            (Some(_), Some(parent)) => parent,
            _ => path,
        };
        inotify.add_watch(directory, events).map_err(refuse)?;
        Ok(Self { inotify, only, changed: None })
    }

    /// The descriptor to wait on.
    pub fn fd(&self) -> RawFd {
        self.inotify.as_fd().as_raw_fd()
    }

    /// Takes note of changes up to `now`.
    pub fn look(&mut self, now: Instant) {
        while let Ok(events) = self.inotify.read_events() {
            if events.is_empty() {
                return;
            }
            for event in events {
                let begun = event.mask == AddWatchFlags::IN_CREATE;
                self.note(event.name, if begun { BEGUN } else { QUIET }, now);
            }
        }
    }

    fn note(&mut self, name: Option<OsString>, quiet: Duration, now: Instant) {
        if self.only.is_some() && name.is_some() && self.only != name {
            return;
        }
        let burst = self.changed.get_or_insert_with(|| Burst {
            first: now,
            quiet: now,
            changed: Changed::Files(BTreeSet::new()),
        });
        burst.quiet = now + quiet;
        // What is not a file of a snapshot may be what such files lead to: `..data` of a mounted ConfigMap.
        let name = name.filter(|name| Directory::holds(Path::new(name)));
        match (&mut burst.changed, name) {
            (Changed::Files(names), Some(name)) => {
                names.insert(name);
            }
            (changed, _) => *changed = Changed::Anything,
        }
    }

    /// How long until [`DirectoryWatch::settled`] should be asked again; none if nothing has changed.
    pub fn due(&self, now: Instant) -> Option<Duration> {
        let burst = self.changed.as_ref()?;
        Some(burst.quiet.min(burst.first + PATIENCE).saturating_duration_since(now))
    }

    /// What has changed, once it has settled; says so once.
    pub fn settled(&mut self, now: Instant) -> Option<Changed> {
        self.due(now).filter(Duration::is_zero)?;
        self.changed.take().map(|burst| burst.changed)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "control-plane time")]
mod tests {
    use super::*;

    #[test]
    fn a_change_settles_after_quiet_and_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = DirectoryWatch::open(directory.path()).unwrap();
        let now = Instant::now();
        watch.look(now);
        assert_eq!(watch.due(now), None);
        std::fs::write(directory.path().join("a.yaml"), "x").unwrap();
        watch.look(now);
        assert_eq!(watch.settled(now), None);
        let files = Changed::Files(BTreeSet::from(["a.yaml".into()]));
        assert_eq!(watch.settled(now + QUIET), Some(files));
        assert_eq!(watch.settled(now + QUIET), None);
    }

    #[test]
    fn a_directory_that_never_rests_is_read_anyway() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = DirectoryWatch::open(directory.path()).unwrap();
        let start = Instant::now();
        let mut now = start;
        loop {
            std::fs::write(directory.path().join("a.yaml"), "x").unwrap();
            watch.look(now);
            if watch.settled(now).is_some() {
                break;
            }
            now += QUIET / 2;
            assert!(now <= start + 2 * PATIENCE);
        }
        assert!(now >= start + PATIENCE);
    }

    #[test]
    fn what_is_no_file_of_a_snapshot_may_mean_anything() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = DirectoryWatch::open(directory.path()).unwrap();
        let now = Instant::now();
        std::os::unix::fs::symlink("/somewhere", directory.path().join("..data")).unwrap();
        watch.look(now);
        assert_eq!(
            watch.settled(now + QUIET),
            None,
            "a file that came to be is about to be written"
        );
        assert_eq!(watch.settled(now + BEGUN), Some(Changed::Anything));
    }

    #[test]
    fn of_a_compiled_file_only_its_own_changes_count() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("policy.blastdoor");
        std::fs::write(&file, "x").unwrap();
        let mut watch = DirectoryWatch::open(&file).unwrap();
        let now = Instant::now();
        std::fs::write(directory.path().join("policy.blastdoor.1"), "y").unwrap();
        watch.look(now);
        assert_eq!(watch.due(now), None);
        std::fs::rename(directory.path().join("policy.blastdoor.1"), &file).unwrap();
        watch.look(now);
        assert!(watch.settled(now + QUIET).is_some());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = DirectoryWatch::open(Path::new("/does/not/exist")).unwrap_err().to_string();
        assert!(error.contains("/does/not/exist"), "{error}");
    }
}
