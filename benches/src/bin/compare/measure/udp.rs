//! Datagrams of 60 bytes as fast as the generator can, counted where they arrive: in the server's own stack, which drops them there.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::program;

use crate::peer::Peer;
use crate::stage::{Stage, ours};
use crate::wire;

/// Counts the generator's datagrams and ends them.
const SINK: &str = "\
table ip sink {
    counter arrived { }
    chain in {
        type filter hook prerouting priority raw;
        udp dport 9 counter name arrived drop
    }
}
";

/// Datagrams per second that arrived.
pub(crate) fn arrived(stage: &Stage, peer: &dyn Peer, seconds: u64) -> Result<f64> {
    let (client, web) = (wire::pod("client"), wire::pod("web"));
    let nft = || wire::command(&web, stage.cores.ends, "nft");
    wire::feed(nft().args(["-f", "-"]), SINK)?;
    let sent = send(stage, &client, peer, seconds);
    let counted = program::run_well(nft().args(["-j", "list", "counter", "ip", "sink", "arrived"]));
    program::run_well(nft().args(["delete", "table", "ip", "sink"]))?;
    let (seconds, counted): (f64, Value) = (sent?, serde_json::from_str(&counted?)?);
    let entries = counted.pointer("/nftables").and_then(Value::as_array);
    let packets = entries.into_iter().flatten().find_map(|entry| entry.pointer("/counter/packets"));
    let packets = packets.and_then(Value::as_f64).with_context(|| format!("nft: {counted}"))?;
    ensure!(packets > 0.0, "no datagram arrived");
    Ok(packets / seconds)
}

/// Sends; returns the seconds it took.
fn send(stage: &Stage, client: &str, peer: &dyn Peer, seconds: u64) -> Result<f64> {
    let (next, source) = wire::next_station(client, peer.address())?;
    let own = wire::station(client, peer.interface())?;
    let mut command = wire::command(client, stage.cores.ends, &ours("pktgen")?);
    command.args(["send", "--interface", peer.interface()]);
    command.args(["--source-mac", &own, "--destination-mac", &next]);
    command.args(["--source", &source, "--destination", peer.address()]);
    // A thousand connections, as the middle sees it.
    command.args([
        "--src-port",
        "10000-10999",
        "--size",
        "60",
        "--seconds",
        &seconds.to_string(),
        "-o",
        "json",
    ]);
    let said: Value = serde_json::from_str(&program::run_well(&mut command)?).context("pktgen")?;
    said.pointer("/tx/seconds").and_then(Value::as_f64).with_context(|| format!("pktgen: {said}"))
}
