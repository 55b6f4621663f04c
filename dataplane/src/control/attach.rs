//! Taking over an interface: its XDP program, one socket for each worker, and its place in the world.

use std::{collections::HashSet, net::IpAddr, path::Path, sync::Arc};

use xdp_redirect::{Program, ProgramError, Role};

use super::netlink::{Interface, Netlink, NetlinkError};
use crate::{
    umem::kernel::{CopyMode, Sockets, Umem, UmemError},
    worker::WorkerId,
    world::{Neighbour, PortKind},
};

/// Why an interface could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// It is not there, or the kernel would not tell.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The XDP program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The sockets.
    #[error(transparent)]
    Umem(#[from] UmemError),
}

/// An interface that we have taken over. Its sockets belong to the workers.
#[derive(Debug)]
pub struct Attached {
    /// The interface.
    pub interface: Interface,
    /// What it leads to.
    pub kind: PortKind,
    /// The pod, as `namespace/name`.
    pub pod: Option<String>,
    /// The worker that receives from it.
    pub home: WorkerId,
    /// The kernel's side.
    pub program: Program,
    /// Whether the kernel copies.
    pub copy: CopyMode,
    /// Workers that have a socket to send on it.
    pub tx_queues: u32,
    /// The other end.
    pub neighbour: Arc<Neighbour>,
    /// The uplink's addresses that the program takes now.
    pub taken: HashSet<IpAddr>,
}

/// Takes over `interface`: returns it with the socket of each worker that has one. The home worker's socket is bound to queue 0,
/// where frames are received; the other workers send on the queues above, as far as the interface has them (asymmetric veth).
pub fn attach(
    netlink: &mut Netlink,
    umem: &mut Umem,
    pins: &Path,
    name: &str,
    (kind, role, pod): (PortKind, Role, Option<String>),
    (home, workers): (WorkerId, u16),
) -> Result<(Attached, Vec<(WorkerId, Sockets)>), AttachError> {
    let interface = netlink.interface(name)?;
    let mut program = Program::attach(name, interface.index, role, pins)?;
    let mut sockets: Vec<(WorkerId, Sockets)> = Vec::new();
    let mut copy = CopyMode::Copy;
    for offset in 0..workers {
        let queue = u32::from(offset);
        if queue >= interface.tx_queues.max(1) {
            break;
        }
        let worker = WorkerId((home.0 + offset) % workers);
        let (socket, mode) = match umem.bind(name, queue, offset == 0) {
            Ok(bound) => bound,
            // The interface was made with this queue but does not use it (`ethtool -l`): workers without a socket of their own
            // hand frames to the home worker.
            Err(_unused) if offset > 0 => break,
            Err(error) => return Err(error.into()),
        };
        copy = mode;
        sockets.push((worker, socket));
    }
    if let Some((_, socket)) = sockets.first() {
        program.steer(0, &socket.fd())?;
    }
    let attached = Attached {
        tx_queues: u32::try_from(sockets.len()).unwrap_or(u32::MAX),
        interface,
        kind,
        pod,
        home,
        program,
        copy,
        neighbour: Arc::new(Neighbour::default()),
        taken: HashSet::new(),
    };
    Ok((attached, sockets))
}
