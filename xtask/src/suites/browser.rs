//! The demo page and the examples in headless Chromium: gets the browser, then runs the driver in `tests/conformance`, which
//! looks for a Firefox by itself.

use super::Outcome;
use crate::{SKIPPED, run, test};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Names a browser to use, whatever else is there.
const VARIABLE: &str = "CHROMIUM_BIN";

pub(super) fn run(arguments: &[String]) -> Result<Outcome> {
    let chromium = match find() {
        Some(found) => found,
        None => match install() {
            Ok(installed) => installed,
            Err(error) => return Ok(Outcome::Skipped(format!("no Chromium on PATH or in {VARIABLE}; {error:#}"))),
        },
    };
    let mut driver = test::prepared(run::cargo())?;
    driver
        .args(["run", "--quiet", "-p", "holdfast-conformance", "--bin", "browser", "--"])
        .args(arguments)
        .env(VARIABLE, chromium);
    match super::clients::installed() {
        Ok((node, python)) => drop(driver.env("CLIENTS_NODE", node).env("CLIENTS_PYTHON", python)),
        Err(error) => run::say(&format!("the examples are left out: {error:#}")),
    }
    let status = driver.status().context("cannot run the driver")?;
    Ok(match status.code() {
        Some(0) => Outcome::Passed,
        Some(code) if code == i32::from(SKIPPED) => Outcome::Skipped("the driver found no browser to drive".to_owned()),
        _ => Outcome::Failed,
    })
}

fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().flat_map(run::on_path).next()
}

/// From the Debian package manager, where we may.
fn install() -> Result<PathBuf> {
    let user = run::output(Command::new("id").arg("-u"))?;
    anyhow::ensure!(user.trim() == "0", "installing one needs root");
    anyhow::ensure!(!run::on_path("apt-get").is_empty(), "installing one needs apt-get");
    run::say("installing Chromium with apt-get");
    let apt = |arguments: &[&str]| {
        run::output(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update", "-q"])?;
    apt(&["install", "-q", "-y", "--no-install-recommends", "chromium"])?;
    find().context("apt-get installed none")
}
