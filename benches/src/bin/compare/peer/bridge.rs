//! The kernel bridge, alone or with nftables' connection tracking in front of every packet: no requests judged; what L3/L4 users have.
//!
//! There is no second core in it: the kernel does its work on the core that sends.

use anyhow::Result;
use tests::program;

use super::Peer;
use super::proxy::version;
use crate::wire;

/// The rules of the second kind: what is known passes, TCP to the server's ports and the generator's datagrams may begin.
const RULES: &str = "\
table inet guard {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        tcp dport { 80, 5201 } ct state new accept
        udp dport 9 accept
    }
}
";

/// A bridge.
#[derive(Debug)]
pub(crate) struct Bridge {
    name: &'static str,
    address: String,
    interface: String,
}

impl Bridge {
    /// Without rules.
    pub(crate) fn plain() -> Result<Self> {
        Self::lay("bridge", "kernel bridge", 1)
    }

    /// With rules.
    pub(crate) fn with_rules() -> Result<Self> {
        let bridge = Self::lay("nft", "bridge + nftables", 2)?;
        // Not every kernel has connection tracking for bridges of its own; what bridges hand to IP's hooks, all of them track.
        let hand_over = "echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables";
        let mut shell = std::process::Command::new("ip");
        shell.args(["netns", "exec", &wire::middle("nft"), "sh", "-c", hand_over]);
        program::run_well(&mut shell)?;
        let mut nft = std::process::Command::new("ip");
        nft.args(["netns", "exec", &wire::middle("nft"), "nft", "-f", "-"]);
        wire::feed(&mut nft, RULES)?;
        Ok(bridge)
    }

    fn lay(peer: &str, name: &'static str, number: u8) -> Result<Self> {
        wire::lay(peer)?;
        let middle = wire::middle(peer);
        wire::within(
            &middle,
            "link add br0 type bridge\nlink set br0 up\nlink set in master br0\nlink set out master br0\n",
        )?;
        let (interface, address) = (format!("c-{peer}"), format!("10.81.{number}.2"));
        wire::address(&wire::pod("client"), &interface, &format!("10.81.{number}.1/24"))?;
        wire::address(&wire::pod("web"), &format!("s-{peer}"), &format!("{address}/24"))?;
        Ok(Self { name, address, interface })
    }
}

impl Peer for Bridge {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> String {
        if self.name == "kernel bridge" {
            "the kernel's own; one core in all".to_owned()
        } else {
            format!("{}; one core in all", version("nft", "--version"))
        }
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn interface(&self) -> &str {
        &self.interface
    }

    fn enforces_requests(&self) -> bool {
        false
    }

    fn carries_packets(&self) -> bool {
        true
    }
}
