//! The fault suite: real processes under faults and load, by the driver in `tests/faults`. Without arguments it is the part
//! that is short enough for every change.

use super::Outcome;
use crate::{run, test, workspace};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Sockets are on one address: each needs a port and a file on both sides.
const FILES_MIN: u64 = 8_192;

/// What runs without arguments.
const SHORT: &[&str] = &["--minutes", "0.6"];

pub(super) fn run(arguments: &[String]) -> Result<Outcome> {
    let files = rlimit::Resource::NOFILE.get_hard().unwrap_or(u64::MAX);
    if files < FILES_MIN {
        return Ok(Outcome::Skipped(format!("this machine allows {files} open files, {FILES_MIN} are needed")));
    }
    if !Path::new("/proc/self/task").is_dir() {
        return Ok(Outcome::Skipped("freezing processes needs /proc to look at".to_owned()));
    }
    let mut driver = test::prepared(run::cargo())?;
    let folder = workspace::target()?.join("faults");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    driver.args(["run", "--quiet", "-p", "holdfast-faults", "--", "--logs"]).arg(folder.join("logs"));
    if arguments.is_empty() {
        driver.args(SHORT);
    } else {
        driver.args(arguments);
    }
    let status = driver.status().context("cannot run the driver")?;
    Ok(if status.success() { Outcome::Passed } else { Outcome::Failed })
}
