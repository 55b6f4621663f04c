//! Where in the file a field stands, so that what is wrong with it can be pointed at.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The line of a field such as `port[0].pod`, or of the nearest table around it; 1 when nothing of it is written down.
pub(super) fn line_of(text: &str, field: &str) -> usize {
    let Ok(root) = DeTable::parse(text) else { return 1 };
    let mut table: &DeTable<'_> = root.get_ref();
    let mut at = 0;
    for part in field.split('.') {
        let (name, position) = match part.split_once('[') {
            Some((name, position)) => (name, position.trim_end_matches(']').parse().ok()),
            None => (part, None::<usize>),
        };
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { break };
        at = key.span().start;
        let inner: Option<&Spanned<DeValue<'_>>> = match (value.get_ref(), position) {
            (DeValue::Array(array), Some(position)) => array.get(position),
            _ => Some(value),
        };
        let Some(DeValue::Table(inner)) = inner.map(Spanned::get_ref) else { break };
        table = inner;
    }
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}
