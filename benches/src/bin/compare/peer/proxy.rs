//! What the three proxies have in common: an address towards the client and one towards the server, and a wire to each.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use tests::program;

use crate::{process::Process, stage::Stage, wire};

/// A proxy's place.
#[derive(Debug)]
pub(crate) struct Place {
    /// The address that clients ask.
    pub(crate) front: String,
    /// The server's address as the proxy sees it.
    pub(crate) back: String,
    /// The client's interface.
    pub(crate) interface: String,
}

impl Place {
    /// Lays the wires of a proxy; `number` makes its addresses unique.
    pub(crate) fn new(peer: &str, number: u8) -> Result<Self> {
        wire::lay(peer)?;
        let place = Self {
            front: format!("10.82.{number}.1"),
            back: format!("10.83.{number}.2"),
            interface: format!("c-{peer}"),
        };
        let middle = wire::middle(peer);
        wire::address(&middle, "in", &format!("{}/24", place.front))?;
        wire::address(&middle, "out", &format!("10.83.{number}.1/24"))?;
        wire::address(&wire::pod("client"), &place.interface, &format!("10.82.{number}.2/24"))?;
        wire::address(&wire::pod("web"), &format!("s-{peer}"), &format!("{}/24", place.back))?;
        Ok(place)
    }
}

/// Starts a proxy on the middle core and waits until it answers a request of the client.
pub(crate) fn start(
    stage: &Stage,
    peer: &str,
    place: &Place,
    program: &Path,
    arguments: &[&str],
) -> Result<Process> {
    let program = program.display().to_string();
    let mut command = wire::command(&wire::middle(peer), stage.cores.middle, &program);
    command.args(arguments);
    let mut process = Process::start(peer, stage.directory(), &mut command)?;
    process.wait_until(&format!("{peer} answering"), |_| {
        Ok(stage.ask(&place.front, crate::backend::PUBLIC)?.status() == Some(200))
    })?;
    Ok(process)
}

/// The first line a program says about its version.
pub(crate) fn version(program: &str, argument: &str) -> String {
    let Ok(answer) = program::run(Command::new(program).arg(argument)) else {
        return String::new();
    };
    let text = if answer.stdout.trim().is_empty() { answer.stderr } else { answer.stdout };
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}
