//! The article's four acts: a directory of manifests arrives, a table of what the ships were answered leaves.
//!
//! | act | tiefighter landing | tiefighter exhaust port | xwing landing |
//! |---|---|---|---|
//! | no policy | 200 | 503 | 200 |
//! | sw_l3_l4_policy.yaml | 200 | 503 | silence, counted as policy denied |
//! | sw_l3_l4_l7_policy.yaml | 200 | 403 | silence, counted as policy denied |
//! | policy removed again | 200 | 503 | 200 |
//!
//! Invariant: a cell passes only by the very answer expected; an error of the lab is an error, never a pass.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::client::{Reply, curl};
use crate::daemon::Daemon;
use crate::lab::Lab;

/// The service, as pods of another namespace would call it, too.
const SERVICE: &str = "deathstar.default.svc.cluster.local";
/// The policy's place in the snapshot directory.
const POLICY_FILE: &str = "policy.yaml";
/// Seconds after which an unanswered ship gives up.
const PATIENCE: u32 = 3;
/// Landings among which both replicas must show up; by chance alone one of two is missed once in 2^39 times.
const LANDINGS: usize = 40;

/// What is in force during an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing: everyone may talk.
    None,
    /// By identity and port.
    L4,
    /// By identity, port, method and path.
    L7,
}

impl Policy {
    fn file(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::L4 => Some("sw_l3_l4_policy.yaml"),
            Self::L7 => Some("sw_l3_l4_l7_policy.yaml"),
        }
    }
}

/// The four acts in their order.
pub const ACTS: [(&str, Policy); 4] = [
    ("no policy", Policy::None),
    ("sw_l3_l4_policy.yaml", Policy::L4),
    ("sw_l3_l4_l7_policy.yaml", Policy::L7),
    ("policy removed again", Policy::None),
];

/// The questions, one column each.
pub const QUESTIONS: [&str; 3] = [
    "tiefighter POST /v1/request-landing",
    "tiefighter PUT /v1/exhaust-port",
    "xwing POST /v1/request-landing",
];

/// One cell of the table.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Whether it was the answer expected.
    pub passed: bool,
    /// What was answered; with what was expected when that was something else.
    pub text: String,
}

/// One act's answers.
#[derive(Debug, Clone)]
pub struct Row {
    /// The act's name.
    pub act: &'static str,
    /// One cell for each of [`QUESTIONS`].
    pub cells: Vec<Cell>,
}

/// The Kubernetes objects of a manifest directory: ours or as published.
///
/// # Errors
/// When neither file is there.
pub fn app_file(manifests: &Path) -> Result<PathBuf> {
    ["app.yaml", "http-sw-app.yaml"]
        .iter()
        .map(|name| manifests.join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("neither app.yaml nor http-sw-app.yaml is in {}", manifests.display())
        })
}

/// What one act showed.
#[derive(Debug, Clone)]
pub struct Act {
    /// The table's row.
    pub row: Row,
    /// Whether both replicas behind the service answered.
    pub replicas: Cell,
}

impl Act {
    /// Every check of the act.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.row.cells.iter().chain([&self.replicas])
    }
}

/// Plays one of [`ACTS`]: its policy in force, the questions asked, both replicas met.
///
/// # Errors
/// When the lab or the daemon fails, as opposed to answering wrongly.
pub fn play(
    lab: &Lab,
    daemon: &Daemon,
    manifests: &Path,
    (name, policy): (&'static str, Policy),
) -> Result<Act> {
    set_policy(lab, daemon, manifests, policy)?;
    let row = ask(lab, daemon, name, policy)?;
    let replicas = meet_replicas(lab)?;
    Ok(Act { row, replicas })
}

/// Puts an act's policy in force under the running daemon.
///
/// # Errors
/// When the daemon does not take it.
pub fn set_policy(lab: &Lab, daemon: &Daemon, manifests: &Path, policy: Policy) -> Result<()> {
    let present = lab.state().join("snapshot").join(POLICY_FILE).exists();
    match policy.file() {
        Some(file) => {
            let path = manifests.join(file);
            let text =
                fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            daemon.reload(|| lab.put(POLICY_FILE, &text)).map(drop)
        }
        None if present => daemon.reload(|| lab.take(POLICY_FILE)).map(drop),
        None => Ok(()),
    }
}

/// Asks an act's three questions and compares with what `policy` promises, whatever really is in force.
///
/// # Errors
/// When the lab or the daemon fails, as opposed to answering wrongly.
pub fn ask(lab: &Lab, daemon: &Daemon, act: &'static str, policy: Policy) -> Result<Row> {
    let landing = curl(lab, "tiefighter", PATIENCE, &["-XPOST", &url("/v1/request-landing")])?;
    let exhaust = exhaust_port(lab)?;
    let denied = daemon.drops("policy-denied")?;
    let xwing = curl(lab, "xwing", PATIENCE, &["-XPOST", &url("/v1/request-landing")])?;
    let counted = daemon.drops("policy-denied")?.saturating_sub(denied);
    let exhaust_cell = if policy == Policy::L7 {
        expect_denied(&exhaust)
    } else {
        expect(&exhaust, 503, "Panic: deathstar exploded")
    };
    let xwing_cell = if policy == Policy::None {
        expect(&xwing, 200, "Ship landed")
    } else {
        expect_silence(&xwing, counted)
    };
    let cells = vec![expect(&landing, 200, "Ship landed"), exhaust_cell, xwing_cell];
    Ok(Row { act, cells })
}

/// Lands ships until both replicas were met.
///
/// # Errors
/// When curl cannot be run.
pub fn meet_replicas(lab: &Lab) -> Result<Cell> {
    let mut met = BTreeSet::new();
    for landing in 1..=LANDINGS {
        let reply = curl(lab, "tiefighter", PATIENCE, &["-XPOST", &url("/v1/request-landing")])?;
        let Some(replica) = reply.header("x-deathstar-replica") else {
            return Ok(Cell {
                passed: false,
                text: format!("landing {landing}: {}", Told(&reply)),
            });
        };
        met.insert(replica.to_owned());
        if met.len() == 2 {
            let text = format!("both answered within {landing} landings");
            return Ok(Cell { passed: true, text });
        }
    }
    Ok(Cell { passed: false, text: format!("{LANDINGS} landings met only {met:?}") })
}

fn url(path: &str) -> String {
    format!("{SERVICE}{path}")
}

/// Hits the exhaust port; when that was let through, waits until the replica that exploded is back.
fn exhaust_port(lab: &Lab) -> Result<Reply> {
    let before = lab.pods()?;
    let reply = curl(lab, "tiefighter", PATIENCE, &["-XPUT", &url("/v1/exhaust-port")])?;
    if reply.status() == Some(503)
        && let Some(replica) = reply.header("x-deathstar-replica")
    {
        let pod = format!("default/{replica}");
        let restarts = before.iter().find(|status| status.pod == pod);
        let restarts = restarts.map_or(0, |status| status.restarts);
        lab.wait(&pod, restarts.saturating_add(1))?;
    }
    Ok(reply)
}

fn expect(reply: &Reply, status: u16, body: &str) -> Cell {
    let passed = reply.status() == Some(status) && reply.says(body);
    cell(passed, reply, || format!("{status} `{body}`"))
}

/// Cilium's refusal: 403, fifteen bytes, plain text, and no trace of a server.
fn expect_denied(reply: &Reply) -> Cell {
    let passed = matches!(reply, Reply::Http { status: 403, body, .. } if body == "Access denied\r\n")
        && reply.header("content-type") == Some("text/plain")
        && reply.header("x-deathstar-replica").is_none();
    cell(passed, reply, || "403 `Access denied`, not from the server".to_owned())
}

fn expect_silence(reply: &Reply, counted: u64) -> Cell {
    let mut silent = cell(*reply == Reply::Silence && counted > 0, reply, || {
        "no answer, counted as policy denied".to_owned()
    });
    if *reply == Reply::Silence {
        silent.text = format!("{} ({counted} × policy-denied)", silent.text);
    }
    silent
}

fn cell(passed: bool, reply: &Reply, expected: impl FnOnce() -> String) -> Cell {
    let told = Told(reply);
    let text = if passed { told.to_string() } else { format!("{told}; expected {}", expected()) };
    Cell { passed, text }
}

/// A reply in a few words.
struct Told<'a>(&'a Reply);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reply::Http { status, body, .. } => {
                write!(f, "{status} {}", body.lines().next().unwrap_or_default())
            }
            Reply::Silence => write!(f, "no answer"),
            Reply::Failure(code, words) => write!(f, "curl exit {code}: {words}"),
        }
    }
}

/// The table in Markdown, columns aligned.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut lines: Vec<Vec<String>> =
        vec![["act"].iter().chain(&QUESTIONS).map(|text| (*text).to_owned()).collect()];
    for row in rows {
        let mark = |cell: &Cell| if cell.passed { "ok  " } else { "FAIL" };
        let cells = row.cells.iter().map(|cell| format!("{} {}", mark(cell), cell.text));
        lines.push(std::iter::once(row.act.to_owned()).chain(cells).collect());
    }
    let columns = QUESTIONS.len().saturating_add(1);
    let width = |column: usize| {
        lines.iter().filter_map(|line| Some(line.get(column)?.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let draw = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(text, width)| format!(" {text:width$} |"));
        format!("|{}\n", cells.collect::<String>())
    };
    let rule: String = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2))).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        text.push_str(&draw(line));
        if number == 0 {
            text.push_str(&format!("|{rule}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: u16, head: &str, body: &str) -> Reply {
        Reply::Http { status, head: head.to_owned(), body: body.to_owned() }
    }

    #[test]
    fn a_403_of_the_server_itself_is_not_ours() {
        let ours =
            http(403, "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain", "Access denied\r\n");
        assert!(expect_denied(&ours).passed);
        let served = http(
            403,
            "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\nx-deathstar-replica: a",
            "Access denied\r\n",
        );
        assert!(!expect_denied(&served).passed);
    }

    #[test]
    fn silence_passes_only_when_it_was_counted() {
        assert!(expect_silence(&Reply::Silence, 1).passed);
        assert!(!expect_silence(&Reply::Silence, 0).passed);
        assert!(!expect_silence(&Reply::Failure(7, "refused".to_owned()), 1).passed);
    }

    #[test]
    fn the_table_shows_what_failed_and_why() {
        let cells = vec![expect(&http(200, "", "Ship landed\n"), 503, "Panic")];
        let text = table(&[Row { act: "x", cells }]);
        assert!(text.contains("| FAIL 200 Ship landed; expected 503 `Panic` |"), "{text}");
    }
}
