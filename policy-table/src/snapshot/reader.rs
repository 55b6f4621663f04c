//! Reads fields strictly: every field that is there is asked for, or the object is refused.
//!
//! Arrives: a [`Node`] and where it stands. Leaves: values of the wanted kind, or a [`Refusal`] that names file, line,
//! object and dotted path. A null counts as absent, an empty list does not.

use super::node::{Node, Value};
use super::refusal::Refusal;

/// The object being read.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) file: String,
    pub(crate) name: String,
}

/// A result of reading.
///
/// The refusal is boxed: it is much larger than what is usually read.
pub(crate) type Read<T> = Result<T, Box<Refusal>>;

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) node: &'a Node,
    pub(crate) path: String,
    pub(crate) object: &'a Written,
}

impl<'a> Field<'a> {
    /// A refusal of this field.
    pub(crate) fn refuse(
        &self,
        reason: impl Into<String>,
        advice: impl Into<String>,
    ) -> Box<Refusal> {
        Box::new(Refusal {
            file: self.object.file.clone(),
            line: self.node.line,
            object: self.object.name.clone(),
            field: self.path.clone(),
            reason: reason.into(),
            advice: advice.into(),
        })
    }

    /// The fields of a mapping.
    pub(crate) fn record(self) -> Read<Record<'a>> {
        match &self.node.value {
            Value::Map(_) => Ok(Record { field: self, taken: Vec::with_capacity(16) }),
            Value::Scalar { .. } | Value::List(_) => Err(self.refuse("must be a mapping", "")),
        }
    }

    /// The items of a list.
    pub(crate) fn list(&self) -> Read<Vec<Self>> {
        let Value::List(items) = &self.node.value else {
            return Err(self.refuse("must be a list", ""));
        };
        let item = |(index, node)| Field {
            node,
            path: format!("{}[{index}]", self.path),
            object: self.object,
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// A string. What YAML reads as a number or a truth value is none, as for Kubernetes.
    pub(crate) fn string(&self) -> Read<&'a str> {
        let Value::Scalar { text, plain } = &self.node.value else {
            return Err(self.refuse("must be a string", ""));
        };
        if text.contains("{{") {
            return Err(self.refuse("is a Go template, not a value", "render the template first"));
        }
        if *plain && (is_number(text) || is_bool(text) || self.node.is_null()) {
            return Err(self
                .refuse(format!("must be a string, {text} is none"), format!("write \"{text}\"")));
        }
        Ok(text)
    }

    /// A truth value.
    pub(crate) fn boolean(&self) -> Read<bool> {
        match &self.node.value {
            Value::Scalar { text, plain: true } if is_bool(text) => {
                Ok(text.eq_ignore_ascii_case("true"))
            }
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                Err(self.refuse("must be true or false", ""))
            }
        }
    }

    /// A whole number, not quoted.
    pub(crate) fn number(&self) -> Read<i64> {
        match &self.node.value {
            Value::Scalar { text, plain: true } => {
                text.parse().map_err(|_not_one| self.refuse("must be a whole number", ""))
            }
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                Err(self.refuse("must be a whole number", ""))
            }
        }
    }

    /// A number or a string, as Kubernetes' `IntOrString`.
    pub(crate) fn number_or_string(&self) -> Read<Result<i64, &'a str>> {
        match &self.node.value {
            Value::Scalar { text, plain: true } if is_number(text) => self.number().map(Ok),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => self.string().map(Err),
        }
    }
}

/// A mapping whose fields are being asked for.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    field: Field<'a>,
    taken: Vec<&'static str>,
}

impl<'a> Record<'a> {
    /// The field `name`, if it is there and not null.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<Field<'a>> {
        self.taken.push(name);
        let node = self.field.node.at(name)?;
        let path = match self.field.path.as_str() {
            "" => name.to_owned(),
            above => [above, name].join("."),
        };
        Some(Field { node, path, object: self.field.object })
    }

    /// The field `name`, which must be there.
    pub(crate) fn need(&mut self, name: &'static str) -> Read<Field<'a>> {
        self.take(name).ok_or_else(|| self.field.refuse(format!("{name} is missing"), ""))
    }

    /// The mapping itself.
    pub(crate) fn field(&self) -> &Field<'a> {
        &self.field
    }

    /// Ends the reading: a field nobody asked for is refused.
    pub(crate) fn finish(self) -> Read<()> {
        for entry in self.field.node.entries() {
            if !self.taken.contains(&entry.key.as_str()) {
                let path = format!("{}.{}", self.field.path, entry.key);
                let at = Field { node: &entry.node, path, object: self.field.object };
                let known = self.taken.join(", ");
                let mut refusal = at.refuse("unknown field", format!("known here: {known}"));
                refusal.line = entry.line;
                return Err(refusal);
            }
        }
        Ok(())
    }
}

fn is_bool(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && text.parse::<f64>().is_ok()
        || digits
            .strip_prefix("0x")
            .is_some_and(|hex| !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()))
        || digits
            .strip_prefix("0o")
            .is_some_and(|oct| !oct.is_empty() && oct.bytes().all(|b| (b'0'..=b'7').contains(&b)))
}

#[cfg(test)]
mod tests {
    use super::super::node::each_document;
    use super::*;

    fn read<T>(text: &str, with: impl Fn(&Field<'_>) -> Read<T>) -> Read<T> {
        let object = Written { file: "f.yaml".to_owned(), name: "Kind ns/name".to_owned() };
        let mut outcome = None;
        each_document(text, |document| {
            let node = document.at("x").unwrap_or(document);
            outcome = Some(with(&Field { node, path: "spec.x".to_owned(), object: &object }));
        })
        .unwrap();
        outcome.unwrap()
    }

    #[test]
    fn an_unquoted_number_is_not_a_string_and_the_refusal_says_what_to_write() {
        let refusal = read("x: 80", |f| f.string().map(str::to_owned)).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "f.yaml:1: Kind ns/name: spec.x: must be a string, 80 is none; write \"80\""
        );
        assert_eq!(read("x: \"80\"", |f| f.string().map(str::to_owned)).unwrap(), "80");
        for text in ["x: true", "x: 0x50", "x: 1e3", "x: -1"] {
            assert!(read(text, |f| f.string().map(str::to_owned)).is_err(), "{text}");
        }
        assert_eq!(read("x: 10.0.0.0/8", |f| f.string().map(str::to_owned)).unwrap(), "10.0.0.0/8");
    }

    #[test]
    fn a_field_nobody_asked_for_is_refused_with_its_own_line() {
        let refusal = read("x:\n  a: 1\n  b: 2\n", |f| {
            let mut record = f.clone().record()?;
            record.take("a");
            record.finish()
        })
        .unwrap_err();
        assert_eq!((refusal.line, refusal.field.as_str()), (3, "spec.x.b"));
    }
}
