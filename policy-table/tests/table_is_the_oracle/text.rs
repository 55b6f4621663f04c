//! Pieces of YAML to choose from and to put together.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// One of these texts.
pub(crate) fn any_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    select(texts).prop_map(str::to_owned)
}

pub(crate) fn listed(
    item: impl Strategy<Value = String>,
    sizes: std::ops::Range<usize>,
) -> impl Strategy<Value = String> {
    vec(item, sizes).prop_map(|items| format!("[{}]", items.join(", ")))
}

/// A flow mapping of the parts that are there.
pub(crate) fn braces(parts: &[String]) -> String {
    let there: Vec<&str> =
        parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    format!("{{{}}}", there.join(", "))
}
