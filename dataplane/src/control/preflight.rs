//! What the daemon needs before it can do anything, each missing thing named with what to do about it.

use std::io;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// A capability of Linux (capabilities(7)) and what we need it for.
const CAPABILITIES: &[(u32, &str, &str)] = &[
    (12, "CAP_NET_ADMIN", "attach XDP programs and set up interfaces"),
    (13, "CAP_NET_RAW", "open AF_XDP sockets"),
    (14, "CAP_IPC_LOCK", "lock the UMEM"),
    (21, "CAP_SYS_ADMIN", "mount a bpffs for the pins"),
    (39, "CAP_BPF", "load XDP programs"),
];

/// Something that the daemon cannot do without.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Missing {
    /// Privileges.
    #[error("missing {list}; run as root, or grant these capabilities")]
    Capabilities {
        /// Each with what it is needed for.
        list: String,
    },
    /// The kernel has no AF_XDP.
    #[error(
        "this kernel has no AF_XDP sockets ({reason}); it needs Linux 5.18 or later built with CONFIG_XDP_SOCKETS"
    )]
    AfXdp {
        /// What it said.
        reason: String,
    },
}

/// Checks privileges and the kernel.
pub fn check() -> Result<(), Missing> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    check_capabilities(&status)?;
    check_af_xdp()
}

fn check_capabilities(status: &str) -> Result<(), Missing> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let missing: Vec<String> = CAPABILITIES
        .iter()
        .filter(|(bit, _, _)| effective & (1 << bit) == 0)
        .map(|(_, name, purpose)| format!("{name} (to {purpose})"))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Missing::Capabilities { list: missing.join(", ") })
    }
}

fn check_af_xdp() -> Result<(), Missing> {
    // nix knows no AF_XDP address family by name in every version; the number is ABI (include/linux/socket.h).
    let Some(family) = AddressFamily::from_i32(libc::AF_XDP) else { return Ok(()) };
    match socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, None) {
        Ok(_socket) => Ok(()),
        Err(nix::errno::Errno::EAFNOSUPPORT) => Err(Missing::AfXdp {
            reason: io::Error::from(nix::errno::Errno::EAFNOSUPPORT).to_string(),
        }),
        // Anything else is reported with its own message when the first port is bound.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_capability_is_named() {
        let error =
            check_capabilities("Name:\tx\nCapEff:\t0000000000001000\n").unwrap_err().to_string();
        assert!(!error.contains("CAP_NET_ADMIN"), "{error}");
        for name in ["CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_SYS_ADMIN", "CAP_BPF"] {
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn all_capabilities_are_enough() {
        assert_eq!(check_capabilities("CapEff:\t000001ffffffffff\n"), Ok(()));
    }
}
