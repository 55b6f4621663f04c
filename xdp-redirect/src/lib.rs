//! The kernel hands over the frame: loads, attaches, pins and detaches the XDP program of one port.
//!
//! ```text
//!  pod ── veth ──[XDP: redirect]──> sockets[queue] ──> AF_XDP socket of the port's home worker
//!                      └─ no socket: fallback (pod ports: DROP)
//! ```
//!
//! Each port has its own program and its own XSKMAP, so a slot can never hold a socket of another device. The bpf_link is pinned
//! in a bpffs of ours: when the daemon dies, the program stays, its sockets are gone, and the fallback closes the door. The next
//! daemon finds the pin, puts its own program behind the same link in one atomic step and fills its own map.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv6Addr},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData, XskMap},
    programs::{
        Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        xdp::{XdpLink, XdpLinkId},
    },
};

/// The program, compiled from `redirect.bpf.c` by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redirect.bpf.o"));

thread_local! {
    /// One for all ports: a new one reads the types of the kernel (5 MB), which took longer than all the rest of a port. The
    /// program looks into nothing of the kernel's, so it needs none of them.
    static LOADER: RefCell<EbpfLoader<'static>> = {
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        RefCell::new(loader)
    };
}

/// Queues that a port can have (`sockets` in `redirect.bpf.c`).
pub const MAX_QUEUES: u32 = 64;

/// What a port is for, and so which frames its program takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A pod's interface or the host port: every frame is taken; without a socket it is dropped.
    Pod,
    /// The node's own link: only frames to addresses given to [`Program::take_address`] are taken.
    Uplink {
        /// What happens to such a frame when there is no socket.
        fallback: Fallback,
    },
}

/// The program's answer when the queue has no socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// `XDP_DROP`: fail closed.
    Drop,
    /// `XDP_PASS`: give the frame to the kernel's own stack.
    Pass,
}

/// How the kernel runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before a socket buffer exists.
    Native,
    /// In the generic receive path: works everywhere, slower. Reported wherever the port is shown.
    Generic,
}

impl Mode {
    /// The word shown to users.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// Why a program could not be put on an interface.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The kernel refused the object: too old a kernel, or CAP_BPF/CAP_NET_ADMIN missing.
    #[error(
        "cannot load the XDP program for {interface}: {source}; it needs CAP_BPF and CAP_NET_ADMIN (run as root) and Linux 5.18 or later"
    )]
    Load {
        /// The interface's name.
        interface: String,
        /// What the kernel or the verifier said.
        source: Box<aya::EbpfError>,
    },
    /// The embedded object lacks something that this crate expects in it.
    #[error("the embedded XDP object has no {0}")]
    Object(&'static str),
    /// Neither native nor generic mode was accepted.
    #[error(
        "cannot attach XDP to {interface}: {source}; another XDP program may hold it (`ip link show dev {interface}`)"
    )]
    Attach {
        /// The interface's name.
        interface: String,
        /// The error of the generic attempt, which came last.
        source: Box<aya::programs::ProgramError>,
    },
    /// The link could not be pinned, so a crash would not fail closed.
    #[error("cannot pin the XDP link of {interface} at {path}: {reason}; is it on a bpffs?")]
    Pin {
        /// The interface's name.
        interface: String,
        /// The pin's path.
        path: PathBuf,
        /// What the kernel said.
        reason: String,
    },
    /// A map update was refused.
    #[error("cannot update the map {map} of {interface}: {source}")]
    Map {
        /// The interface's name.
        interface: String,
        /// The map's name in `redirect.bpf.c`.
        map: &'static str,
        /// What the kernel said.
        source: Box<aya::maps::MapError>,
    },
}

/// The program of one port. Dropping a pinned one leaves its link in place, so frames meet the fallback, and
/// [`Program::detach`] takes it off the interface; one that is not pinned leaves with this value or with the process.
pub struct Program {
    interface: String,
    /// Where the link is pinned, if it is to outlive the process.
    pin: Option<PathBuf>,
    mode: Mode,
    sockets: XskMap<MapData>,
    addresses: HashMap<MapData, [u8; 16], u8>,
    /// Keeps the program, its maps and the link alive.
    _object: Ebpf,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("interface", &self.interface)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Program {
    /// Loads a program for the interface and puts it there, native mode first, generic as fallback; adopts the pinned link of an
    /// earlier daemon if there is one. `pins` is a directory on a bpffs ([`mount_bpffs`]).
    pub fn attach(
        interface: &str,
        index: u32,
        role: Role,
        pins: &Path,
    ) -> Result<Self, ProgramError> {
        Self::load(interface, role, |program| {
            let (mode, pin) = place(program, interface, index, pins)?;
            Ok((mode, Some(pin)))
        })
    }

    /// Like [`Program::attach`], but without a pin: for a tool whose end must give the interface back to the kernel's own stack.
    ///
    /// # Errors
    /// The program cannot be loaded, or the interface takes it in neither mode.
    pub fn attach_until_dropped(
        interface: &str,
        index: u32,
        role: Role,
    ) -> Result<Self, ProgramError> {
        Self::load(interface, role, |program| {
            // The link stays with the program and goes when it goes.
            link(program, interface, index).map(|(mode, _link)| (mode, None))
        })
    }

    /// Loads a program for the interface, and has `place` put it there.
    fn load(
        interface: &str,
        role: Role,
        place: impl FnOnce(&mut Xdp) -> Result<(Mode, Option<PathBuf>), ProgramError>,
    ) -> Result<Self, ProgramError> {
        let (takes_everything, fallback) = match role {
            Role::Pod => (&1u32, Fallback::Drop),
            Role::Uplink { fallback } => (&0u32, fallback),
        };
        let fallback = match fallback {
            Fallback::Drop => &1u32,
            Fallback::Pass => &2u32,
        };
        let object = LOADER.with_borrow_mut(|loader| {
            loader
                .override_global("takes_everything", takes_everything, true)
                .override_global("fallback", fallback, true)
                .load(OBJECT)
        });
        let mut object = object.map_err(|source| ProgramError::Load {
            interface: interface.to_owned(),
            source: Box::new(source),
        })?;
        let sockets = object.take_map("sockets").ok_or(ProgramError::Object("map `sockets`"))?;
        let addresses =
            object.take_map("addresses").ok_or(ProgramError::Object("map `addresses`"))?;
        let map_error = |map| {
            let interface = interface.to_owned();
            move |source| ProgramError::Map { interface, map, source: Box::new(source) }
        };
        let sockets = XskMap::try_from(sockets).map_err(map_error("sockets"))?;
        let addresses = HashMap::try_from(addresses).map_err(map_error("addresses"))?;
        let program: &mut Xdp = object
            .program_mut("redirect")
            .and_then(|program| program.try_into().ok())
            .ok_or(ProgramError::Object("program `redirect`"))?;
        program.load().map_err(|source| ProgramError::Load {
            interface: interface.to_owned(),
            source: Box::new(source.into()),
        })?;

        let (mode, pin) = place(program)?;
        Ok(Self { interface: interface.to_owned(), pin, mode, sockets, addresses, _object: object })
    }

    /// How the kernel runs it.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Gives frames of receive queue `queue` to `socket`, which must be bound to this very interface and queue.
    pub fn steer(&mut self, queue: u32, socket: &impl AsRawFd) -> Result<(), ProgramError> {
        self.sockets
            .set(queue, socket.as_raw_fd(), 0)
            .map_err(|source| self.map_error("sockets", source))
    }

    /// Takes frames to `address` off the uplink from now on.
    pub fn take_address(&mut self, address: IpAddr) -> Result<(), ProgramError> {
        self.addresses
            .insert(key(address), 1, 0)
            .map_err(|source| self.map_error("addresses", source))
    }

    /// Leaves frames to `address` to the kernel from now on.
    pub fn leave_address(&mut self, address: IpAddr) -> Result<(), ProgramError> {
        self.addresses.remove(&key(address)).map_err(|source| self.map_error("addresses", source))
    }

    /// Takes the program off the interface and removes its pin: from now on the kernel's own stack sees the frames.
    pub fn detach(self) -> io::Result<()> {
        self.pin.as_deref().map_or(Ok(()), std::fs::remove_file)
    }

    fn map_error(&self, map: &'static str, source: aya::maps::MapError) -> ProgramError {
        ProgramError::Map { interface: self.interface.clone(), map, source: Box::new(source) }
    }
}

/// Puts `program` on the interface: behind the pinned link of an earlier daemon, else behind a new link, which is pinned.
fn place(
    program: &mut Xdp,
    interface: &str,
    index: u32,
    pins: &Path,
) -> Result<(Mode, PathBuf), ProgramError> {
    let pin_path = |mode: Mode| pins.join(format!("{index}-{interface}-{}", mode.as_str()));
    for mode in [Mode::Native, Mode::Generic] {
        let path = pin_path(mode);
        if !path.exists() {
            continue;
        }
        if adopt(program, &path) {
            return Ok((mode, path));
        }
        // The pin of a device that is gone: its link is dead and its name is free again.
        std::fs::remove_file(&path).map_err(|error| pin_error(interface, &path, &error))?;
    }

    let (mode, id) = link(program, interface, index)?;
    let path = pin_path(mode);
    let link = program.take_link(id).map_err(|source| attach_error(interface, source))?;
    let link = FdLink::try_from(link).map_err(|error| pin_error(interface, &path, &error))?;
    link.pin(&path).map_err(|error| pin_error(interface, &path, &error))?;
    Ok((mode, path))
}

/// Puts `program` on the interface, in native mode if the driver can, else in generic mode.
fn link(program: &mut Xdp, interface: &str, index: u32) -> Result<(Mode, XdpLinkId), ProgramError> {
    if let Ok(id) = program.attach_to_if_index(index, XdpMode::Driver) {
        return Ok((Mode::Native, id));
    }
    match program.attach_to_if_index(index, XdpMode::Skb) {
        Ok(id) => Ok((Mode::Generic, id)),
        Err(source) => Err(attach_error(interface, source)),
    }
}

fn attach_error(interface: &str, source: aya::programs::ProgramError) -> ProgramError {
    ProgramError::Attach { interface: interface.to_owned(), source: Box::new(source) }
}

/// Replaces the program behind a pinned link; false if the link is dead.
fn adopt(program: &mut Xdp, pin: &Path) -> bool {
    PinnedLink::from_pin(pin)
        .ok()
        .and_then(|pinned| XdpLink::try_from(FdLink::from(pinned)).ok())
        .is_some_and(|link| program.attach_to_link(link).is_ok())
}

fn pin_error(interface: &str, path: &Path, reason: &dyn std::fmt::Display) -> ProgramError {
    ProgramError::Pin {
        interface: interface.to_owned(),
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => Ipv6Addr::octets(&address),
    }
}

/// Makes sure that `directory` exists and is a bpffs of its own. `/sys/fs/bpf` is not always mounted, and `ip netns exec`
/// remounts `/sys`; a directory of ours is there for every daemon that comes after.
pub fn mount_bpffs(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let kind = nix::sys::statfs::statfs(directory)?.filesystem_type();
    if kind == nix::sys::statfs::BPF_FS_MAGIC {
        return Ok(());
    }
    nix::mount::mount(
        Some("bpf"),
        directory,
        Some("bpf"),
        nix::mount::MsFlags::MS_NOSUID
            | nix::mount::MsFlags::MS_NODEV
            | nix::mount::MsFlags::MS_NOEXEC,
        Some("mode=0700"),
    )?;
    Ok(())
}

/// Takes every program whose pin lies in `directory` off its interface (`blastdoor release`, `lab down`).
pub fn release_all(directory: &Path) -> io::Result<usize> {
    let mut released = 0;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        // The kernel's own files in every bpffs (maps.debug, progs.debug) cannot be removed.
        if path.extension().is_some_and(|extension| extension == "debug") {
            continue;
        }
        std::fs::remove_file(path)?;
        released += 1;
    }
    Ok(released)
}
