//! Which crate may depend on which: the architecture, checked. A new edge is a decision, made here.

use super::Finding;
use crate::workspace::{Metadata, Package, root};
use anyhow::Result;
use std::collections::BTreeSet;
use std::fs;

/// Each crate with those of ours it may depend on, tests included. Gateway and router meet only on the bus; the test
/// harness starts programs and links none of them; the simulation alone links both.
const ALLOWED: &[(&str, &[&str])] = &[
    ("holdfast-protocol", &[]),
    ("holdfast-daemon", &["holdfast-harness (dev)"]),
    ("holdfast-gateway", &["holdfast-daemon", "holdfast-harness (dev)", "holdfast-protocol"]),
    ("holdfast-router", &["holdfast-daemon", "holdfast-harness (dev)", "holdfast-protocol"]),
    ("holdfast-cli", &["holdfast-protocol"]),
    ("holdfast-harness", &["holdfast-protocol"]),
    ("holdfast-e2e", &["holdfast-harness (dev)", "holdfast-protocol (dev)"]),
    ("holdfast-sim", &["holdfast-daemon", "holdfast-gateway", "holdfast-protocol", "holdfast-router"]),
    ("holdfast-conformance", &["holdfast-harness", "holdfast-protocol"]),
    ("holdfast-faults", &["holdfast-harness", "holdfast-protocol"]),
    ("holdfast-clients", &["holdfast-harness", "holdfast-protocol"]),
    ("holdfast-boxes", &["holdfast-chart", "holdfast-harness"]),
    ("holdfast-chart", &["holdfast-harness (dev)"]),
    ("holdfast-bench", &["holdfast-harness", "holdfast-protocol"]),
    ("xtask", &[]),
];

/// What `protocol` must not know: it is pure data.
const NOT_IN_PROTOCOL: &[&str] =
    &["tokio", "async-nats", "hyper", "rustls", "figment", "tracing", "prometheus", "getrandom"];

pub(super) fn check(metadata: &Metadata) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let manifest = package.manifest_path.strip_prefix(root()).unwrap_or(&package.manifest_path);
        let text = fs::read_to_string(&package.manifest_path)?;
        let mut finding = |needle: &str, what: String| {
            let line = text.lines().position(|line| line.starts_with(needle)).map_or(1, |at| at + 1);
            findings.push(Finding { path: manifest.to_owned(), line, what });
        };
        if !text.contains("[lints]\nworkspace = true") {
            finding("[package]", "does not inherit the workspace's lints".to_owned());
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
            finding("name", format!("crate {} is not in xtask's list of edges", package.name));
            continue;
        };
        for edge in edges(package) {
            let name = edge.split(' ').next().unwrap_or_default().to_owned();
            if !allowed.contains(&edge.as_str()) {
                finding(&name, format!("{} must not depend on {edge}", package.name));
            }
        }
        if package.name == "holdfast-protocol" {
            for dependency in &package.dependencies {
                if dependency.kind.is_none() && NOT_IN_PROTOCOL.contains(&dependency.name.as_str()) {
                    finding(&dependency.name, format!("protocol is pure data and must not know {}", dependency.name));
                }
            }
        }
    }
    Ok(findings)
}

/// The crates of ours it depends on; those for tests alone are marked.
fn edges(package: &Package) -> BTreeSet<String> {
    let ours = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
    ours.map(|dependency| match &dependency.kind {
        Some(kind) => format!("{} ({kind})", dependency.name),
        None => dependency.name.clone(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;
    use std::path::PathBuf;

    fn package(name: &str, dependency: &str) -> Metadata {
        let dependency =
            Dependency { name: dependency.to_owned(), kind: None, path: Some(PathBuf::from("/somewhere")) };
        let manifest_path = root().join("protocol/Cargo.toml");
        let package = Package { name: name.to_owned(), manifest_path, dependencies: vec![dependency] };
        Metadata { packages: vec![package], target_directory: PathBuf::new() }
    }

    #[test]
    fn an_edge_that_is_not_listed_is_found() {
        let found = check(&package("holdfast-gateway", "holdfast-router")).expect("checked");

        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("must not depend on holdfast-router"), "{found:?}");
    }

    #[test]
    fn a_crate_that_is_not_listed_is_found() {
        let found = check(&package("holdfast-common", "holdfast-protocol")).expect("checked");

        assert!(found.iter().any(|finding| finding.what.contains("not in xtask's list")), "{found:?}");
    }
}
