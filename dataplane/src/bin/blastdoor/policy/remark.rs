//! A finding, as it is printed.

use std::fmt::Display;

use dataplane::control::question::RulePlace;
use policy_table::{Finding, Notice, Refusal};
use serde::Serialize;

/// A finding as one line or one JSON object.
#[derive(Debug, Serialize)]
pub(super) struct Remark {
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) severity: String,
    /// The name of the lint; empty for refusals and notices.
    pub(super) code: &'static str,
    pub(super) object: String,
    pub(super) field: String,
    pub(super) message: String,
    pub(super) advice: String,
}

impl Remark {
    /// Of a refusal or a notice.
    pub(super) fn of(severity: &dyn Display, about: &Refusal) -> Self {
        Self {
            file: about.file.clone(),
            line: about.line,
            severity: severity.to_string(),
            code: "",
            object: about.object.clone(),
            field: about.field.clone(),
            message: about.reason.clone(),
            advice: about.advice.clone(),
        }
    }
}

impl From<&Notice> for Remark {
    fn from(notice: &Notice) -> Self {
        Self::of(&notice.severity, &notice.about)
    }
}

impl From<&Finding> for Remark {
    fn from(finding: &Finding) -> Self {
        let RulePlace { file, line, object, field } = RulePlace::from(&finding.rule);
        let (message, advice) = (finding.message.clone(), finding.advice.clone());
        let (severity, code) = (finding.severity.to_string(), finding.code);
        Self { file, line, severity, code, object, field, message, advice }
    }
}

impl Display for Remark {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, line, severity, code, object, field, message, advice } = self;
        write!(out, "{file}:{line}: {severity}: ")?;
        // What could not be read as an object has no name, and a whole object no field.
        let name = [object.as_str(), field].into_iter().filter(|part| !part.is_empty());
        let name = name.collect::<Vec<_>>().join(" ");
        if !name.is_empty() {
            write!(out, "{name}: ")?;
        }
        write!(out, "{message}")?;
        if !advice.is_empty() {
            write!(out, "; {advice}")?;
        }
        if code.is_empty() { Ok(()) } else { write!(out, " [{code}]") }
    }
}
