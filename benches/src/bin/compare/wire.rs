//! Wires: namespaces and veths beside the lab's own, for the peers.
//!
//! Everything is made by `ip -batch` and named after the lab (`bd-compare-…`), so that `blastdoor lab down` finds and removes what a
//! run that was killed left behind.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tests::program;

/// The lab's name; its namespaces are called `bd-compare-…`.
pub(crate) const LAB: &str = "compare";

/// The namespace of a pod of the lab.
pub(crate) fn pod(name: &str) -> String {
    format!("bd-{LAB}-default-{name}")
}

/// The namespace a peer runs in.
pub(crate) fn middle(peer: &str) -> String {
    format!("bd-{LAB}-peer-{peer}")
}

/// A command in a namespace, on one core.
pub(crate) fn command(namespace: &str, core: usize, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "taskset", "-c", &core.to_string(), program]);
    command.stdin(Stdio::null());
    command
}

/// Makes the namespace of a peer, with a wire to each pod: `client`'s end is called `c-PEER`, the peer's end `in`; `web`'s end
/// `s-PEER`, the peer's `out`.
pub(crate) fn lay(peer: &str) -> Result<()> {
    let (middle, client, web) = (middle(peer), pod("client"), pod("web"));
    batch(&format!(
        "netns add {middle}\n\
         link add in netns {middle} type veth peer name c-{peer} netns {client}\n\
         link add out netns {middle} type veth peer name s-{peer} netns {web}\n"
    ))?;
    within(&middle, "link set lo up\nlink set in up\nlink set out up\n")?;
    within(&client, &format!("link set c-{peer} up\n"))?;
    within(&web, &format!("link set s-{peer} up\n"))
}

/// Gives an interface in a namespace an address.
pub(crate) fn address(namespace: &str, interface: &str, address: &str) -> Result<()> {
    within(namespace, &format!("address add {address} dev {interface}\n"))
}

/// Runs `ip` commands, one a line.
pub(crate) fn batch(lines: &str) -> Result<()> {
    feed(Command::new("ip").args(["-batch", "-"]), lines)
}

/// Runs `ip` commands inside a namespace, one a line.
pub(crate) fn within(namespace: &str, lines: &str) -> Result<()> {
    feed(Command::new("ip").args(["-n", namespace, "-batch", "-"]), lines)
}

/// Runs a command that reads `input` and must succeed.
pub(crate) fn feed(command: &mut Command, input: &str) -> Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read its input says why on standard error.
        stdin.write_all(input.as_bytes()).ok();
    }
    let answer = program::Answer::from(child.wait_with_output()?);
    if answer.succeeded() { Ok(()) } else { bail!("{command:?} with {input:?}: {answer}") }
}

/// What `ip -j` says of something in a namespace.
pub(crate) fn show(namespace: &str, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new("ip");
    let text = program::run_well(command.args(["-n", namespace, "-j"]).args(arguments))?;
    serde_json::from_str(&text).with_context(|| format!("ip -j {arguments:?} said {text:?}"))
}

/// The MTU of an interface.
pub(crate) fn mtu(namespace: &str, interface: &str) -> Result<u64> {
    let shown = show(namespace, &["link", "show", "dev", interface])?;
    let mtu = shown.pointer("/0/mtu").and_then(Value::as_u64);
    mtu.with_context(|| format!("no MTU of {interface} in {shown}"))
}

/// The hardware address of an interface.
pub(crate) fn station(namespace: &str, interface: &str) -> Result<String> {
    let shown = show(namespace, &["link", "show", "dev", interface])?;
    let address = shown.pointer("/0/address").and_then(Value::as_str);
    Ok(address.with_context(|| format!("no address of {interface} in {shown}"))?.to_owned())
}

/// The hardware address that packets for `address` are sent to; it must have been asked already.
pub(crate) fn next_station(namespace: &str, address: &str) -> Result<(String, String)> {
    let route = show(namespace, &["route", "get", address])?;
    let text = |pointer| route.pointer(pointer).and_then(Value::as_str);
    let source = text("/0/prefsrc").with_context(|| format!("no source in {route}"))?;
    let next = text("/0/gateway").unwrap_or(address);
    let device = text("/0/dev").with_context(|| format!("no device in {route}"))?;
    let neighbours = show(namespace, &["neigh", "show", "dev", device, "to", next])?;
    let station = neighbours.pointer("/0/lladdr").and_then(Value::as_str);
    let station = station.with_context(|| format!("{next} is no known neighbour: {neighbours}"))?;
    Ok((station.to_owned(), source.to_owned()))
}
