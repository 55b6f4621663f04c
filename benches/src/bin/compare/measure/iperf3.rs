//! iperf3: one TCP stream, bits that arrived.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::program;

use crate::peer::Peer;
use crate::stage::Stage;
use crate::wire;

/// Gbit/s from the pod `client` to the server at `address`.
pub(crate) fn run(stage: &Stage, address: &str, seconds: u64) -> Result<f64> {
    let mut command = wire::command(&wire::pod("client"), stage.cores.ends, "iperf3");
    command.args(["-J", "-c", address, "-t", &seconds.to_string(), "--connect-timeout", "3000"]);
    let text = program::run_well(&mut command)?;
    let said: Value = serde_json::from_str(&text).context("iperf3 -J")?;
    let rate = said.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64);
    Ok(rate.with_context(|| format!("no rate in {text}"))? / 1e9)
}

/// The same with both ends' MTU at 1500.
pub(crate) fn at_1500(stage: &Stage, peer: &dyn Peer, seconds: u64) -> Result<f64> {
    let ends = [("client", peer.interface().to_owned()), ("web", server_end(peer))];
    let mut before = Vec::new();
    for (pod, interface) in &ends {
        before.push(wire::mtu(&wire::pod(pod), interface)?);
    }
    set(&ends, &[1500, 1500])?;
    let rate = run(stage, peer.address(), seconds);
    set(&ends, &before)?;
    rate
}

/// The server's interface on the wire of this peer.
fn server_end(peer: &dyn Peer) -> String {
    peer.interface()
        .strip_prefix("c-")
        .map_or_else(|| "eth0".to_owned(), |peer| format!("s-{peer}"))
}

fn set(ends: &[(&str, String)], mtus: &[u64]) -> Result<()> {
    for ((pod, interface), mtu) in ends.iter().zip(mtus) {
        wire::within(&wire::pod(pod), &format!("link set {interface} mtu {mtu}\n"))?;
    }
    Ok(())
}
