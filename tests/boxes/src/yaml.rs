//! Reading files that ship: YAML with anchors and merges, as values.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// How deep merges stand in one another.
const MERGES_DEEP_MAX: usize = 4;

/// One document, merges done.
///
/// # Errors
/// It is not YAML.
pub(crate) fn parse(text: &str) -> Result<Value> {
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).context("not YAML")?;
    // One pass each for a merge within a merged mapping.
    for _ in 0..MERGES_DEEP_MAX {
        value.apply_merge().context("a merge that cannot be done")?;
    }
    serde_json::to_value(value).context("YAML with keys that are no text")
}

/// The texts of a list.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// A value as the text that a variable or argument has.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
