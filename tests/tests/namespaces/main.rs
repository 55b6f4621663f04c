//! The real thing: namespaces, veths, AF_XDP sockets, servers and clients, through the command line.
//!
//! One case after another, since they share the cores. Without root, or without a program it needs, a case is
//! SKIPPED with the reason, and counted as ignored; with `BLASTDOOR_NO_SKIP=1` (CI) that is a failure.
//! Arguments: parts of names to run; `--list`.

use std::env;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

mod churn;
mod connectivity;
mod crash;
mod differential;
mod fragments;
mod internet;
mod legitimate;
mod lifecycle;
mod load;
mod names;
mod operate;
mod reload;
mod slow;
mod story;
mod tools;
mod uplink;

/// One test.
struct Case {
    name: &'static str,
    /// Programs and the Debian packages they are in.
    needs: &'static [Program],
    /// Whether it reads the data of others in ../shared, which may be absent.
    needs_shared: bool,
    run: fn() -> Result<()>,
}

type Program = (&'static str, &'static str);

/// What every lab needs.
const LAB: [Program; 3] = [("ip", "iproute2"), ("ethtool", "ethtool"), ("curl", "curl")];

impl Case {
    const fn new(name: &'static str, run: fn() -> Result<()>) -> Self {
        Self { name, needs: &[], needs_shared: false, run }
    }

    const fn with(mut self, needs: &'static [Program]) -> Self {
        self.needs = needs;
        self
    }

    const fn with_shared(mut self) -> Self {
        self.needs_shared = true;
        self
    }

    /// What this machine lacks, and whether having it is the caller's duty in CI.
    fn missing(&self) -> Option<(String, bool)> {
        if !nix::unistd::Uid::effective().is_root() {
            return Some(("needs root for network namespaces and AF_XDP".to_owned(), true));
        }
        if self.needs_shared && !shared().is_dir() {
            return Some((format!("{} is not there", shared().display()), false));
        }
        LAB.iter()
            .chain(self.needs)
            .find(|(program, _)| !is_installed(program))
            .map(|(program, package)| (format!("needs {program}: apt-get install {package}"), true))
    }
}

fn cases() -> Vec<Case> {
    [
        lifecycle::cases(),
        story::cases(),
        reload::cases(),
        churn::cases(),
        operate::cases(),
        tools::cases(),
        connectivity::cases(),
        internet::cases(),
        names::cases(),
        crash::cases(),
        uplink::cases(),
        fragments::cases(),
        slow::cases(),
        load::cases(),
        differential::cases(),
        legitimate::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The data of others.
fn shared() -> std::path::PathBuf {
    tests::program::project_root().join("../shared")
}

fn is_installed(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| {
        env::split_paths(&path).any(|directory| directory.join(program).exists())
    }) || Path::new("/usr/sbin").join(program).exists()
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let filters: Vec<&String> = arguments.iter().filter(|arg| !arg.starts_with('-')).collect();
    let chosen = |case: &Case| filters.is_empty() || filters.iter().any(|f| case.name.contains(*f));
    let cases: Vec<Case> = cases().into_iter().filter(chosen).collect();
    let mut out = std::io::stdout();
    if arguments.iter().any(|argument| argument == "--list") {
        for case in &cases {
            writeln!(out, "{}: test", case.name)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let no_skip = env::var_os("BLASTDOOR_NO_SKIP").is_some_and(|value| value == "1");
    let (mut passed, mut failed, mut skipped) = (0_u32, 0_u32, 0_u32);
    writeln!(out, "\nrunning {} tests", cases.len())?;
    for case in &cases {
        write!(out, "test {} ... ", case.name)?;
        out.flush()?;
        match case.missing() {
            Some((reason, duty)) if !(no_skip && duty) => {
                skipped += 1;
                writeln!(out, "SKIPPED ({reason})")?;
            }
            Some((reason, _)) => {
                failed += 1;
                writeln!(out, "FAILED (must not be skipped here, but {reason})")?;
            }
            None => {
                let start = tests::program::now();
                let outcome = (case.run)();
                let seconds = tests::program::now().duration_since(start).as_secs_f32();
                match outcome {
                    Ok(()) => {
                        passed += 1;
                        writeln!(out, "ok ({seconds:.1} s)")?;
                    }
                    Err(error) => {
                        failed += 1;
                        writeln!(out, "FAILED ({seconds:.1} s)\n    {}", indent(&error))?;
                    }
                }
            }
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    writeln!(
        out,
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; 0 filtered out"
    )?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn indent(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\n', "\n    ")
}
