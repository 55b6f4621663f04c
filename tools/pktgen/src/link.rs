//! One interface: its name, in this network namespace or a named one, arrives; its AF_XDP socket with memory of its own leaves.
//!
//! A link that receives has an XDP program that takes every frame of the interface; it goes when the link goes, and with the
//! process at the latest. A link that only sends has none, so that nothing else on the interface changes.

use std::{
    fmt,
    fs::File,
    io,
    net::IpAddr,
    num::NonZeroU32,
    os::{fd::RawFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use dataplane::{
    control::netlink::{Netlink, NetlinkError},
    umem::{
        Pool, Port,
        kernel::{CopyMode, Missed, Sockets, Umem, UmemError},
        pool,
    },
};
use nix::sched::{CloneFlags, setns};
use parser::ethernet::MacAddress;
use serde::{Deserialize, Serialize};
use xdp_redirect::{Mode, Program, ProgramError, Role};

/// Chunks of a link: a full transmit ring, a full fill ring, a full receive ring, and as many again under way.
const FRAMES: NonZeroU32 = NonZeroU32::MIN.saturating_add(8191);

/// Where iproute2 keeps named namespaces.
const NAMESPACES: &str = "/run/netns";

/// An interface, as `veth0` or `namespace/veth0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    namespace: Option<String>,
    interface: String,
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, interface) =
            text.split_once('/').map_or((None, text), |(space, name)| (Some(space), name));
        let is_name = |name: &str| !name.is_empty() && !name.contains('/') && name != "..";
        if !is_name(interface) || !namespace.is_none_or(is_name) {
            return Err("no interface: write veth0, or namespace/veth0");
        }
        Ok(Self { namespace: namespace.map(str::to_owned), interface: interface.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.interface),
            None => f.write_str(&self.interface),
        }
    }
}

/// Why an interface could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The namespace could not be entered.
    #[error("cannot enter the network namespace at {path}: {source}; `ip netns` lists them")]
    Namespace {
        /// Its file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No interface of this name is there.
    #[error("there is no interface {0}; `ip link` lists them")]
    NoInterface(Place),
    /// The kernel would not tell about it.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The memory or the socket could not be had.
    #[error(transparent)]
    Umem(#[from] UmemError),
    /// The XDP program could not be put on it.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Its counters could not be read.
    #[error("cannot read the counters of {place}: {source}")]
    Counters {
        /// The interface.
        place: Place,
        /// What the kernel said.
        source: io::Error,
    },
}

impl LinkError {
    /// Whether a privilege or kernel feature is missing, rather than something else having failed.
    pub fn is_missing(&self) -> bool {
        let source = match self {
            Self::Umem(UmemError::Register { source, .. } | UmemError::Bind { source, .. })
            | Self::Namespace { source, .. } => source,
            Self::Program(ProgramError::Load { .. }) => return true,
            Self::Umem(_) | Self::Program(_) | Self::NoInterface(_) => return false,
            Self::Netlink(_) | Self::Counters { .. } => return false,
        };
        const EAFNOSUPPORT: i32 = 97;
        source.kind() == io::ErrorKind::PermissionDenied
            || source.raw_os_error() == Some(EAFNOSUPPORT)
    }
}

/// The kernel's own counts of an interface (`/proc/net/dev`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets received, before any XDP program.
    pub rx_packets: u64,
    /// Received packets that the interface dropped.
    pub rx_dropped: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets to be sent that the interface dropped.
    pub tx_dropped: u64,
}

/// An open interface.
#[derive(Debug)]
pub struct Link {
    /// Which one.
    pub place: Place,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its largest IP packet.
    pub mtu: u32,
    /// Whether the kernel copies packets.
    pub copy: CopyMode,
    /// How the XDP program runs, if the link receives.
    pub xdp: Option<Mode>,
    /// The addresses that the kernel has in this namespace.
    pub addresses: Vec<IpAddr>,
    /// The socket.
    pub port: Sockets,
    /// The free frames.
    pub pool: Pool,
    counters: File,
    _program: Option<Program>,
}

impl Link {
    /// Opens one queue of an interface, to send and, if `receives`, to receive all its frames.
    ///
    /// # Errors
    /// The namespace or the interface is missing, or a privilege or kernel feature.
    pub fn open(place: &Place, queue: u32, receives: bool) -> Result<Self, LinkError> {
        within(place, || {
            let mut netlink = Netlink::open()?;
            let interface = netlink.interface(&place.interface).map_err(|error| {
                if error.is_missing() {
                    LinkError::NoInterface(place.clone())
                } else {
                    error.into()
                }
            })?;
            let addresses = netlink.addresses()?;
            // This file follows the namespace that it was opened in.
            let counters = File::open("/proc/thread-self/net/dev")
                .map_err(|source| LinkError::Counters { place: place.clone(), source })?;
            let (mut umem, frames) = Umem::register(FRAMES)?;
            let mut pool = Pool::new(pool::reserve(frames));
            let (mut port, copy) = umem.bind(&place.interface, queue, receives)?;
            let mut program = None;
            if receives {
                port.recycle(&mut pool);
                let mut attached =
                    Program::attach_until_dropped(&place.interface, interface.index, Role::Pod)?;
                attached.steer(queue, &port.fd())?;
                program = Some(attached);
            }
            Ok(Self {
                place: place.clone(),
                mac: interface.mac,
                mtu: interface.mtu,
                copy,
                xdp: program.as_ref().map(Program::mode),
                addresses,
                port,
                pool,
                counters,
                _program: program,
            })
        })
    }

    /// The interface's counts now.
    ///
    /// # Errors
    /// The kernel would not tell, or the interface is gone.
    pub fn counters(&self) -> Result<Counters, LinkError> {
        let failed = |source| LinkError::Counters { place: self.place.clone(), source };
        let mut text = vec![0; 64 * 1024];
        let mut len = 0;
        loop {
            let room = text.get_mut(len..).unwrap_or_default();
            match self.counters.read_at(room, len as u64).map_err(failed)? {
                0 => break,
                read => len += read,
            }
        }
        let text = String::from_utf8_lossy(text.get(..len).unwrap_or_default()).into_owned();
        counters_of(&text, &self.place.interface)
            .ok_or_else(|| LinkError::NoInterface(self.place.clone()))
    }

    /// What to wait on for packets.
    pub fn fd(&self) -> RawFd {
        self.port.fd()
    }

    /// Packets that the kernel could not give to the socket.
    ///
    /// # Errors
    /// The kernel would not tell.
    pub fn missed(&self) -> Result<Missed, LinkError> {
        self.port
            .statistics()
            .map_err(|source| LinkError::Counters { place: self.place.clone(), source })
    }
}

/// Packets that were lost at this very machine and not on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnLosses {
    /// The receiver was too slow: its ring was full, or it had no free frame.
    pub socket: u64,
    /// The interface dropped them, beyond those that its socket did not take.
    pub interface: u64,
    /// They were larger than a frame of the receiver's memory.
    pub oversized: u64,
}

impl OwnLosses {
    /// All of them.
    pub fn total(self) -> u64 {
        self.socket + self.interface + self.oversized
    }
}

/// A link's counts at the start of a run, to tell what was lost during it.
#[derive(Clone, Copy, Debug)]
pub struct Baseline {
    missed: Missed,
    counters: Counters,
}

impl Baseline {
    /// The counts now.
    ///
    /// # Errors
    /// The kernel would not tell.
    pub fn of(link: &Link) -> Result<Self, LinkError> {
        Ok(Self { missed: link.missed()?, counters: link.counters()? })
    }

    /// What was lost since then, with `oversized` packets that the receiver could not take.
    ///
    /// # Errors
    /// The kernel would not tell.
    pub fn losses(&self, link: &Link, oversized: u64) -> Result<OwnLosses, LinkError> {
        let now = Self::of(link)?;
        // A veth counts what its socket did not take as dropped too: each packet is to be counted once.
        let socket = now.missed.packets().saturating_sub(self.missed.packets());
        let dropped = now.counters.rx_dropped.saturating_sub(self.counters.rx_dropped);
        Ok(OwnLosses { socket, interface: dropped.saturating_sub(socket), oversized })
    }
}

/// The line of `interface` in the text of `/proc/net/dev`.
fn counters_of(text: &str, interface: &str) -> Option<Counters> {
    let (_, counts) = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == interface)?;
    let counts: Vec<u64> =
        counts.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [_, rx_packets, _, rx_dropped, _, _, _, _, _, tx_packets, _, tx_dropped, ..] = *counts
    else {
        return None;
    };
    Some(Counters { rx_packets, rx_dropped, tx_packets, tx_dropped })
}

/// Does `work` in the namespace of `place`, and comes back.
fn within<T>(place: &Place, work: impl FnOnce() -> Result<T, LinkError>) -> Result<T, LinkError> {
    let Some(namespace) = &place.namespace else { return work() };
    let open = |path: &Path| {
        File::open(path).map_err(|source| LinkError::Namespace { path: path.to_owned(), source })
    };
    let enter = |file: File, path: &Path| {
        setns(file, CloneFlags::CLONE_NEWNET)
            .map_err(|source| LinkError::Namespace { path: path.to_owned(), source: source.into() })
    };
    let own = Path::new("/proc/thread-self/ns/net");
    let home = open(own)?;
    let path = Path::new(NAMESPACES).join(namespace);
    enter(open(&path)?, &path)?;
    let outcome = work();
    enter(home, own)?;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_may_name_its_namespace() {
        for text in ["veth0", "a/veth0"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for text in ["", "/veth0", "a/", "a/b/c", "../veth0"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[test]
    fn counters_are_those_of_the_whole_name() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
                    veth10: 0 20 0 21 0 0 0 0 0 22 0 23 0 0 0 0\n";
        let counters = Counters { rx_packets: 20, rx_dropped: 21, tx_packets: 22, tx_dropped: 23 };
        assert_eq!(counters_of(text, "veth10"), Some(counters));
        assert_eq!(counters_of(text, "veth1"), None);
        assert_eq!(counters_of(text, ""), None);
    }
}
