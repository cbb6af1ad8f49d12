//! The Helm chart: gets helm, then runs the checks in `tests/chart`. With a cluster behind `kubectl`,
//! `cargo xtask test chart -- --cluster` installs the chart on it too.

use super::Outcome;
use crate::{SKIPPED, nats, run, workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The helm that is built where none is installed.
const HELM: &str = "helm.sh/helm/v4/cmd/helm@v4.3.1";

pub(super) fn run(arguments: &[String]) -> Result<Outcome> {
    let tools = workspace::target()?.join("tools/chart");
    fs::create_dir_all(&tools).with_context(|| format!("cannot make {}", tools.display()))?;
    if let Err(error) = helm(&tools) {
        return Ok(Outcome::Skipped(format!("{error:#}")));
    }
    workspace::build()?;
    link(&nats::get()?, &tools.join("nats-server"))?;
    for program in ["holdfast-gateway", "holdfast-router"] {
        link(&workspace::binaries()?.join(program), &tools.join(program))?;
    }
    let mut driver = run::cargo();
    driver.args(["run", "--quiet", "-p", "holdfast-chart", "--", "test", "--tools"]).arg(tools).args(arguments);
    let status = driver.status().context("cannot run the checks")?;
    Ok(match status.code() {
        Some(0) => Outcome::Passed,
        Some(code) if code == i32::from(SKIPPED) => Outcome::Skipped("its line is above".to_owned()),
        _ => Outcome::Failed,
    })
}

/// On `PATH`, fetched before, or built with Go.
fn helm(tools: &Path) -> Result<()> {
    let own: PathBuf = tools.join("helm");
    if run::runs(&own, &["version"]) || run::runs("helm", &["version"]) {
        return Ok(());
    }
    if !run::runs("go", &["version"]) {
        bail!("no helm on PATH, and no Go to build one with");
    }
    run::say("building helm with go (some minutes)");
    run::output(Command::new("go").args(["install", HELM]).env("GOBIN", tools).current_dir(std::env::temp_dir()))
        .context("no helm on PATH, and it could not be built")?;
    Ok(())
}

fn link(to: &Path, at: &Path) -> Result<()> {
    match fs::remove_file(at) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::os::unix::fs::symlink(to, at).with_context(|| format!("cannot make {}", at.display()))
}
