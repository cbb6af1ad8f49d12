//! Other people's client libraries: installs the pinned ones into `target/tools/clients`, then runs the driver in
//! `tests/clients`.

use super::Outcome;
use crate::{run, test, workspace};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest Node that the libraries run on.
const NODE_MAJOR: u32 = 18;

pub(super) fn run(arguments: &[String]) -> Result<Outcome> {
    let folder = workspace::target()?.join("tools/clients");
    let installed = node(&folder.join("node")).and_then(|node| Ok((node, python(&folder.join("python"))?)));
    let (node, python) = match installed {
        Ok(installed) => installed,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    let mut driver = test::prepared(run::cargo())?;
    driver.args(["run", "--quiet", "-p", "holdfast-clients", "--"]).args(arguments);
    driver.env("CLIENTS_NODE", node).env("CLIENTS_PYTHON", python);
    Ok(if run::shown(&mut driver)? { Outcome::Passed } else { Outcome::Failed })
}

/// The libraries for Node, from the lock file.
fn node(folder: &Path) -> Result<PathBuf> {
    let version = run::output(Command::new("node").arg("--version")).context("no Node on PATH")?;
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    ensure!(major.is_some_and(|major| major >= NODE_MAJOR), "Node {NODE_MAJOR} or newer is needed, not {version}");
    install(folder, &["package.json", "package-lock.json"], || {
        run::say("installing client libraries with npm");
        let quiet = ["ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        run::output(Command::new("npm").args(quiet).current_dir(folder)).context("npm cannot install the libraries")?;
        Ok(())
    })?;
    Ok(folder.to_owned())
}

/// The libraries for Python, in an environment of their own; its interpreter.
fn python(folder: &Path) -> Result<PathBuf> {
    let interpreter = folder.join("environment/bin/python");
    install(folder, &["requirements.txt"], || {
        run::say("installing client libraries with pip");
        run::output(Command::new("python3").args(["-m", "venv"]).arg(folder.join("environment")))
            .context("no working Python 3 with venv")?;
        let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-r"];
        run::output(Command::new(&interpreter).args(quiet).arg(folder.join("requirements.txt")))
            .context("pip cannot install the libraries")?;
        Ok(())
    })?;
    Ok(interpreter)
}

/// Copies the lists from `tests/clients` and installs, unless that was done with the same lists.
fn install(folder: &Path, lists: &[&str], get: impl FnOnce() -> Result<()>) -> Result<()> {
    // Written last, so that half an installation is made anew; holds what was installed.
    let stamp = folder.join("installed");
    let mut wanted = String::new();
    for list in lists {
        wanted += &fs::read_to_string(workspace::root().join("tests/clients").join(list))?;
    }
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for list in lists {
        fs::copy(workspace::root().join("tests/clients").join(list), folder.join(list))?;
    }
    get()?;
    Ok(fs::write(&stamp, wanted)?)
}
