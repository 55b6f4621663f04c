//! What the daemon says while it runs: one line an event, to standard error, where systemd and containers expect it.

use std::{fmt, io::Write as _};

/// Says it. A journal that cannot be written to is no reason to stop forwarding.
pub fn say(message: fmt::Arguments<'_>) {
    let _unheard = writeln!(std::io::stderr().lock(), "blastdoor: {message}");
}
