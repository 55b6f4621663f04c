//! The snapshot directory, watched: says when it has changed and been quiet for a moment.

use std::{
    os::fd::{AsFd, AsRawFd, RawFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Quiet time after the last change: an editor or `kubectl` writes several files in a row.
const QUIET: Duration = Duration::from_millis(30);

/// Longest wait for quiet: a directory that never rests is read anyway.
const PATIENCE: Duration = Duration::from_millis(500);

/// The directory cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch the snapshot directory {path}: {source}; it must exist and be readable")]
pub struct WatchError {
    path: PathBuf,
    source: nix::errno::Errno,
}

/// A watch on one directory.
#[derive(Debug)]
pub struct DirectoryWatch {
    inotify: Inotify,
    changed: Option<(Instant, Instant)>,
}

impl DirectoryWatch {
    /// Watches from now on.
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
        inotify.add_watch(path, events).map_err(refuse)?;
        Ok(Self { inotify, changed: None })
    }

    /// The descriptor to wait on.
    pub fn fd(&self) -> RawFd {
        self.inotify.as_fd().as_raw_fd()
    }

    /// Takes note of changes up to `now`.
    pub fn look(&mut self, now: Instant) {
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {
            let first = self.changed.map_or(now, |(first, _)| first);
            self.changed = Some((first, now));
        }
    }

    /// How long until [`DirectoryWatch::settled`] should be asked again; none if nothing has changed.
    pub fn due(&self, now: Instant) -> Option<Duration> {
        let (first, last) = self.changed?;
        Some((last + QUIET).min(first + PATIENCE).saturating_duration_since(now))
    }

    /// Whether a change has settled; says so once.
    pub fn settled(&mut self, now: Instant) -> bool {
        let settled = self.due(now).is_some_and(|due| due.is_zero());
        if settled {
            self.changed = None;
        }
        settled
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
        assert!(!watch.settled(now));
        assert!(watch.settled(now + QUIET));
        assert!(!watch.settled(now + QUIET));
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
            if watch.settled(now) {
                break;
            }
            now += QUIET / 2;
            assert!(now <= start + 2 * PATIENCE);
        }
        assert!(now >= start + PATIENCE);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = DirectoryWatch::open(Path::new("/does/not/exist")).unwrap_err().to_string();
        assert!(error.contains("/does/not/exist"), "{error}");
    }
}
