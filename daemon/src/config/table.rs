//! The declared settings as a table, keys, and what was found wrong with the values given.
//!
//! Built from the declarations alone; knows no layers and no values.

use std::fmt;

/// Where a setting lives: `listen.address` is `["listen", "address"]`. In a table, `*` stands for a name the
/// operator chooses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Key(Vec<String>);

impl Key {
    /// The root, above all sections.
    pub fn root() -> Self {
        Self::default()
    }

    /// The key of a member.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut path = self.0.clone();
        path.push(name.strip_prefix("r#").unwrap_or(name).to_owned());
        Self(path)
    }

    /// Splits `a.b.c`; an empty text is the root.
    pub fn parse(text: &str) -> Self {
        Self(text.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }

    /// The names from the root down.
    pub fn parts(&self) -> &[String] {
        &self.0
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("{}{}", super::layers::PREFIX, self.0.join("__").to_uppercase())
    }

    /// The key of the section it is in.
    #[must_use]
    pub fn section(&self) -> Self {
        Self(self.0.split_last().map(|(_, section)| section.to_vec()).unwrap_or_default())
    }

    /// Its own name, without the section.
    pub fn name(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// Whether this key of a table covers a concrete one: part by part, `*` covers any name.
    fn covers(&self, concrete: &[String]) -> bool {
        self.0.len() == concrete.len() && self.covers_start_of(concrete)
    }

    fn covers_start_of(&self, concrete: &[String]) -> bool {
        self.0.iter().zip(concrete).all(|(part, given)| part == "*" || part == given)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// One declared setting.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it lives.
    pub key: Key,
    /// What may be written, in words.
    pub kind: &'static str,
    /// Its default, as text; `None`: unset, or required.
    pub default: Option<String>,
    /// What it means.
    pub doc: String,
    /// Never shown.
    pub secret: bool,
    /// A start without it is refused.
    pub required: bool,
}

/// All settings of one service, in the order of their declaration.
#[derive(Debug, Clone, Default)]
pub struct Table {
    entries: Vec<Entry>,
    sections: Vec<(Key, String)>,
}

impl Table {
    /// Adds a section with its description.
    pub fn section(&mut self, key: &Key, doc: &str) {
        self.sections.push((key.clone(), tidy(doc)));
    }

    /// Adds a setting.
    pub fn entry(&mut self, mut entry: Entry) {
        entry.doc = tidy(&entry.doc);
        self.entries.push(entry);
    }

    /// The settings, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The sections with their descriptions, in order; the root is one of them.
    pub fn sections(&self) -> &[(Key, String)] {
        &self.sections
    }

    /// The declaration behind a concrete key.
    pub fn find(&self, key: &Key) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key.covers(key.parts()))
    }

    /// Whether a concrete key names a section rather than a setting.
    pub fn is_section(&self, key: &Key) -> bool {
        let deeper =
            |entry: &Entry| entry.key.parts().len() > key.parts().len() && entry.key.covers_start_of(key.parts());
        self.entries.iter().any(deeper)
    }

    /// The known key most like an unknown one, if any is near enough to be meant.
    pub fn nearest(&self, unknown: &Key) -> Option<Key> {
        let text = unknown.to_string();
        let candidates =
            self.entries.iter().map(|entry| entry.key.filled_from(unknown)).chain(
                self.sections.iter().map(|(key, _)| key.filled_from(unknown)).filter(|key| !key.parts().is_empty()),
            );
        let scored = candidates.map(|key| (strsim::jaro_winkler(&text, &key.to_string()), key));
        let same_name = |key: &Key| key.name() == unknown.name();
        scored
            .map(|(score, key)| (if same_name(&key) { score + 0.15 } else { score }, key))
            .filter(|(score, _)| *score > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, key)| key)
    }
}

impl Key {
    /// Replaces each `*` by the name that another key has in its place.
    fn filled_from(&self, other: &Self) -> Self {
        let parts = self.0.iter().enumerate();
        let filled = parts.map(|(at, part)| match other.0.get(at) {
            Some(name) if part == "*" => name.clone(),
            _ => part.clone(),
        });
        Self(filled.collect())
    }
}

/// Doc comments begin each line with a space; one paragraph is one line.
fn tidy(doc: &str) -> String {
    let paragraphs = doc.split("\n\n").map(|p| p.lines().map(str::trim).collect::<Vec<_>>().join(" "));
    paragraphs.map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).collect::<Vec<_>>().join("\n")
}

/// One thing wrong with the settings given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key it is about; the root where it is about none.
    pub key: Key,
    /// Where the value came from, where there is one.
    pub origin: Option<String>,
    /// What is wrong, as a lowercase fragment; never the value of a secret.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.parts().is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        match &self.origin {
            Some(origin) => write!(f, " ({origin})"),
            None => Ok(()),
        }
    }
}

/// Everything wrong with the settings given, all at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes something wrong with a setting, or between settings. `what` reads on after "listen.address: ".
    pub fn add(&mut self, key: &str, what: impl Into<String>) {
        self.push(Problem { key: Key::parse(key), origin: None, what: what.into() });
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The problems, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
