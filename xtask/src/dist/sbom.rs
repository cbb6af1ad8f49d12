//! What the programs are made of, as CycloneDX 1.6: each crate that is linked into one of them, from Cargo's own graph.
//!
//! Crates that only build or test something are left out: they are in no program.

use crate::{run, workspace};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// What `cargo metadata` tells of all crates.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
    /// Sums by name and version, from Cargo.lock.
    #[serde(skip)]
    sums: BTreeMap<(String, String), String>,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    repository: Option<String>,
    /// None for our own.
    source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    /// `None`, `dev` or `build`.
    kind: Option<String>,
}

impl Metadata {
    /// For this target.
    pub(super) fn read(target: &str) -> Result<Self> {
        let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", target];
        let text = run::output(run::cargo().args(arguments))?;
        let mut metadata: Self = serde_json::from_str(&text).context("cargo metadata speaks another format")?;
        let lock = fs::read_to_string(workspace::root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
        metadata.sums = sums(&lock);
        Ok(metadata)
    }

    /// The crates that these lead to, by what is linked, with themselves.
    fn linked(&self, roots: &[&str]) -> BTreeSet<&str> {
        let nodes: BTreeMap<&str, &Node> = self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let ours = self.packages.iter().filter(|package| roots.contains(&package.name.as_str()));
        let mut open: Vec<&str> = ours.map(|package| package.id.as_str()).collect();
        let mut linked = BTreeSet::new();
        while let Some(id) = open.pop() {
            if linked.insert(id) {
                open.extend(nodes.get(id).into_iter().flat_map(|node| node.links()));
            }
        }
        linked
    }
}

impl Node {
    fn links(&self) -> impl Iterator<Item = &str> {
        let linked = |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
        self.deps.iter().filter(linked).map(|dependency| dependency.pkg.as_str())
    }
}

/// The sums in a Cargo.lock.
fn sums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.map(|rest| rest.trim_end_matches('"').to_owned())
    };
    let blocks = lock.split("[[package]]").skip(1);
    let known =
        blocks.filter_map(|block| Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?)));
    known.collect()
}

/// The document, of this time.
pub(super) fn make(metadata: &Metadata, roots: &[&str], version: &str, time_s: u64) -> Result<String> {
    let linked = metadata.linked(roots);
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let mut components: Vec<&Package> = linked.iter().filter_map(|id| packages.get(id).copied()).collect();
    components.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    let mut edges = Vec::new();
    for node in metadata.resolve.nodes.iter().filter(|node| linked.contains(node.id.as_str())) {
        let Some(package) = packages.get(node.id.as_str()) else { continue };
        let to: BTreeSet<String> =
            node.links().filter_map(|id| packages.get(id)).map(|package| package.reference()).collect();
        edges.push((package.reference(), to));
    }
    let ours = components.iter().filter(|package| roots.contains(&package.name.as_str()));
    edges.push(("holdfast".to_owned(), ours.map(|package| package.reference()).collect()));
    edges.sort();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(time_s),
            "component": {"type": "application", "bom-ref": "holdfast", "name": "holdfast", "version": version},
            "lifecycles": [{"phase": "build"}],
        },
        "components": components.iter().map(|package| package.component(&metadata.sums)).collect::<Vec<_>>(),
        "dependencies": edges.iter().map(|(from, to)| json!({"ref": from, "dependsOn": to})).collect::<Vec<_>>(),
    });
    let mut text = serde_json::to_string_pretty(&document).context("cannot write JSON")?;
    text.push('\n');
    Ok(text)
}

impl Package {
    fn reference(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }

    fn component(&self, sums: &BTreeMap<(String, String), String>) -> Value {
        let mut component = json!({
            "type": "library",
            "bom-ref": self.reference(),
            "name": self.name,
            "version": self.version,
        });
        let mut add = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                component[key] = value;
            }
        };
        // An older way to write OR, which is no expression of SPDX.
        let license = self.license.as_ref().map(|license| license.replace('/', " OR "));
        add("licenses", license.map(|license| json!([{ "expression": license }])));
        add("description", self.description.as_ref().map(|text| text.trim().into()));
        add("purl", self.source.as_ref().map(|_| self.reference().into()));
        let sum = sums.get(&(self.name.clone(), self.version.clone()));
        add("hashes", sum.map(|sum| json!([{"alg": "SHA-256", "content": sum}])));
        add("externalReferences", self.repository.as_ref().map(|url| json!([{"type": "vcs", "url": url}])));
        component
    }
}

/// RFC 3339, in UTC.
fn timestamp(time_s: u64) -> String {
    let (days, second) = (time_s / 86_400, time_s % 86_400);
    // Civil from days, after Howard Hinnant: eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{
        "packages": [
            {"id": "a", "name": "a", "version": "1.0.0", "license": "Apache-2.0", "description": null, "repository": null,
             "source": null},
            {"id": "b", "name": "b", "version": "2.0.0", "license": "MIT/Apache-2.0", "description": " B. ",
             "repository": "https://example.org/b", "source": "registry"},
            {"id": "t", "name": "t", "version": "3.0.0", "license": "MIT", "description": null, "repository": null,
             "source": "registry"}
        ],
        "resolve": {"nodes": [
            {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": null}]}, {"pkg": "t", "dep_kinds": [{"kind": "dev"}]}]},
            {"id": "b", "deps": [{"pkg": "t", "dep_kinds": [{"kind": "build"}]}]},
            {"id": "t", "deps": []}
        ]}
    }"#;

    #[test]
    fn what_is_linked_is_named_with_licence_sum_and_edges_and_nothing_else() {
        let mut metadata: Metadata = serde_json::from_str(METADATA).unwrap();
        metadata.sums = sums("[[package]]\nname = \"b\"\nversion = \"2.0.0\"\nsource = \"x\"\nchecksum = \"abcd\"\n");

        let text = make(&metadata, &["a"], "0.1.0", 1_795_281_606).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();

        let names: Vec<_> = document["components"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
        assert_eq!(names, ["a", "b"], "neither tests nor builds");
        let b = &document["components"][1];
        assert_eq!(b["purl"], "pkg:cargo/b@2.0.0");
        assert_eq!(b["licenses"], json!([{"expression": "MIT OR Apache-2.0"}]));
        assert_eq!(b["hashes"], json!([{"alg": "SHA-256", "content": "abcd"}]));
        let edges = &document["dependencies"];
        assert!(
            edges
                .as_array()
                .unwrap()
                .contains(&json!({"ref": "pkg:cargo/a@1.0.0", "dependsOn": ["pkg:cargo/b@2.0.0"]}))
        );
        assert!(edges.as_array().unwrap().contains(&json!({"ref": "holdfast", "dependsOn": ["pkg:cargo/a@1.0.0"]})));
        assert_eq!(document["metadata"]["timestamp"], "2026-11-21T17:20:06Z");
    }

    #[test]
    fn times_are_written_as_in_calendars() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(timestamp(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(1_709_251_200), "2024-03-01T00:00:00Z");
    }
}
