//! Traces into a real OpenTelemetry collector: builds one with Go where none is there, then runs the end-to-end tests of
//! traces, which use it.

use super::Outcome;
use crate::{run, test, workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names a collector to use, whatever else is there.
const VARIABLE: &str = "OTELCOL_BIN";
/// The collector's own builder; its modules carry the same version.
const BUILDER: &str = "go.opentelemetry.io/collector/cmd/builder@v0.158.0";

pub(super) fn run(arguments: &[String]) -> Result<Outcome> {
    let collector = match find() {
        Some(found) => found,
        None => match build() {
            Ok(built) => built,
            Err(error) => return Ok(Outcome::Skipped(format!("no otelcol on PATH or in {VARIABLE}; {error:#}"))),
        },
    };
    let mut tests = test::prepared(run::cargo())?;
    tests.args(["test", "--quiet", "-p", "holdfast-e2e", "traces::"]).args(arguments).env(VARIABLE, collector);
    Ok(if run::shown(&mut tests)? { Outcome::Passed } else { Outcome::Failed })
}

fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    run::on_path("otelcol").into_iter().next()
}

/// Into `target/tools`, once.
fn build() -> Result<PathBuf> {
    let tools = workspace::target()?.join("tools");
    let collector = tools.join("otelcol");
    if run::runs(&collector, &["--version"]) {
        return Ok(collector);
    }
    if !run::runs("go", &["version"]) {
        bail!("no Go to build one with");
    }
    run::say("building an OpenTelemetry collector with go (some minutes)");
    let folder = tools.join("otelcol.part");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let manifest = folder.join("builder.yaml");
    fs::write(&manifest, manifest_for(&folder)).context("cannot write the builder's manifest")?;
    run::output(Command::new("go").args(["run", BUILDER, "--config"]).arg(&manifest).current_dir(&folder))
        .context("it could not be built")?;
    // A rename, so that two runs at once never see half a file.
    fs::rename(folder.join("otelcol"), &collector).context("cannot move it to its place")?;
    fs::remove_dir_all(&folder).context("cannot remove the builder's folder")?;
    Ok(collector)
}

fn manifest_for(folder: &Path) -> String {
    format!(
        "dist:\n  name: otelcol\n  description: Collector for tests\n  version: 0.158.0\n  output_path: {}\n\
         receivers:\n  - gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v0.158.0\n\
         processors:\n  - gomod: go.opentelemetry.io/collector/processor/batchprocessor v0.158.0\n\
         \x20 - gomod: go.opentelemetry.io/collector/processor/memorylimiterprocessor v0.158.0\n\
         exporters:\n  - gomod: go.opentelemetry.io/collector/exporter/debugexporter v0.158.0\n\
         providers:\n  - gomod: go.opentelemetry.io/collector/confmap/provider/envprovider v1.64.0\n\
         \x20 - gomod: go.opentelemetry.io/collector/confmap/provider/fileprovider v1.64.0\n",
        folder.display()
    )
}
