//! `up`, `exec`, `down`, `pods` and `wait`: the lab's verbs, put together from its parts.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, sched_getaffinity, unshare};
use nix::unistd::{Pid, Uid};

use super::error::LabError;
use super::hosts::hosts_file;
use super::manifest::Manifest;
use super::plan::{Plan, Pod};
use super::process::{self, ProcessRecord};
use super::readiness::{self, PodStatus};
use super::state::{LabName, StateDirectory, read_json, write_file, write_json};
use super::{namespace, network, snapshot};

/// What `lab exec` calls the daemon's namespace.
pub const NODE: &str = "node";
/// The program that stands in for the starwars image, beside our own.
const DEATHSTAR: &str = "deathstar";
/// What a lab's processes get between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(3);
/// How long the supervisor may take to start.
const KUBELET_STARTS: Duration = Duration::from_secs(5);
/// How often it is looked for until then.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long `up` waits for the containers to listen.
const READY_SECONDS: u64 = 15;

/// What a new lab shall be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Kubernetes YAML.
    pub files: Vec<PathBuf>,
    /// The pods' interfaces' MTU in bytes.
    pub mtu: u32,
    /// How many workers the daemon shall run, each on a core of its own.
    pub workers: usize,
}

/// A lab that is up.
#[derive(Debug)]
pub struct Up {
    /// Its pods, all ready.
    pub pods: Vec<PodStatus>,
    /// Its services as `namespace/name` and addresses.
    pub services: Vec<(String, String)>,
    /// Whether leftovers of an earlier run were removed first.
    pub replaced: bool,
    /// Where its things are.
    pub state: StateDirectory,
}

/// Makes a lab, after removing what an earlier one of the same name left.
///
/// # Errors
/// Any [`LabError`]; what was made until then is removed again.
pub fn up(name: &LabName, wanted: &Wanted) -> Result<Up, LabError> {
    require_root()?;
    let manifest = Manifest::read(&wanted.files)?;
    let deathstar = own_executable()?.with_file_name(DEATHSTAR);
    let plan = Plan::new(name, wanted.mtu, worker_cores(wanted.workers)?, &manifest, &deathstar)?;
    let _lock = lock(name)?;
    let replaced = remove(name)?;
    match make(name, &plan, &manifest) {
        Ok(pods) => Ok(Up {
            pods,
            services: plan.services.iter().map(service_line).collect(),
            replaced,
            state: StateDirectory::of(name),
        }),
        Err(error) => {
            keep_logs(name);
            remove(name)?;
            Err(error)
        }
    }
}

/// Removes a lab: its processes, namespaces, pins and files. Returns whether there was anything.
///
/// # Errors
/// [`LabError`] naming what could not be removed.
pub fn down(name: &LabName) -> Result<bool, LabError> {
    require_root()?;
    let _lock = lock(name)?;
    remove(name)
}

/// Replaces the calling process by a command inside a pod, or on the node. Returns only to say why it could not.
///
/// A pod's command sees the pod's network, its hosts file, and `POD_NAME`, `POD_NAMESPACE` and `POD_IP`. On the node
/// the mounts stay the caller's, because the daemon mounts its bpffs there.
///
/// # Errors
/// [`LabError::NoLab`], [`LabError::NoPod`], or why the command did not run.
pub fn exec(name: &LabName, target: &str, command: &[OsString]) -> LabError {
    match prepare(name, target, command) {
        Ok(mut ready) => {
            let program = PathBuf::from(ready.get_program());
            LabError::file("run", &program)(ready.exec())
        }
        Err(error) => error,
    }
}

/// The states of a lab's pods.
///
/// # Errors
/// [`LabError::NoLab`] when it is not up.
pub fn pods(name: &LabName) -> Result<Vec<PodStatus>, LabError> {
    readiness::statuses(&record(name)?, &StateDirectory::of(name))
}

/// Waits until `pod` (or every pod) is ready and has been started again `restarts` times.
///
/// # Errors
/// [`LabError::NotReady`] after `seconds`.
pub fn wait(
    name: &LabName,
    pod: Option<&str>,
    restarts: u32,
    seconds: u64,
) -> Result<Vec<PodStatus>, LabError> {
    let plan = record(name)?;
    let wanted = pod.map(|pod| plan.pod(pod).map(Pod::full_name)).transpose()?;
    readiness::wait_until(&plan, &StateDirectory::of(name), seconds, |status| {
        let concerned = wanted.as_ref().is_none_or(|pod| *pod == status.pod);
        !concerned || (status.ready && status.restarts >= restarts)
    })
}

/// The running program, also when its file has been replaced by a new build since.
pub(crate) fn own_executable() -> Result<PathBuf, LabError> {
    let link = Path::new("/proc/self/exe");
    let path = std::env::current_exe().map_err(LabError::file("read", link))?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

fn require_root() -> Result<(), LabError> {
    if Uid::effective().is_root() { Ok(()) } else { Err(LabError::NotRoot) }
}

fn record(name: &LabName) -> Result<Plan, LabError> {
    read_json(&StateDirectory::of(name).record())?.ok_or_else(|| LabError::NoLab(name.to_string()))
}

/// One lab is made or removed at a time.
fn lock(name: &LabName) -> Result<Flock<File>, LabError> {
    let mut path = StateDirectory::of(name).path().to_path_buf();
    path.set_extension("lock");
    if let Some(root) = path.parent() {
        fs::create_dir_all(root).map_err(LabError::file("create", root))?;
    }
    let file = File::create(&path).map_err(LabError::file("create", &path))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| LabError::kernel(format!("lock {}", path.display()))(errno))
}

/// The last cores this process may use, so that core 0 stays with the pods.
fn worker_cores(workers: usize) -> Result<Vec<usize>, LabError> {
    let set =
        sched_getaffinity(Pid::from_raw(0)).map_err(LabError::kernel("read the core mask"))?;
    let count = nix::sched::CpuSet::count();
    let cores: Vec<usize> = (0..count).filter(|core| set.is_set(*core).unwrap_or(false)).collect();
    let first = cores.len().checked_sub(workers).filter(|_| workers > 0).ok_or_else(|| {
        LabError::Capacity(format!(
            "{workers} workers need as many cores; this process may use {}",
            cores.len()
        ))
    })?;
    Ok(cores.get(first..).unwrap_or_default().to_vec())
}

fn service_line(service: &super::plan::Service) -> (String, String) {
    let addresses: Vec<String> = service.addresses.iter().map(ToString::to_string).collect();
    (format!("{}/{}", service.namespace, service.name), addresses.join(", "))
}

fn make(name: &LabName, plan: &Plan, manifest: &Manifest) -> Result<Vec<PodStatus>, LabError> {
    let state = StateDirectory::of(name);
    for directory in [state.path(), &state.logs(), &state.hosts()] {
        fs::create_dir_all(directory).map_err(LabError::file("create", directory))?;
    }
    // First, so that a run that is killed from here on can be recognised.
    write_json(&state.record(), plan)?;
    network::create(name, plan)?;
    for pod in &plan.pods {
        write_file(&hosts_path(&state, pod), hosts_file(plan, pod).as_bytes())?;
    }
    snapshot::write(plan, manifest, &state)?;
    start_kubelet(name, &state)?;
    readiness::wait_until(plan, &state, READY_SECONDS, |status| status.ready)
}

fn hosts_path(state: &StateDirectory, pod: &Pod) -> PathBuf {
    state.hosts().join(format!("{}_{}", pod.namespace, pod.name))
}

fn start_kubelet(name: &LabName, state: &StateDirectory) -> Result<(), LabError> {
    let executable = own_executable()?;
    let path = state.logs().join("kubelet.log");
    let log = File::create(&path).map_err(LabError::file("create", &path))?;
    let errors = log.try_clone().map_err(LabError::file("open", &path))?;
    let mut child = Command::new(&executable)
        .args(["lab", "kubelet", "--name", name.as_str()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(LabError::file("run", &executable))?;
    // It writes its own record, so that it can be found even if we are killed right here.
    let mut waited = Duration::ZERO;
    while !state.kubelet().exists() {
        if waited >= KUBELET_STARTS || !matches!(child.try_wait(), Ok(None)) {
            let said = fs::read_to_string(&path).unwrap_or_default();
            return Err(LabError::Command {
                command: format!("{} lab kubelet", executable.display()),
                problem: format!("it did not start: {}", said.trim()),
            });
        }
        thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
    Ok(())
}

fn prepare(name: &LabName, target: &str, command: &[OsString]) -> Result<Command, LabError> {
    require_root()?;
    let plan = record(name)?;
    let (program, arguments) = command.split_first().ok_or_else(|| LabError::Command {
        command: "lab exec".to_owned(),
        problem: "no command was given after `--`".to_owned(),
    })?;
    let mut ready = Command::new(program);
    ready.args(arguments);
    if target == NODE {
        namespace::enter(&name.node_namespace())?;
        return Ok(ready);
    }
    let pod = plan.pod(target)?;
    namespace::enter(&pod.netns)?;
    show_hosts(&hosts_path(&StateDirectory::of(name), pod))?;
    ready
        .env("POD_NAME", &pod.name)
        .env("POD_NAMESPACE", &pod.namespace)
        .env("POD_IP", pod.ipv4.to_string());
    Ok(ready)
}

/// Lays the pod's hosts file over /etc/hosts, in a mount namespace of the caller's own.
fn show_hosts(hosts: &Path) -> Result<(), LabError> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).map_err(LabError::kernel("make a mount namespace"))?;
    // Ours must not show outside; what is unmounted outside must go here, too.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)
        .map_err(LabError::kernel("separate the mounts"))?;
    mount(Some(hosts), "/etc/hosts", NONE, MsFlags::MS_BIND, NONE)
        .map_err(LabError::kernel(format!("lay {} over /etc/hosts", hosts.display())))
}

/// Removes everything that belongs to the name, whoever left it. Returns whether there was anything.
fn remove(name: &LabName) -> Result<bool, LabError> {
    let state = StateDirectory::of(name);
    let namespaces = namespace::of_lab(name)?;
    let existed = state.path().exists() || !namespaces.is_empty();
    // The supervisor goes first, or it would start again what is ended after it. A record that does not read is one
    // more leftover: the supervisor is then found as the parent of nothing, and its containers by namespace.
    let kubelet: Option<ProcessRecord> = read_json(&state.kubelet()).unwrap_or(None);
    let survivors = process::end(kubelet.as_slice(), GRACE);
    let inside: BTreeSet<i32> = namespace::processes_in(&namespaces);
    let inside: Vec<_> = inside.into_iter().filter_map(ProcessRecord::of).collect();
    let survivors: Vec<i32> =
        process::end(&inside, GRACE).iter().chain(&survivors).map(|process| process.pid).collect();
    if !survivors.is_empty() {
        return Err(LabError::Command {
            command: format!("end the processes of lab {name}"),
            problem: format!("still there after SIGKILL: {survivors:?}"),
        });
    }
    unmount_all(&state.bpf())?;
    network::remove(&namespaces)?;
    match fs::remove_dir_all(state.path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LabError::file("remove", state.path())(error))
        }
        _ => Ok(existed),
    }
}

/// Unmounts whatever lies on `path`; each killed daemon may have left one.
fn unmount_all(path: &Path) -> Result<(), LabError> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(errno) => {
                return Err(LabError::kernel(format!("unmount {}", path.display()))(errno));
            }
        }
    }
}

/// Keeps a failed lab's logs beside its directory, where the error message can point to.
fn keep_logs(name: &LabName) {
    let state = StateDirectory::of(name);
    let kept = state.path().with_extension("failed-logs");
    // The error that led here is the one to report; missing logs are not worth hiding it.
    fs::remove_dir_all(&kept).ok();
    fs::rename(state.logs(), &kept).ok();
}
