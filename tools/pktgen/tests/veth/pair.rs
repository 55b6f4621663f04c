//! Two network namespaces with a veth between them, removed however a test ends, and pktgen run in them.

use std::{
    path::PathBuf,
    process::{Child, Command, Output, Stdio, id},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;

/// Hardware addresses, as arguments.
pub(crate) const MACS: &str = "--source-mac 02:00:00:00:00:01 --destination-mac 02:00:00:00:00:02";

static MADE: AtomicU32 = AtomicU32::new(0);

/// The namespaces: `from0` is in the first, `to0` in the second.
pub(crate) struct Pair {
    pub(crate) a: String,
    pub(crate) b: String,
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.a, &self.b] {
            let _gone = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// Whether to skip for want of root. Where everything must run (CI) that is a failure: libtest has no third outcome.
pub(crate) fn skipped() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let root = status
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    if !root {
        assert!(
            std::env::var_os("BLASTDOOR_NO_SKIP").is_none(),
            "needs root, and nothing may be skipped here"
        );
        println!("SKIPPED: making network namespaces needs root");
    }
    !root
}

/// Runs `ip` and returns what it printed.
pub(crate) fn ip(line: &str) -> String {
    let output = Command::new("ip").args(line.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Pair {
    pub(crate) fn new() -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = |end| format!("bd-pktgen-{}-{number}-{end}", id());
        let pair = Self { a: name("a"), b: name("b") };
        let (a, b) = (&pair.a, &pair.b);
        ip(&format!("netns add {a}"));
        ip(&format!("netns add {b}"));
        ip(&format!(
            "-n {a} link add from0 address 02:00:00:00:00:01 type veth peer name to0 address 02:00:00:00:00:02 netns {b}"
        ));
        // Without IPv6 neither end sends anything of its own.
        for namespace in [a, b] {
            ip(&format!("netns exec {namespace} sysctl -qw net.ipv6.conf.all.disable_ipv6=1"));
        }
        ip(&format!("-n {a} link set from0 up"));
        ip(&format!("-n {b} link set to0 up"));
        pair
    }

    /// The sending interface, as an argument.
    pub(crate) fn from(&self) -> String {
        format!("{}/from0", self.a)
    }

    /// The receiving interface, as an argument.
    pub(crate) fn to(&self) -> String {
        format!("{}/to0", self.b)
    }

    /// Packets that the kernel received on `to0`.
    pub(crate) fn received(&self) -> u64 {
        let links: Value =
            serde_json::from_str(&ip(&format!("-n {} -j -s link show dev to0", self.b))).unwrap();
        links.pointer("/0/stats64/rx/packets").unwrap().as_u64().unwrap()
    }

    /// Whether an XDP program is on `to0`.
    pub(crate) fn has_program(&self) -> bool {
        ip(&format!("-n {} link show dev to0", self.b)).contains("xdp")
    }
}

/// Does `work` on a thread in a namespace.
pub(crate) fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        inside.join().unwrap()
    })
}

/// Runs pktgen to its end. Arguments are separated by spaces; a `+` in one stands for a space.
pub(crate) fn pktgen(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pktgen"))
        .args(line.split_whitespace().map(|argument| argument.replace('+', " ")))
        .output()
        .unwrap()
}

/// Runs pktgen to its end, which must be a good one, and returns its JSON.
pub(crate) fn report(line: &str) -> Value {
    let output = pktgen(&format!("{line} -o json"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A program that runs until it is told to end.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    /// Sends SIGINT and returns what it printed.
    pub(crate) fn interrupt(mut self) -> Output {
        let child = self.0.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Waits for its own end and returns what it printed.
    pub(crate) fn output(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _gone = child.kill();
            let _waited = child.wait();
        }
    }
}

/// Looks until `look` says yes.
pub(crate) fn wait_for(what: &str, mut look: impl FnMut() -> bool) {
    const LOOK_EVERY: Duration = Duration::from_millis(10);
    const LOOKS: u32 = 3000;
    let seen = (0..LOOKS).any(|_| {
        let seen = look();
        if !seen {
            thread::sleep(LOOK_EVERY);
        }
        seen
    });
    assert!(seen, "not seen: {what}");
}

/// A file that is removed with the test.
pub(crate) fn file(name: &str, text: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    (directory, path)
}
