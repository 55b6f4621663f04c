//! The lab's kubelet: starts one process per container and starts it again when it dies.
//!
//! It runs as a process of its own (`blastdoor lab kubelet`), detached from the terminal. Two events move it: a
//! signal (a child died, or it shall end) and the moment at which a container is due again.
//! Invariant: `kubelet.json` names it from the start, `containers.json` names every process it started, and on SIGTERM none of them outlives it.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, setsid};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::error::LabError;
use super::plan::{Container, Plan, Pod};
use super::process::ProcessRecord;
use super::state::{LabName, StateDirectory, read_json, write_json};

/// The first pause before a dead container is started again; doubles with each early death.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A container that lived this long starts again with the first pause.
const LIVED_WELL: Duration = Duration::from_secs(1);
/// What the containers get between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(1500);
/// The wait when nothing is due.
const NOTHING_DUE: Duration = Duration::from_secs(3600);

/// One container as the supervisor last saw it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerState {
    /// `namespace/name` of the pod.
    pub(crate) pod: String,
    /// The container's name.
    pub(crate) container: String,
    /// Its process, while there is one.
    pub(crate) process: Option<ProcessRecord>,
    /// How often it has been started again.
    pub(crate) restarts: u32,
}

/// Supervises the containers of a lab until SIGTERM.
///
/// # Errors
/// [`LabError::NoLab`] without a record, [`LabError::File`] when a log or the state cannot be written.
pub fn run(name: &LabName) -> Result<(), LabError> {
    let state = StateDirectory::of(name);
    let plan: Plan =
        read_json(&state.record())?.ok_or_else(|| LabError::NoLab(name.to_string()))?;
    match setsid() {
        // EPERM: it leads a group already, as when it is run by hand.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(LabError::kernel("detach the supervisor")(errno)),
    }
    let events = signal_events()?;
    if let Some(own) = i32::try_from(std::process::id()).ok().and_then(ProcessRecord::of) {
        write_json(&state.kubelet(), &own)?;
    }
    let mut containers = Vec::new();
    for pod in &plan.pods {
        for container in &pod.containers {
            containers.push(Supervised::new(name, &state, pod, container)?);
        }
    }
    loop {
        let now = now();
        for container in &mut containers {
            container.look(now)?;
        }
        write_json(&state.containers(), &states(&containers))?;
        let pause = containers.iter().filter_map(|c| c.due).min();
        let pause = pause.map_or(NOTHING_DUE, |due| due.saturating_duration_since(now));
        match events.recv_timeout(pause) {
            Ok(SIGCHLD) | Err(RecvTimeoutError::Timeout) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    end_all(&mut containers);
    write_json(&state.containers(), &states(&containers))
}

fn states<'a>(containers: &'a [Supervised<'_>]) -> Vec<&'a ContainerState> {
    containers.iter().map(|container| &container.state).collect()
}

/// Signals as messages, so that waiting for one can have a limit.
fn signal_events() -> Result<mpsc::Receiver<i32>, LabError> {
    let failed = |operation: &'static str| {
        move |error: std::io::Error| LabError::Kernel {
            operation: operation.to_owned(),
            source: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        }
    };
    let mut signals =
        Signals::new([SIGCHLD, SIGTERM, SIGINT, SIGHUP]).map_err(failed("listen for signals"))?;
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if sender.send(signal).is_err() {
                    return;
                }
            }
        })
        .map_err(failed("start a thread"))?;
    Ok(receiver)
}

struct Supervised<'a> {
    lab: &'a LabName,
    pod: &'a Pod,
    container: &'a Container,
    log: File,
    child: Option<Child>,
    started: Option<Instant>,
    pause: Duration,
    /// When to start it; `None` while it runs.
    due: Option<Instant>,
    state: ContainerState,
}

impl<'a> Supervised<'a> {
    fn new(
        lab: &'a LabName,
        directory: &StateDirectory,
        pod: &'a Pod,
        container: &'a Container,
    ) -> Result<Self, LabError> {
        let path =
            directory.logs().join(format!("{}_{}_{}.log", pod.namespace, pod.name, container.name));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(LabError::file("open", &path))?;
        let state = ContainerState {
            pod: pod.full_name(),
            container: container.name.clone(),
            process: None,
            restarts: 0,
        };
        let due = Some(now());
        let pause = FIRST_PAUSE;
        Ok(Self { lab, pod, container, log, child: None, started: None, pause, due, state })
    }

    /// Buries it if it died, starts it if it is due.
    fn look(&mut self, now: Instant) -> Result<(), LabError> {
        if let Some(child) = &mut self.child
            && !matches!(child.try_wait(), Ok(None))
        {
            self.child = None;
            self.state.process = None;
            let lived = self.started.map(|started| now.saturating_duration_since(started));
            if lived.is_some_and(|lived| lived >= LIVED_WELL) {
                self.pause = FIRST_PAUSE;
            }
            self.due = now.checked_add(self.pause);
            self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        if self.due.is_some_and(|due| due <= now) {
            self.start(now)?;
        }
        Ok(())
    }

    fn start(&mut self, now: Instant) -> Result<(), LabError> {
        let executable = super::commands::own_executable()?;
        let log = |file: &File| file.try_clone().map(Stdio::from).unwrap_or_else(|_| Stdio::null());
        let pod = self.pod.full_name();
        let child = Command::new(&executable)
            .args(["lab", "exec", "--name", self.lab.as_str(), &pod, "--"])
            .args(&self.container.command)
            .stdin(Stdio::null())
            .stdout(log(&self.log))
            .stderr(log(&self.log))
            .process_group(0)
            .spawn()
            .map_err(LabError::file("run", &executable))?;
        self.state.process = i32::try_from(child.id()).ok().and_then(ProcessRecord::of);
        if self.started.is_some() {
            self.state.restarts = self.state.restarts.saturating_add(1);
        }
        self.child = Some(child);
        self.started = Some(now);
        self.due = None;
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok()) {
            // Gone already is what was wanted.
            killpg(Pid::from_raw(pid), signal).ok();
        }
    }

    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }
}

fn end_all(containers: &mut [Supervised<'_>]) {
    for container in containers.iter() {
        container.signal(Signal::SIGTERM);
    }
    let mut waited = Duration::ZERO;
    while waited < GRACE && !containers.iter_mut().all(Supervised::has_ended) {
        thread::sleep(Duration::from_millis(10));
        waited += Duration::from_millis(10);
    }
    for container in containers.iter_mut() {
        if !container.has_ended() {
            container.signal(Signal::SIGKILL);
        }
        container.state.process = None;
    }
}

#[expect(clippy::disallowed_methods, reason = "a supervisor on the control path, not a worker")]
fn now() -> Instant {
    Instant::now()
}
