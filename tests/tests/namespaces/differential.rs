//! Differential tests: does a real server act on a request that policy denies?
//!
//! Attackers of ours (`differential/attacker.py` with sockets, `differential/raw.py` with a TCP of its own over a packet socket)
//! say what two readers could read in two ways to real servers, and the servers' own logs tell what they acted on. The
//! control is the same attack with a policy that speaks of ports only: there it must succeed.
//! `BLASTDOOR_DIFFERENTIAL=whole` says every case instead of a sample, and prints the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tests::daemon::Daemon;
use tests::lab::{Lab, Shape};
use tests::program;

use crate::Case;
use crate::story::expect_balance;

const NEEDS: &[crate::Program] = &[
    ("nginx", "nginx-light"),
    ("apache2", "apache2-bin"),
    ("node", "nodejs"),
    ("gunicorn", "gunicorn"),
    ("haproxy", "haproxy"),
    ("python3", "python3"),
];
const SERVERS: [&str; 8] =
    ["nginx", "apache", "node", "python", "gunicorn", "haproxy", "lenient-te", "lenient-cl"];
/// Those that the raw scripts are played to: their TCP is the same kernel's.
const RAW_SERVERS: [&str; 2] = ["nginx", "node"];

/// What RFC 9110 and RFC 9112 allow and we refuse, on purpose (docs/threat-model.md, "Parser differentials" and "Deviations").
const REFUSED_ON_PURPOSE: &[&str] = &[
    "valid: chunked in capitals",
    "valid: chunk extension",
    "valid: 1.0 without host",
    "valid: escaped letter",
    "valid: escaped slash",
    "valid: escaped percent",
    "valid: parameter",
    "valid: double slash",
    "valid: dot segment",
    "valid: curl --http2",
    "probe: COMP-CHUNKED-EXTENSION",
    "probe: COMP-HTTP10-NO-HOST",
    "probe: COMP-HTTP12-VERSION",
    "heads: override b'X-HTTP-Method-Override: DELETE'",
    "heads: override b'X-HTTP-Method: DELETE'",
    "heads: override b'X-Method-Override: DELETE'",
    "heads: override b'X-Original-URL: /deny/MARKMARK'",
    "heads: override b'X-Rewrite-URL: /deny/MARKMARK'",
    "heads: override b'X_Original_URL: /deny/MARKMARK'",
    "heads: override b'x-original-url:/deny/MARKMARK'",
    "heads: override b'X-HTTP-Method-Override : DELETE'",
];

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("differential::no_server_acts_on_what_policy_denies", differential).with(NEEDS)]
}

/// What `attacker.py` reports.
#[derive(Debug, Deserialize)]
struct Said {
    /// Cases by suite.
    cases: BTreeMap<String, u64>,
    servers: BTreeMap<String, Heard>,
}

#[derive(Debug, Deserialize)]
struct Heard {
    /// Cases in which the server acted on anything.
    heard: u64,
    /// Cases in which it acted on what policy denies.
    acted: Vec<String>,
    /// The first status of the answer to each valid case, or what became of it.
    #[serde(default)]
    valid: BTreeMap<String, String>,
}

/// What `raw.py` reports.
#[derive(Debug, Deserialize)]
struct Played {
    scripts: u64,
    servers: BTreeMap<String, Heard>,
}

struct Attack {
    lab: Lab,
    scripts: PathBuf,
    logs: tempfile::TempDir,
    whole: bool,
}

fn differential() -> Result<()> {
    let attack = Attack::prepare()?;
    let policy = |file: &str| {
        let text = fs::read_to_string(attack.scripts.join(file))?;
        attack.lab.put("policy.yaml", &text)
    };
    policy("enforced.yaml")?;
    let daemon = Daemon::start(&attack.lab)?;
    for server in SERVERS {
        attack.lab.wait(&format!("default/{server}"), 0)?;
    }
    let said = attack.say()?;
    let played = attack.play()?;
    daemon.reload(|| policy("open.yaml"))?;
    let said_openly = attack.say()?;
    let played_openly = attack.play()?;
    expect_balance(&daemon)?;
    daemon.stop()?;
    attack.lab.down()?;

    if attack.whole {
        show(&said, &said_openly, &played, &played_openly)?;
    }
    for (name, heard) in said.servers.iter().chain(&played.servers) {
        ensure!(heard.acted.is_empty(), "{name} acted on: {:?}", heard.acted);
        ensure!(heard.heard >= 20, "{name} heard of {} allowed requests only", heard.heard);
    }
    for (name, heard) in said_openly.servers.iter().chain(&played_openly.servers) {
        let fooled = heard.acted.len();
        ensure!(fooled >= 30, "{name} is fooled {fooled} times unprotected: this shows too little");
    }
    let known: BTreeSet<&str> = REFUSED_ON_PURPOSE.iter().copied().collect();
    for (name, refused) in refusals(&said, &said_openly) {
        let unknown: Vec<_> =
            refused.iter().filter(|(case, _)| !known.contains(case.as_str())).collect();
        ensure!(unknown.is_empty(), "falsely refused before {name}: {unknown:?}");
    }
    Ok(())
}

impl Attack {
    fn prepare() -> Result<Self> {
        let scripts = program::project_root().join("tests/tests/namespaces/differential");
        let logs = tempfile::tempdir()?;
        // Servers give up root before they write, and must be able to pass.
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
        };
        mode(logs.path(), 0o755)?;
        for file in ["cluster.yaml", "nginx.conf", "apache.conf", "haproxy.conf"] {
            let text = fs::read_to_string(scripts.join(file))
                .with_context(|| format!("read {file} of {}", scripts.display()))?
                .replace("HERE", &scripts.display().to_string())
                .replace("DIRECTORY", &logs.path().display().to_string());
            fs::write(logs.path().join(file), text)?;
        }
        fs::write(logs.path().join("ok.txt"), "ok\n")?;
        for server in SERVERS {
            let log = logs.path().join(format!("{server}.log"));
            fs::write(&log, "")?;
            mode(&log, 0o666)?;
        }
        let lab = Lab::up("test", &Shape::default(), &[logs.path().join("cluster.yaml")])?;
        let whole = env::var("BLASTDOOR_DIFFERENTIAL").is_ok_and(|value| value == "whole");
        Ok(Self { lab, scripts, logs, whole })
    }

    fn say(&self) -> Result<Said> {
        let mut arguments = vec!["--logs".to_owned(), self.logs.path().display().to_string()];
        let probe = crate::shared().join("http-cases/http11probe.json");
        if probe.is_file() {
            arguments.extend(["--probe".to_owned(), probe.canonicalize()?.display().to_string()]);
        }
        self.report("attacker", "attacker.py", &SERVERS, arguments)
    }

    fn play(&self) -> Result<Played> {
        let own = self.lab.pod("default/raw")?.ipv4;
        let arguments = [
            ["--logs", &self.logs.path().display().to_string()],
            ["--own", own.as_str()],
            ["--gateway", "10.77.0.1"],
        ];
        let arguments = arguments.as_flattened().iter().map(|&text| text.to_owned()).collect();
        let servers = if self.whole { &RAW_SERVERS[..] } else { &RAW_SERVERS[..1] };
        self.report("raw", "raw.py", servers, arguments)
    }

    /// Runs a script in a pod against some servers; reads what it reports.
    fn report<T: DeserializeOwned>(
        &self,
        pod: &str,
        script: &str,
        servers: &[&str],
        arguments: Vec<String>,
    ) -> Result<T> {
        let mut command = self.lab.command(pod, "python3");
        command.arg(self.scripts.join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
        for server in servers {
            let address = self.lab.pod(&format!("default/{server}"))?.ipv4;
            command.arg(format!("{server}={address}"));
        }
        command.args(arguments);
        if self.whole {
            command.arg("--whole");
        }
        let text = program::run_well(&mut command)?;
        serde_json::from_str(&text).with_context(|| format!("what {script} reports: {text}"))
    }
}

/// By server: valid cases that it serves unprotected and that we answered otherwise, with our answer.
fn refusals<'a>(said: &'a Said, openly: &Said) -> BTreeMap<&'a str, Vec<(&'a String, &'a String)>> {
    let served = |name: &str, case: &String| {
        let status = openly.servers.get(name).and_then(|heard| heard.valid.get(case));
        status.is_some_and(|status| status.starts_with('2') || status.starts_with("100"))
    };
    let of = |name: &str, heard: &'a Heard| {
        let refused = heard.valid.iter().filter(|(case, status)| {
            served(name, case) && !status.starts_with('2') && !status.starts_with("100")
        });
        refused.collect()
    };
    said.servers.iter().map(|(name, heard)| (name.as_str(), of(name, heard))).collect()
}

/// The figures, for people.
fn show(said: &Said, said_openly: &Said, played: &Played, openly: &Played) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "\n  cases: {:?}, raw scripts: {}", said.cases, played.scripts)?;
    writeln!(out, "  {:12} acted  unprotected  refused valid", "server")?;
    let refused = refusals(said, said_openly);
    for (name, heard) in &said.servers {
        let fooled = said_openly.servers.get(name).map_or(0, |heard| heard.acted.len());
        let valid: Vec<_> = refused.get(name.as_str()).into_iter().flatten().collect();
        writeln!(out, "  {name:12} {:5}  {fooled:11}  {}", heard.acted.len(), valid.len())?;
        for (case, status) in valid {
            writeln!(out, "      {status} {case}")?;
        }
    }
    for (name, heard) in &played.servers {
        let fooled = openly.servers.get(name).map_or(0, |heard| heard.acted.len());
        writeln!(out, "  {name:12} {:5}  {fooled:11}  (raw scripts)", heard.acted.len())?;
    }
    Ok(())
}
