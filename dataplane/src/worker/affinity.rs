//! Worker threads, each pinned to its core.

use std::{io, thread};

/// Starts a named thread that runs on `core` and nowhere else. If the core cannot be had, the thread runs unpinned and
/// `on_unpinned` is called in it, so that status can say so.
pub fn spawn_pinned(
    name: &str,
    core: usize,
    on_unpinned: impl FnOnce() + Send + 'static,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
            on_unpinned();
        }
        run();
    })
}
