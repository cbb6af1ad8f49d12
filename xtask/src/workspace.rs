//! Where things are in this repository, and what Cargo knows of it.

use crate::run;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The top folder of the repository.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let own =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        own.parent().map_or(own.clone(), Path::to_owned)
    })
}

/// What `cargo metadata` tells, as far as it is used here.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

/// A crate of this workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of its `[dependencies]`.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None`, `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Set for crates of this workspace.
    pub(crate) path: Option<PathBuf>,
}

/// Asks Cargo about the workspace, without touching the network.
pub(crate) fn metadata() -> Result<Metadata> {
    let text = run::output(run::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    serde_json::from_str(&text).context("cargo metadata speaks another format")
}

/// Where Cargo builds.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(metadata()?.target_directory)
}

/// The development builds of our binaries, once built.
pub(crate) fn binaries() -> Result<PathBuf> {
    Ok(target()?.join("debug"))
}

/// Builds the three programs, with Cargo's own progress shown.
pub(crate) fn build() -> Result<()> {
    run::say("building holdfast-gateway, holdfast-router and holdfast");
    let packages = ["-p", "holdfast-gateway", "-p", "holdfast-router", "-p", "holdfast-cli"];
    run::must(run::cargo().args(["build", "--bins"]).args(packages))
}
