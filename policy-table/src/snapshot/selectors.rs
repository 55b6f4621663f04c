//! Label selectors, in the syntax all kinds of policies share.
//!
//! Arrives: `matchLabels` and `matchExpressions`. Leaves: a [`Selector`], its keys read by the policy's own rule.

use super::cluster;
use super::reader::{Field, Read};
use crate::selector::{Requirement, Selector, SelectorKey, Test};

/// A label selector with its keys as Cilium reads them; `source` is given to keys that name none.
pub(super) fn selector(field: Field<'_>, key: impl Fn(&str) -> SelectorKey) -> Read<Selector> {
    let mut record = field.record()?;
    let mut requirements = Vec::new();
    let labels = record.take("matchLabels");
    if let Some(labels) = labels {
        for (name, value) in cluster::strings(Some(labels.clone()))? {
            check_key(&labels, &name)?;
            requirements.push(Requirement::equals(key(&name), &value));
        }
    }
    if let Some(expressions) = record.take("matchExpressions") {
        for expression in expressions.list()? {
            let mut expression = expression.record()?;
            let name = expression.need("key")?;
            check_key(&name, name.string()?)?;
            let operator = expression.need("operator")?;
            let mut values = Vec::new();
            let listed = expression.take("values");
            if let Some(listed) = &listed {
                for value in listed.list()? {
                    values.push(value.string()?.to_owned());
                }
            }
            let some = |values: Vec<String>| {
                if values.is_empty() {
                    let reason = "invalid label selector: values: must be specified when `operator` is 'In' or 'NotIn'";
                    return Err(operator.refuse(reason, ""));
                }
                Ok(values)
            };
            let none = |values: &[String]| {
                if values.is_empty() {
                    return Ok(());
                }
                let reason = "invalid label selector: values: may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                Err(operator.refuse(reason, ""))
            };
            let test = match operator.string()? {
                "In" => Test::In(some(values)?),
                "NotIn" => Test::NotIn(some(values)?),
                "Exists" => none(&values).map(|()| Test::Exists)?,
                "DoesNotExist" => none(&values).map(|()| Test::DoesNotExist)?,
                other => {
                    let reason = format!(
                        "invalid label selector: {other:?} is not a valid label selector operator"
                    );
                    return Err(operator.refuse(reason, "write In, NotIn, Exists or DoesNotExist"));
                }
            };
            requirements.push(Requirement { key: key(name.string()?), test });
            expression.finish()?;
        }
    }
    record.finish()?;
    Ok(Selector::new(requirements))
}

/// Label keys as Kubernetes takes them, with Cilium's optional source in front.
fn check_key(field: &Field<'_>, key: &str) -> Read<()> {
    let bare =
        key.strip_prefix('$').unwrap_or_else(|| key.split_once(':').map_or(key, |(_, name)| name));
    let (prefix, name) =
        bare.rsplit_once('/').map_or((None, bare), |(prefix, name)| (Some(prefix), name));
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = |text: &str, most: usize| {
        text.len() <= most
            && edge(text.chars().next())
            && edge(text.chars().next_back())
            && text.chars().all(inner)
    };
    if fits(name, 317) && prefix.is_none_or(|prefix| fits(prefix, 253)) {
        return Ok(());
    }
    Err(field.refuse(format!("invalid label selector: {key:?} is not a valid label key"), ""))
}
