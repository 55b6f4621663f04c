//! The stage: the lab with its pods, the server in `web`, and which core is whose.
//!
//! Client and server share one core, whatever is between them has the other one, as on a small node; the same server and the same
//! client programs serve every peer.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tests::client::{Reply, curl};
use tests::lab::{Lab, Shape};
use tests::program;

use crate::backend::{self, Backend};
use crate::peer::blastdoor::Running;
use crate::process::Process;
use crate::wire;

/// Who works where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// Client and server.
    pub(crate) ends: usize,
    /// What is between them: the last core, as the daemon's default is.
    pub(crate) middle: usize,
}

impl Cores {
    /// The first and the last one.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let cores = std::thread::available_parallelism()?.get();
        ensure!(cores >= 2, "a side-by-side run needs two cores; this process may use {cores}");
        Ok(Self { ends: 0, middle: cores.saturating_sub(1) })
    }

    /// Both.
    pub(crate) fn both(self) -> [usize; 2] {
        [self.ends, self.middle]
    }
}

/// The lab, its server, and a directory for files.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Who works where.
    pub(crate) cores: Cores,
    /// The server.
    pub(crate) backend: Backend,
    /// The daemon in its lab.
    pub(crate) running: Rc<Running>,
    /// The server's address behind the daemon.
    pub(crate) web: String,
    directory: TempDir,
    _iperf3: Process,
}

const PODS: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {role: client}}
---
apiVersion: v1
kind: Pod
metadata: {name: other, labels: {role: client}}
---
apiVersion: v1
kind: Pod
metadata: {name: idle, labels: {role: idle}}
";

impl Stage {
    /// Makes the lab, starts server and daemon.
    pub(crate) fn set(cores: Cores) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let backend = Backend::prepare(directory.path())?;
        let file = directory.path().join("pods.yaml");
        fs::write(&file, format!("{PODS}---\n{}", web_pod(&backend, cores)))?;
        let lab = Lab::up(wire::LAB, &Shape { workers: 1, mtu: None }, &[file])?;
        let running = Rc::new(Running::new(lab)?);
        let web = running.lab.pod("default/web")?.ipv4;
        let mut iperf3 = wire::command(&wire::pod("web"), cores.ends, "iperf3");
        let iperf3 = Process::start("iperf3", directory.path(), iperf3.arg("-s"))?;
        Ok(Self { cores, backend, running, web, directory, _iperf3: iperf3 })
    }

    /// Where files of this run may lie.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// One request of the client.
    pub(crate) fn ask(&self, address: &str, path: &str) -> Result<Reply> {
        curl(&self.running.lab, "client", 2, &[&format!("http://{address}{path}")])
    }

    /// Asks once for what is allowed and, of one who judges requests, for what is not: the path is warm, and it does what it says.
    pub(crate) fn rehearse(&self, address: &str, judges: bool) -> Result<()> {
        let allowed = self.ask(address, backend::PUBLIC)?;
        ensure!(allowed.status() == Some(200), "GET {}: {allowed:?}", backend::PUBLIC);
        if judges {
            let denied = self.ask(address, backend::PRIVATE)?;
            ensure!(
                denied.status() == Some(403) && denied.says("Access denied"),
                "GET {}: {denied:?}",
                backend::PRIVATE
            );
        }
        Ok(())
    }
}

/// The server's pod.
fn web_pod(backend: &Backend, cores: Cores) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {{app: web}}
  annotations: {{blastdoor.io/lab-command: \"{}\"}}
spec: {{containers: [{{name: web, image: nginx, ports: [{{containerPort: 80}}]}}]}}
",
        backend.command(cores.ends)
    )
}

/// A lab of its own with `pods` pods in all, the first ones `client` and `web`, to see what many ports cost.
pub(crate) fn crowd(name: &str, pods: usize, cores: Cores, directory: &Path) -> Result<Lab> {
    let directory = directory.join(name);
    fs::create_dir_all(&directory)?;
    let backend = Backend::prepare(&directory)?;
    let mut text = String::from(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: client, labels: {role: client}}\n---\n",
    );
    text.push_str(&web_pod(&backend, cores));
    for pod in 2..pods {
        text.push_str(&format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{pod}}}\n"));
    }
    let file = directory.join("pods.yaml");
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Lab::up(name, &Shape { workers: 1, mtu: None }, &[file])
}

/// Where a program of this workspace is.
pub(crate) fn ours(name: &str) -> Result<String> {
    Ok(program::ours(name)?.display().to_string())
}
