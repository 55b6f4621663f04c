//! Why a snapshot was not taken, and what was noticed in one that was.
//!
//! A refusal names the file, the line, the object, the field, the reason (in Cilium's words where it has them) and what to
//! write instead. Nothing is ever taken in part: one refusal refuses the snapshot, and the table in force stays.

use std::fmt;

/// One thing that cannot be taken as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The file, as it was given.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// `Kind namespace/name`, or empty where no object could be read.
    pub object: String,
    /// Dotted path, such as `spec.ingress[0].toPorts[0].rules.kafka`; empty for the whole object.
    pub field: String,
    /// What is wrong.
    pub reason: String,
    /// What to write instead; may be empty.
    pub advice: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: ", self.file, self.line)?;
        if !self.object.is_empty() {
            write!(out, "{}: ", self.object)?;
        }
        if !self.field.is_empty() {
            write!(out, "{}: ", self.field)?;
        }
        write!(out, "{}", self.reason)?;
        if !self.advice.is_empty() {
            write!(out, "; {}", self.advice)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a snapshot, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct Refusals(pub Vec<Refusal>);

fn lines(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something was left out that does not bear on verdicts.
    Info,
    /// It is taken, but probably not what was meant.
    Warning,
    /// A part of a rule cannot work and allows nothing.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Something worth saying about a snapshot that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub severity: Severity,
    /// What and where, in the same shape as a refusal.
    pub about: Refusal,
}

impl fmt::Display for Notice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.severity, self.about)
    }
}
