//! Reads `values.yaml` as text, so that comments count: each key with its description and its default.
//!
//! Understands what that file uses and no more: two spaces per level, `# -- ` above each key, flow style for values
//! that fit on a line, and block style for longer lists and maps below a described key.

use anyhow::{Result, bail};

/// One described key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `gateway.service.type`.
    pub path: String,
    /// What the comment above it says.
    pub description: String,
    /// The default as it is written; several lines for a block.
    pub default: String,
}

/// Each described key, in the file's order.
///
/// # Errors
/// A key that holds a value has no description, or a description no key.
pub fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut sections: Vec<(usize, &str)> = Vec::new();
    let mut pending: Option<&str> = None;
    // The indentation of a described key whose value is the block below it.
    let mut block: Option<usize> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if content.is_empty() {
            continue;
        }
        if let (Some(limit), Some(entry)) = (block, entries.last_mut()) {
            if indent > limit {
                if content.starts_with("# -- ") {
                    bail!("line {number}: a description inside the described block {}", entry.path);
                }
                let own = line.get(limit + 2..).unwrap_or(content);
                let separator = if entry.default.is_empty() { "" } else { "\n" };
                entry.default = format!("{}{separator}{own}", entry.default);
                continue;
            }
            block = None;
        }
        if let Some(description) = content.strip_prefix("# -- ") {
            if pending.is_some() {
                bail!("line {number}: a description without a key");
            }
            pending = Some(description);
            continue;
        }
        if content.starts_with('#') {
            continue;
        }
        let Some((key, value)) = content.split_once(':') else { bail!("line {number}: no key") };
        sections.retain(|(depth, _)| *depth < indent);
        let path: Vec<&str> = sections.iter().map(|(_, name)| *name).chain([key]).collect();
        let (path, value) = (path.join("."), value.trim());
        match (pending.take(), value.is_empty()) {
            (Some(description), empty) => {
                entries.push(Entry { path, description: description.to_owned(), default: value.to_owned() });
                block = empty.then_some(indent);
            }
            (None, true) => sections.push((indent, key)),
            (None, false) => bail!("line {number}: {path} has no description"),
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, description: &str, default: &str) -> Entry {
        Entry { path: path.to_owned(), description: description.to_owned(), default: default.to_owned() }
    }

    #[test]
    fn keys_come_with_their_path_description_and_default() {
        let text =
            "# Head.\n# -- A.\na: 1\nb:\n  # -- C.\n  c: {d: 1}\n  e:\n    # -- F.\n    f: \"\"\n# -- G.\ng: []\n";

        let expected =
            [entry("a", "A.", "1"), entry("b.c", "C.", "{d: 1}"), entry("b.e.f", "F.", "\"\""), entry("g", "G.", "[]")];
        assert_eq!(parse(text).expect("parses"), expected);
    }

    #[test]
    fn a_block_below_a_described_key_is_its_default() {
        let text = "a:\n  # -- B.\n  b:\n    c: 1\n    d:\n      - 2\n  # -- E.\n  e: 3\n";

        let expected = [entry("a.b", "B.", "c: 1\nd:\n  - 2"), entry("a.e", "E.", "3")];
        assert_eq!(parse(text).expect("parses"), expected);
    }

    #[test]
    fn a_value_without_a_description_is_refused() {
        assert!(parse("a: 1\n").is_err());
        assert!(parse("# -- A.\n# -- B.\na: 1\n").is_err());
        assert!(parse("# -- A.\na:\n  # -- B.\n  b: 1\n").is_err());
    }
}
