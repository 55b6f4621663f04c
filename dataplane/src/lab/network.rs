//! A plan arrives; namespaces and veths leave, or go away again.
//!
//! The work is done by `ip -batch` (one call for all links, one per namespace) and one `ethtool` per pod. Every link
//! is made inside the lab's namespaces; the machine's own namespace never holds one, not even for a moment.

use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::LabError;
use super::namespace;
use super::plan::{GATEWAY4, GATEWAY6, PODS4, PODS6, Plan, Pod, SERVICES4, SERVICES6, WIRE_MTU};
use super::state::LabName;

/// Makes the node's namespace, the pods' namespaces and their veths, addressed and up.
///
/// # Errors
/// [`LabError::MissingProgram`], or [`LabError::Command`] with what the program said.
pub fn create(name: &LabName, plan: &Plan) -> Result<(), LabError> {
    let node = name.node_namespace();
    ip_batch(&links(&node, plan))?;
    namespace::within(&node, || {
        // What the daemon puts up later must be usable at once, too.
        write_sysctl("ipv6/conf/default/accept_dad", "0")?;
        for pod in &plan.pods {
            // The node's end carries frames for the daemon; the kernel must not speak on it.
            write_sysctl(&format!("ipv6/conf/{}/disable_ipv6", pod.interface), "1")?;
        }
        ip_batch(&node_setup(plan))
    })?;
    for pod in &plan.pods {
        namespace::within(&pod.netns, || {
            for scope in ["all", "default", "eth0"] {
                write_sysctl(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
                write_sysctl(&format!("ipv6/conf/{scope}/accept_ra"), "0")?;
            }
            ip_batch(&pod_setup(pod, plan.mtu))?;
            // The pod's kernel would leave TCP checksums to a card that does not exist (af-xdp-facts, "Traps").
            run("ethtool", "ethtool", &["-K", "eth0", "tx", "off"], "")
        })?;
    }
    Ok(())
}

/// Removes namespaces, and with them the veths inside.
///
/// # Errors
/// [`LabError::Command`] when `ip` could not.
pub fn remove(namespaces: &[String]) -> Result<(), LabError> {
    if namespaces.is_empty() {
        return Ok(());
    }
    let mut batch = String::new();
    for namespace in namespaces {
        line(&mut batch, &format!("netns del {namespace}"));
    }
    ip_batch(&batch)
}

fn links(node: &str, plan: &Plan) -> String {
    let mut batch = String::new();
    line(&mut batch, &format!("netns add {node}"));
    for pod in &plan.pods {
        let (queues, mtu, Pod { netns, interface, .. }) = (plan.queues(), plan.mtu, pod);
        line(&mut batch, &format!("netns add {netns}"));
        line(
            &mut batch,
            &format!(
                "link add {interface} netns {node} mtu {mtu} numrxqueues 1 numtxqueues {queues} \
                 type veth peer name eth0 netns {netns} mtu {mtu} numrxqueues {queues} numtxqueues 1"
            ),
        );
    }
    batch
}

fn node_setup(plan: &Plan) -> String {
    let mut batch = String::from("link set lo up\n");
    for pod in &plan.pods {
        line(&mut batch, &format!("link set {} up", pod.interface));
    }
    batch
}

/// Pods and services are reached at the MTU of the interface, everything else at that of the wire: the node, and what lies beyond.
fn pod_setup(pod: &Pod, mtu: u32) -> String {
    let Pod { ipv4, prefix4, ipv6, prefix6, .. } = pod;
    let wire = mtu.min(WIRE_MTU);
    let mut batch = format!(
        "link set lo up\n\
         address add {ipv4}/{prefix4} dev eth0\n\
         address add {ipv6}/{prefix6} dev eth0 nodad\n\
         link set eth0 up\n\
         route add {GATEWAY4} dev eth0 mtu {wire}\n\
         route add {GATEWAY6} dev eth0 mtu {wire}\n\
         route add {SERVICES4} via {GATEWAY4} dev eth0 onlink\n\
         route add {SERVICES6} via {GATEWAY6} dev eth0 onlink\n\
         route add default via {GATEWAY4} dev eth0 onlink mtu {wire}\n\
         route add default via {GATEWAY6} dev eth0 onlink mtu {wire}\n"
    );
    // A pod with the others on its own link has such a route already.
    if *prefix4 == 32 {
        line(&mut batch, &format!("route add {PODS4} via {GATEWAY4} dev eth0 onlink"));
        line(&mut batch, &format!("route add {PODS6} via {GATEWAY6} dev eth0 onlink"));
    }
    batch
}

fn line(batch: &mut String, command: &str) {
    // Writing into a String cannot fail.
    writeln!(batch, "{command}").ok();
}

fn write_sysctl(name: &str, value: &str) -> Result<(), LabError> {
    let path = PathBuf::from(format!("/proc/sys/net/{name}"));
    match fs::write(&path, value) {
        // A kernel without IPv6 has none of these, and needs none.
        Err(error) if error.kind() == ErrorKind::NotFound && !has_ipv6() => Ok(()),
        result => result.map_err(LabError::file("write", &path)),
    }
}

fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

fn ip_batch(batch: &str) -> Result<(), LabError> {
    run("ip", "iproute2", &["-batch", "-"], batch)
}

/// Runs a program of a Debian package with `input`, in the calling thread's namespace.
fn run(
    program: &'static str,
    package: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<(), LabError> {
    let command = format!("{program} {}", arguments.join(" "));
    let failed = |problem: String| LabError::Command { command: command.clone(), problem };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => LabError::MissingProgram { program, package },
            _ => failed(error.to_string()),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read its input says why on standard error.
        stdin.write_all(input.as_bytes()).ok();
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let culprit = failed_line(&stderr, input);
    Err(failed(format!("{}: {}{culprit}", output.status, stderr.trim())))
}

/// `ip -batch` ends with "Command failed -:3": the third line is what to show.
fn failed_line(stderr: &str, input: &str) -> String {
    let number = stderr.rsplit_once("Command failed -:").and_then(|(_, n)| n.trim().parse().ok());
    let line = number.and_then(|n: usize| input.lines().nth(n.checked_sub(1)?));
    line.map(|line| format!(" (`{line}`)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_batch_names_its_line() {
        assert_eq!(failed_line("Error: x\nCommand failed -:2\n", "a\nb\nc"), " (`b`)");
        assert_eq!(failed_line("Error: x", "a"), "");
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = run("no-such-program", "some-package", &[], "").unwrap_err();
        assert!(error.to_string().contains("apt-get install some-package"), "{error}");
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let error = run("sh", "dash", &["-c", "echo why >&2; exit 3"], "").unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
    }
}
