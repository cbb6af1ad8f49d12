//! What ships, as it ships: builds our programs and finds those of others, then runs `tests/boxes`.

use super::Outcome;
use super::chart;
use crate::{SKIPPED, run, test, workspace};
use anyhow::{Context, Result};
use std::process::Command;

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
    let status = boxes.arg(suite).status().context("cannot run the suite")?;
    Ok(match status.code() {
        Some(0) => Outcome::Passed,
        Some(code) if code == i32::from(SKIPPED) => Outcome::Skipped("its line is above".to_owned()),
        _ => Outcome::Failed,
    })
}
