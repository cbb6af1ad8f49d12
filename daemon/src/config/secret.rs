//! Text that is never shown.

use super::field::{Field, Reader};
use super::table::{Entry, Key, Problem, Table};
use super::value::Raw;
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;

/// What stands for a secret wherever one would be shown.
pub(super) const REDACTED: &str = "***";

/// A key, password or token. Shows as `***` in every form of output; [`Secret::expose`] is the one way to its text.
///
/// As a setting it comes with a second one: `<name>_file`, a path to read it from (one trailing line end is cut
/// off). The file wins.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is it. Takes the same time wherever they differ; their lengths are no secret.
    pub fn is(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differs =
            own.iter().zip(given).fold(own.len() ^ given.len(), |differs, (a, b)| differs | usize::from(a ^ b));
        std::hint::black_box(differs) == 0
    }

    /// The file that the secret was read from, where it was one.
    pub(crate) fn file(key: &Key, reader: &Reader<'_>) -> Option<PathBuf> {
        reader.text(&file_key(key)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl Field for Option<Secret> {
    fn describe(key: &Key, doc: &str, _: Option<&str>, table: &mut Table) {
        let inline = Entry {
            key: key.clone(),
            kind: "text, kept secret",
            default: None,
            doc: doc.to_owned(),
            secret: true,
            required: false,
        };
        let file = Entry {
            key: file_key(key),
            kind: "path",
            doc: format!("A file to read `{}` from; it wins over an inline value.", key.name()),
            secret: false,
            ..inline.clone()
        };
        table.entry(inline);
        table.entry(file);
    }

    fn read(key: &Key, _: Option<&str>, reader: &mut Reader<'_>) -> Option<Self> {
        let inline = reader.leaf(key, None, true);
        let file = reader.leaf(&file_key(key), None, false);
        if let Some((Raw::Text(path), origin)) = file.filter(|(raw, _)| *raw != Raw::Text(String::new())) {
            return match std::fs::read_to_string(&path) {
                Ok(text) => Some(Some(Secret(cut_line_end(text)))),
                Err(error) => {
                    let what = format!("cannot read {path:?}: {error}");
                    reader.problem(Problem { key: file_key(key), origin: Some(origin), what });
                    None
                }
            };
        }
        match inline {
            None => Some(None),
            Some((Raw::Text(text), _)) if text.is_empty() => Some(None),
            Some((Raw::Text(text), _)) => Some(Some(Secret(text))),
            Some((_, origin)) => {
                let what = "must be text in quotes".to_owned();
                reader.problem(Problem { key: key.clone(), origin: Some(origin), what });
                None
            }
        }
    }
}

fn file_key(key: &Key) -> Key {
    key.section().child(&format!("{}_file", key.name()))
}

fn cut_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}
