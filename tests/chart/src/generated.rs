//! The list of generated files, one function for writing them and for telling which are stale.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{dashboards, readme, repository, settings};

/// Written by hand but for its last definition.
const SCHEMA: &str = "helm/holdfast/values.schema.json";

/// A file and what belongs into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// From the top of the repository.
    pub path: String,
    /// Its whole text.
    pub text: String,
}

/// Each generated file.
///
/// # Errors
/// A source cannot be read or understood.
pub fn all() -> Result<Vec<Generated>> {
    let values = repository::read("helm/holdfast/values.yaml")?;
    let permissions = repository::read("helm/holdfast/files/nats-permissions.conf")?;
    let schema = settings::schema(&repository::read(SCHEMA)?, &repository::read("docs/config.md")?)?;
    let mut files = vec![
        Generated { path: SCHEMA.to_owned(), text: schema },
        Generated { path: "helm/holdfast/README.md".to_owned(), text: readme::render(&values)? },
        // The chart can read only files of its own, deployments without it should not need the chart: one text, twice.
        Generated { path: "deploy/nats/permissions.conf".to_owned(), text: permissions },
    ];
    for (name, dashboard) in dashboards::all() {
        let mut text = serde_json::to_string_pretty(&dashboard)?;
        text.push('\n');
        files.push(Generated { path: format!("helm/holdfast/dashboards/{name}.json"), text });
    }
    Ok(files)
}

/// Writes those that differ and returns their paths.
///
/// # Errors
/// A source cannot be read, or a file not written.
pub fn write() -> Result<Vec<String>> {
    let stale = stale()?;
    for file in &stale {
        fs::write(repository::path(&file.path), &file.text).with_context(|| format!("cannot write {}", file.path))?;
    }
    Ok(stale.into_iter().map(|file| file.path).collect())
}

/// Those whose text on disk is another.
///
/// # Errors
/// A source cannot be read.
pub fn stale() -> Result<Vec<Generated>> {
    Ok(all()?
        .into_iter()
        .filter(|file| fs::read_to_string(repository::path(&file.path)).ok().as_ref() != Some(&file.text))
        .collect())
}
