//! dpdk-testpmd with net_af_xdp in io mode, the best-known AF_XDP forwarder: no policy, frames go from one port to the other unread.
//!
//! It polls without a pause, so outside of its turn it is stopped.

use anyhow::Result;
use tests::program;

use super::Peer;
use crate::{process::Process, stage::Stage, wire};

pub(crate) const NAME: &str = "testpmd";

/// dpdk-testpmd.
#[derive(Debug)]
pub(crate) struct Testpmd {
    address: String,
    interface: String,
    process: Process,
}

impl Testpmd {
    /// Starts it, and stops it until its turn.
    pub(crate) fn start(stage: &Stage) -> Result<Self> {
        wire::lay(NAME)?;
        let (interface, address) = (format!("c-{NAME}"), "10.81.3.2".to_owned());
        wire::address(&wire::pod("client"), &interface, "10.81.3.1/24")?;
        wire::address(&wire::pod("web"), &format!("s-{NAME}"), &format!("{address}/24"))?;
        // Nothing on the way completes a checksum that was left to a card.
        for (pod, end) in [("client", &interface), ("web", &format!("s-{NAME}"))] {
            let mut ethtool = wire::command(&wire::pod(pod), stage.cores.ends, "ethtool");
            program::run_well(ethtool.args(["-K", end, "tx", "off"]))?;
        }
        let cores = format!("{},{}", stage.cores.ends, stage.cores.middle);
        let mut command = std::process::Command::new("ip");
        command.args(["netns", "exec", &wire::middle(NAME), "dpdk-testpmd", "-l", &cores]);
        command.args(["--main-lcore", &stage.cores.ends.to_string(), "--no-pci", "--no-huge"]);
        command.args(["-m", "512", "--file-prefix", "blastdoor-compare"]);
        command.args(["--vdev", "net_af_xdp0,iface=in", "--vdev", "net_af_xdp1,iface=out", "--"]);
        command.args(["--forward-mode=io", "--auto-start", "--total-num-mbufs=16384"]);
        // With a period it does not read commands, whose end would be its own.
        command.args(["--stats-period", "3600"]).stdin(std::process::Stdio::null());
        let mut process = Process::start(NAME, stage.directory(), &mut command)?;
        process.wait_until("testpmd forwarding", |_| {
            Ok(stage.ask(&address, crate::backend::PUBLIC)?.status() == Some(200))
        })?;
        process.signal("STOP")?;
        Ok(Self { address, interface, process })
    }
}

impl Peer for Testpmd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> String {
        let mut query = std::process::Command::new("dpkg-query");
        let version = program::run_well(query.args(["-W", "-f", "${Version}", "dpdk-dev"]));
        format!("DPDK {}, net_af_xdp, io mode", version.unwrap_or_default().trim())
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

    fn enter(&self) -> Result<()> {
        self.process.signal("CONT")
    }

    fn leave(&self) -> Result<()> {
        self.process.signal("STOP")
    }
}
