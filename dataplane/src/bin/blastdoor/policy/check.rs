//! `blastdoor policy check`: validates and lints.
//!
//! Paths arrive; remarks leave, for people or as one line of JSON. Invariant: a snapshot that the daemon would refuse is refused.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use policy_table::{Identities, Loaded, Settings, Severity, Table, lint};
use serde::Serialize;

use super::{
    super::{Format, REFUSED, fail},
    FOUND,
    load::load,
    remark::Remark,
    say, say_json,
};

/// What `check -o json` prints.
#[derive(Debug, Serialize)]
struct Checked {
    /// `clean`, `findings` or `refused`.
    outcome: &'static str,
    findings: Vec<Remark>,
}

/// Runs the command.
pub(super) fn check(paths: &[PathBuf], output: Format) -> Result<ExitCode> {
    let (outcome, code, findings) = match load(paths) {
        Err(refusals) => {
            let remarks = refusals.iter().map(|about| Remark::of(&"refused", about)).collect();
            ("refused", REFUSED, remarks)
        }
        Ok(Loaded { snapshot, notices }) => {
            let table =
                Table::compile(&snapshot, &Settings::default(), &mut Identities::default(), 0);
            let linted = lint(&snapshot, &table);
            let severities = notices.iter().map(|notice| notice.severity);
            let mut severities = severities.chain(linted.iter().map(|finding| finding.severity));
            let found = severities.any(|severity| severity != Severity::Info);
            let mut remarks: Vec<Remark> =
                notices.iter().map(Remark::from).chain(linted.iter().map(Remark::from)).collect();
            remarks.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
            if found { ("findings", FOUND, remarks) } else { ("clean", 0, remarks) }
        }
    };
    match output {
        Format::Json => say_json(&Checked { outcome, findings })?,
        Format::Text => {
            for remark in &findings {
                say(&remark.to_string())?;
            }
            let count = |severity: &str| {
                findings.iter().filter(|remark| remark.severity == severity).count()
            };
            let counts = ["refused", "error", "warning", "info"]
                .map(|severity| format!("{} {severity}", count(severity)));
            let _code = fail(&format!("{outcome}: {}", counts.join(", ")), code);
        }
    }
    Ok(ExitCode::from(code))
}
