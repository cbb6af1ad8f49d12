//! From merged layers to typed structs: each setting is found, parsed, noted with its origin; errors are collected.

use super::render::redact_user_info;
use super::secret::REDACTED;
use super::table::{Entry, Key, Problem, Problems, Table};
use super::value::{Raw, Value};
use figment::Figment;
use figment::value::{Dict, Num, Value as Node};
use std::collections::BTreeMap;

/// What may stand in a struct of settings: a [`Value`], a secret, a section or named sections.
///
/// Implemented by `settings!` for sections; services need not implement it.
pub trait Field: Sized {
    /// Adds the declaration to a table.
    fn describe(key: &Key, doc: &str, default: Option<&str>, table: &mut Table);

    /// Reads the value. `None` means that at least one problem was noted; reading goes on with the next setting, so
    /// that all problems are told at once.
    fn read(key: &Key, default: Option<&str>, reader: &mut Reader<'_>) -> Option<Self>;
}

impl<T: Value> Field for T {
    fn describe(key: &Key, doc: &str, default: Option<&str>, table: &mut Table) {
        table.entry(Entry {
            key: key.clone(),
            kind: T::KIND,
            default: default.map(str::to_owned),
            doc: doc.to_owned(),
            secret: false,
            required: default.is_none() && T::absent().is_none(),
        });
    }

    fn read(key: &Key, default: Option<&str>, reader: &mut Reader<'_>) -> Option<Self> {
        let Some((raw, origin)) = reader.leaf(key, default, false) else {
            let absent = T::absent();
            if absent.is_none() {
                let what = format!("is required; set it in the file or as {}", key.variable());
                reader.problem(Problem { key: key.clone(), origin: None, what });
            }
            return absent;
        };
        match T::parse(&raw) {
            Ok(value) => Some(value),
            Err(what) => {
                reader.problem(Problem { key: key.clone(), origin: Some(origin), what });
                None
            }
        }
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn describe(key: &Key, doc: &str, _: Option<&str>, table: &mut Table) {
        T::describe(&key.child("*"), doc, None, table);
    }

    fn read(key: &Key, _: Option<&str>, reader: &mut Reader<'_>) -> Option<Self> {
        let names: Vec<String> = match reader.node(key) {
            Some(Node::Dict(_, members)) => members.keys().cloned().collect(),
            _ => Vec::new(),
        };
        // Read every one before giving up on any, for the sake of complete errors.
        let read: Vec<_> = names.into_iter().map(|name| (T::read(&key.child(&name), None, reader), name)).collect();
        read.into_iter().map(|(value, name)| Some((name, value?))).collect()
    }
}

/// A value as `config print` shows it, redacted already.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) key: Key,
    pub(super) text: Option<String>,
    pub(super) origin: String,
    pub(super) secret: bool,
}

/// Gives each setting its raw value, and collects problems and what `config print` shows.
#[derive(Debug)]
pub struct Reader<'a> {
    merged: &'a Figment,
    root: Dict,
    problems: Problems,
    shown: Vec<Shown>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(merged: &'a Figment) -> Self {
        // The empty path is the root itself; `extract` would lose the tags that carry origins.
        let root = match merged.find_value("") {
            Ok(Node::Dict(_, dict)) => dict,
            _ => Dict::new(),
        };
        Self { merged, root, problems: Problems::default(), shown: Vec::new() }
    }

    pub(super) fn finish(self) -> (Problems, Vec<Shown>) {
        (self.problems, self.shown)
    }

    /// The raw value of a setting with its origin; noted for `config print`.
    pub(super) fn leaf(&mut self, key: &Key, default: Option<&str>, secret: bool) -> Option<(Raw, String)> {
        let found = match self.node(key) {
            None => default.map(|text| (Raw::Text(text.to_owned()), "default".to_owned())),
            Some(node) => Some((raw_of(node), self.origin_of(key, node))),
        };
        let origin = found.as_ref().map_or("unset", |(_, origin)| origin).to_owned();
        let redacted = |raw: &Raw| if secret { REDACTED.to_owned() } else { redact_user_info(&raw.shown()) };
        let text = found.as_ref().map(|(raw, _)| redacted(raw));
        self.shown.push(Shown { key: key.clone(), text, origin, secret });
        found
    }

    /// A setting's text as it was given, where it is text and was given.
    pub(super) fn text(&self, key: &Key) -> Option<String> {
        match self.node(key) {
            Some(Node::String(_, text)) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn node(&self, key: &Key) -> Option<&Node> {
        let (last, sections) = key.parts().split_last()?;
        let mut dict = &self.root;
        for section in sections {
            match dict.get(section) {
                Some(Node::Dict(_, inner)) => dict = inner,
                _ => return None,
            }
        }
        dict.get(last)
    }

    pub(super) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn origin_of(&self, key: &Key, node: &Node) -> String {
        let Some(metadata) = self.merged.get_metadata(node.tag()) else { return "unknown origin".to_owned() };
        match &metadata.source {
            Some(source) => format!("{} {source}", metadata.name),
            None if metadata.name == super::layers::ENVIRONMENT => format!("{} {}", metadata.name, key.variable()),
            None => format!("{} --{key}", metadata.name),
        }
    }
}

fn raw_of(node: &Node) -> Raw {
    match node {
        Node::String(_, text) => Raw::Text(text.clone()),
        Node::Char(_, char) => Raw::Text(char.to_string()),
        Node::Bool(_, truth) => Raw::Text(truth.to_string()),
        Node::Num(_, number) => raw_number(*number),
        Node::Array(_, items) => Raw::List(items.iter().map(|item| raw_of(item).shown()).collect()),
        Node::Empty(..) | Node::Dict(..) => Raw::List(Vec::new()),
    }
}

fn raw_number(number: Num) -> Raw {
    match (number.to_i128(), number.to_u128(), number.to_f64()) {
        (Some(whole), _, _) => Raw::Text(whole.to_string()),
        (_, Some(whole), _) => Raw::Text(whole.to_string()),
        (_, _, fraction) => Raw::Fraction(fraction.unwrap_or(f64::NAN)),
    }
}
