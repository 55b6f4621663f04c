//! The machine and the programs that a run used, as its report names them.

use std::fs;
use std::process::Command;

use tests::program;

/// The machine in one line.
pub(crate) fn describe() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |text| text.trim_start_matches(['\t', ' ', ':']));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes: u64 =
        total.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    format!(
        "{model}, {cores} cores, {} GiB, {}, Linux {}",
        kilobytes >> 20,
        system.unwrap_or("unknown system").trim_matches('"'),
        kernel.trim()
    )
}

/// How many processes wanted to run, over the last minute.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// The commit that was measured.
pub(crate) fn commit() -> String {
    let root = program::project_root();
    let mut git = Command::new("git");
    git.arg("-C").arg(root).args(["describe", "--always", "--dirty"]);
    program::run_well(&mut git).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// Versions of the programs at both ends.
pub(crate) fn ends() -> String {
    let mut query = Command::new("dpkg-query");
    query.args([
        "-W",
        "-f",
        "${Package} ${Version}, ",
        "nginx-light",
        "wrk",
        "nghttp2-client",
        "iperf3",
    ]);
    let text = program::run_well(&mut query).unwrap_or_default();
    text.trim_end_matches(", ").to_owned()
}
