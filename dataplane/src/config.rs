//! The daemon's configuration: one TOML file, every field with a default that works, unknown fields refused.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use serde::Deserialize;

mod inspect;
mod place;

use crate::{budgets::Budgets, names::LeaseTimes};

pub use inspect::{Inspect, Sizes, Widening};

/// What `blastdoor run --config FILE` reads.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The directory with the cluster's objects and policies, or a file that `blastdoor policy compile` made of one; watched while
    /// the daemon runs.
    pub snapshot: PathBuf,
    /// Where the control socket `blastdoor.sock` and the pins `bpf/` live.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// The worker threads.
    #[serde(default)]
    pub workers: Workers,
    /// The memory shared with the kernel.
    #[serde(default)]
    pub umem: UmemSize,
    /// Which endpoints are enforced: Cilium's `--enable-policy`.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// Policies are only tried: what they would deny passes, and is counted and told (Cilium's `--policy-audit-mode`).
    #[serde(default)]
    pub policy_audit_mode: bool,
    /// How inspected connections are read.
    #[serde(default)]
    pub inspect: Inspect,
    /// What a worker, and an endpoint of it, may use.
    #[serde(default)]
    pub budgets: Budgets,
    /// How long addresses that DNS gave a name of `toFQDNs` may be used.
    #[serde(default)]
    pub dns: Dns,
    /// The veth into the node's own network stack. Without it pods reach nothing but pods and services.
    pub host: Option<Host>,
    /// The node's own link, if frames to pods and services are to be taken off it before the kernel's stack sees them.
    pub uplink: Option<Uplink>,
    /// The pods' interfaces that exist at the start; more can be added over the control socket.
    #[serde(default, rename = "port")]
    pub ports: Vec<PodPort>,
}

/// The worker threads.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workers {
    /// One pinned worker for each core listed. Default: one worker, on the last core.
    pub cores: Vec<usize>,
    /// How long a worker without work keeps looking before it sleeps, in microseconds.
    pub spin_us: u64,
}

impl Default for Workers {
    fn default() -> Self {
        let last = core_affinity::get_core_ids()
            .and_then(|cores| cores.last().map(|core| core.id))
            .unwrap_or(0);
        Self { cores: vec![last], spin_us: 50 }
    }
}

impl Workers {
    /// How long a worker without work keeps looking before it sleeps.
    pub fn spin(&self) -> Duration {
        Duration::from_micros(self.spin_us)
    }
}

/// The memory shared with the kernel.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UmemSize {
    /// Frames of 4096 bytes. Ports take up to 1024 each for receiving, all together at most half; packets in flight take the rest.
    pub frames: NonZeroU32,
}

impl Default for UmemSize {
    fn default() -> Self {
        Self { frames: const { NonZeroU32::new(32768).expect("not zero") } }
    }
}

/// Which endpoints are enforced (Cilium's `--enable-policy`, `cilium-semantics.md` §2.1).
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// Endpoints that a policy selects, in the directions it has rules for.
    #[default]
    Default,
    /// Every endpoint, both directions.
    Always,
    /// None.
    Never,
}

/// How long addresses that DNS gave a name of `toFQDNs` may be used: what the answer says, or `min_ttl_s` if that is longer
/// (Cilium's `--tofqdns-min-ttl`), and `grace_s` more for connections that are opened late (Cilium takes expired addresses
/// out once a minute).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// At least so long, in seconds.
    pub min_ttl_s: u32,
    /// And so much longer, in seconds.
    pub grace_s: u32,
}

impl Default for Dns {
    fn default() -> Self {
        let LeaseTimes { at_least, grace } = LeaseTimes::default();
        Self { min_ttl_s: at_least, grace_s: grace }
    }
}

impl Dns {
    /// The same for the workers.
    pub fn leases(self) -> LeaseTimes {
        LeaseTimes { at_least: self.min_ttl_s, grace: self.grace_s }
    }
}

/// The veth into the node's own network stack, made by the daemon.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// The name of the node's end.
    pub interface: String,
    /// Addresses of the node's end: the pods' gateway.
    pub addresses: Vec<IpNet>,
    /// Largest IP packet, in bytes.
    #[serde(default = "default_mtu")]
    pub mtu: u32,
}

impl Host {
    /// The name of our end.
    pub fn peer(&self) -> String {
        // Interface names have at most 15 bytes (IFNAMSIZ).
        let kept: String = self.interface.chars().take(13).collect();
        format!("{kept}-x")
    }

    /// The gateway's addresses without their prefixes.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().map(IpNet::addr)
    }
}

/// The node's own link.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// The interface's name.
    pub interface: String,
    /// What happens to frames for pods and services while no daemon runs.
    #[serde(default)]
    pub fallback: UplinkFallback,
}

/// What happens to frames for pods and services while no daemon runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum UplinkFallback {
    /// They are dropped: fail closed.
    #[default]
    Drop,
    /// The kernel's stack gets them.
    Pass,
}

/// A pod's interface.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct PodPort {
    /// The name of the node's end of the veth.
    pub interface: String,
    /// The pod, as `namespace/name`; its labels and addresses come from the snapshot.
    pub pod: String,
}

fn default_state() -> PathBuf {
    PathBuf::from("/run/blastdoor")
}

fn default_mtu() -> u32 {
    1500
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML, or has a field that is unknown or of the wrong kind.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, field and reason.
        source: Box<toml::de::Error>,
    },
    /// A value that cannot work.
    #[error("{path}:{line}: {field}: {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The line of the field, or of the nearest thing around it that is written down.
        line: usize,
        /// The field.
        field: String,
        /// What is wrong and what to write instead.
        reason: String,
    },
}

impl Config {
    /// Reads and checks a configuration file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        config.check().map_err(|(field, reason)| ConfigError::Value {
            path: path.to_owned(),
            line: place::line_of(&text, &field),
            field,
            reason,
        })?;
        Ok(config)
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.state.join("blastdoor.sock")
    }

    /// The directory for pins, on a bpffs of our own.
    pub fn pins(&self) -> PathBuf {
        self.state.join("bpf")
    }

    fn check(&self) -> Result<(), (String, String)> {
        let refuse = |field: &str, reason: String| Err((field.to_owned(), reason));
        if self.workers.cores.is_empty() {
            return refuse(
                "workers.cores",
                "no core is listed; list at least one, or leave the field out".into(),
            );
        }
        let known: Vec<usize> = core_affinity::get_core_ids()
            .unwrap_or_default()
            .into_iter()
            .map(|core| core.id)
            .collect();
        for (position, core) in self.workers.cores.iter().enumerate() {
            if !known.is_empty() && !known.contains(core) {
                return refuse(
                    "workers.cores",
                    format!("core {core} does not exist here; the cores are {known:?}"),
                );
            }
            if self.workers.cores.iter().take(position).any(|earlier| earlier == core) {
                return refuse(
                    "workers.cores",
                    format!("core {core} is listed twice; one worker per core"),
                );
            }
        }
        self.inspect.check()?;
        self.budgets.check().map_err(|(field, reason)| (field.to_owned(), reason))?;
        let fragments = self.budgets.fragments.saturating_mul(self.workers.cores.len());
        if fragments > self.umem.frames.get() as usize / 4 {
            return refuse(
                "budgets.fragments",
                format!(
                    "{} for each of {} workers is more than a quarter of umem.frames = {}",
                    self.budgets.fragments,
                    self.workers.cores.len(),
                    self.umem.frames
                ),
            );
        }
        for (position, port) in self.ports.iter().enumerate() {
            if !port
                .pod
                .split_once('/')
                .is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
            {
                return refuse(
                    &format!("port[{position}].pod"),
                    format!("`{}` is not `namespace/name`", port.pod),
                );
            }
            if self.ports.iter().take(position).any(|earlier| earlier.interface == port.interface) {
                return refuse(
                    &format!("port[{position}].interface"),
                    format!("{} is listed twice", port.interface),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn a_snapshot_directory_alone_is_a_configuration() {
        let config = load("snapshot = '/tmp/snapshot'").unwrap();
        assert_eq!(config.workers.cores.len(), 1);
        assert_eq!(config.socket(), Path::new("/run/blastdoor/blastdoor.sock"));
        assert_eq!(config.enforcement, Enforcement::Default);
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let error = load("snapshot = '/x'\n[workers]\nthreads = 3").unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("threads"), "{error}");
    }

    #[test]
    fn a_core_that_does_not_exist_is_refused() {
        let error = load("snapshot = '/x'\n[workers]\ncores = [4096]").unwrap_err().to_string();
        assert!(error.contains("workers.cores") && error.contains("4096"), "{error}");
    }

    #[test]
    fn a_pod_without_namespace_is_refused() {
        let error = load("snapshot = '/x'\n[[port]]\ninterface = 'v'\npod = 'xwing'")
            .unwrap_err()
            .to_string();
        assert!(error.contains("port[0].pod"), "{error}");
    }

    #[test]
    fn a_budget_or_a_limit_that_cannot_work_is_refused_with_file_line_and_field() {
        for (text, line, field) in [
            ("[inspect]\nin_flight = 17", 3, "inspect.in_flight"),
            ("[inspect.requests]\n\nline_bytes = 70000", 4, "inspect.requests.line_bytes"),
            ("[inspect]\nrequests.head_bytes = 70000", 2, "inspect.kept_bytes"),
            ("[budgets]\nconnections = 5000", 2, "budgets.connections_per_endpoint"),
            (
                "[umem]\nframes = 2048\n[budgets]\nicmp_errors_per_second = 1",
                4,
                "budgets.fragments",
            ),
            ("[[port]]\ninterface = 'v'\npod = 'xwing'", 4, "port[0].pod"),
        ] {
            let error = load(&format!("snapshot = '/x'\n{text}")).unwrap_err().to_string();
            assert!(error.contains(&format!("config.toml:{line}: {field}: ")), "{error}");
        }
        let error = load("snapshot = '/x'\n[inspect]\nallow = ['dots']").unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("`dots`"), "{error}");
    }

    #[test]
    fn the_documentation_shows_the_defaults() {
        let page = include_str!("../../docs/configuration.md");
        let (_, rest) = page.split_once("```toml\n").unwrap();
        let shown = load(rest.split_once("```").unwrap().0).unwrap();
        let bare = load("snapshot = '/etc/blastdoor/snapshot'").unwrap();
        let shown_limits = format!("{:?}", shown.inspect.limits());
        assert_eq!(shown_limits, format!("{:?}", bare.inspect.limits()));
        let numbers = |inspect: &Inspect| Inspect {
            requests: Sizes::default(),
            responses: Sizes::default(),
            ..inspect.clone()
        };
        assert_eq!(numbers(&shown.inspect), bare.inspect);
        assert_eq!(shown.budgets, bare.budgets);
        assert_eq!(format!("{:?}", shown.workers), format!("{:?}", bare.workers));
        assert_eq!((shown.state, shown.umem.frames), (bare.state, bare.umem.frames));
        assert_eq!(shown.enforcement, bare.enforcement);
        assert_eq!(shown.policy_audit_mode, bare.policy_audit_mode);
        assert_eq!(format!("{:?}", shown.dns), format!("{:?}", bare.dns));
    }

    #[test]
    fn our_end_of_the_host_veth_fits_an_interface_name() {
        let host = Host { interface: "a-fifteen-bytes".into(), addresses: vec![], mtu: 1500 };
        assert!(host.peer().len() <= 15);
    }
}
