//! The layers above the defaults: file, environment, flags; each checked against the table on its own.
//!
//! A key that nobody knows is an error in a file and among the flags, where it is a mistake, and a warning in the
//! environment, where others put things too: Kubernetes injects `HOLDFAST_GATEWAY_PORT=tcp://…` for a service of
//! that name.

use super::table::{Key, Problem, Problems, Table};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value as Node};
use figment::{Metadata, Profile, Provider};
use std::ffi::OsString;
use std::path::Path;

/// What each environment variable of ours begins with.
pub(super) const PREFIX: &str = "HOLDFAST_";

/// The name of the environment's layer.
pub(super) const ENVIRONMENT: &str = "environment";

/// One layer, checked: only known keys, sections where sections belong.
#[derive(Debug)]
pub(super) struct Layer {
    metadata: Metadata,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// Reads a file. What is foreign (keys and sections of other services) is taken out.
pub(super) fn file(path: &Path, table: &Table, foreign: &[&str], problems: &mut Problems) -> Layer {
    let origin = format!("file {}", path.display());
    let metadata = Metadata::from("file", path);
    let mut wrong = |what: String| {
        problems.push(Problem { key: Key::root(), origin: Some(origin.clone()), what });
        Dict::new()
    };
    let dict = match std::fs::read_to_string(path) {
        Err(error) => wrong(format!("cannot read the configuration file: {error}")),
        Ok(text) => match Toml::string(&text).data() {
            Err(error) => wrong(error.to_string().trim_end().to_owned()),
            Ok(mut profiles) => profiles.remove(&Profile::Default).unwrap_or_default(),
        },
    };
    let mut checker = Checker { table, foreign, origin: &origin, problems };
    let dict = checker.check(&Key::root(), dict);
    Layer { metadata, dict }
}

struct Checker<'a> {
    table: &'a Table,
    foreign: &'a [&'a str],
    origin: &'a str,
    problems: &'a mut Problems,
}

impl Checker<'_> {
    /// Keeps what the table knows; notes the rest.
    fn check(&mut self, section: &Key, dict: Dict) -> Dict {
        let mut kept = Dict::new();
        for (name, node) in dict {
            let key = section.child(&name);
            if is_foreign(&key, self.foreign) && !self.table.is_section(&key) {
                continue;
            }
            match node {
                Node::Dict(tag, inner) if self.table.is_section(&key) => {
                    let inner = self.check(&key, inner);
                    kept.insert(name, Node::Dict(tag, inner));
                }
                Node::Dict(..) if self.table.find(&key).is_some() => self.wrong(key, "is a setting, not a section"),
                node if self.table.find(&key).is_some() => {
                    kept.insert(name, node);
                }
                _ if self.table.is_section(&key) => self.wrong(key, "is a section, not a setting"),
                _ => {
                    let what = unknown("key", self.table.nearest(&key).map(|key| key.to_string()));
                    self.wrong(key, &what);
                }
            }
        }
        kept
    }

    fn wrong(&mut self, key: Key, what: &str) {
        self.problems.push(Problem { key, origin: Some(self.origin.to_owned()), what: what.to_owned() });
    }
}

/// Whether a key is, or is in, one of the foreign ones.
fn is_foreign(key: &Key, foreign: &[&str]) -> bool {
    foreign.iter().any(|prefix| key.parts().starts_with(Key::parse(prefix).parts()))
}

fn unknown(what: &str, nearest: Option<String>) -> String {
    match nearest {
        Some(nearest) => format!("unknown {what}; did you mean {nearest}?"),
        None => format!("unknown {what}"),
    }
}

/// Takes what is ours out of the environment; the rest under our prefix becomes warnings.
pub(super) fn environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    table: &Table,
    foreign: &[&str],
    problems: &mut Problems,
    warnings: &mut Vec<String>,
) -> Layer {
    let mut dict = Dict::new();
    for (variable, value) in variables {
        let Some(variable) = variable.to_str() else { continue };
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let key = Key::parse(&name.to_lowercase().replace("__", "."));
        if table.find(&key).is_none() {
            if !is_foreign(&key, foreign) {
                let nearest = table.nearest(&key).map(|key| key.variable()).filter(|near| near != variable);
                warnings.push(format!("{variable}: {}", unknown("environment variable, ignored", nearest)));
            }
            continue;
        }
        match value.into_string() {
            Ok(text) => insert(&mut dict, key.parts(), text),
            Err(_) => {
                let origin = Some(format!("{ENVIRONMENT} {variable}"));
                problems.push(Problem { key, origin, what: "is not UTF-8".to_owned() });
            }
        }
    }
    Layer { metadata: Metadata::named(ENVIRONMENT), dict }
}

/// Settings given as flags.
pub(super) fn flags(flags: &[(String, String)], table: &Table, problems: &mut Problems) -> Layer {
    let mut dict = Dict::new();
    for (name, text) in flags {
        let key = Key::parse(&name.replace('-', "_"));
        if table.find(&key).is_some() {
            insert(&mut dict, key.parts(), text.clone());
        } else {
            let what = unknown("flag", table.nearest(&key).map(|key| format!("--{key}")));
            problems.push(Problem { key: Key::root(), origin: None, what: format!("--{name}: {what}") });
        }
    }
    Layer { metadata: Metadata::named("flag"), dict }
}

/// Inserts a text at a path; the table has no setting inside another, so nothing is in the way.
fn insert(dict: &mut Dict, path: &[String], text: String) {
    match path {
        [] => {}
        [name] => {
            dict.insert(name.clone(), Node::from(text));
        }
        [section, rest @ ..] => {
            let node = dict.entry(section.clone()).or_insert_with(|| Node::from(Dict::new()));
            if let Node::Dict(_, inner) = node {
                insert(inner, rest, text);
            }
        }
    }
}
