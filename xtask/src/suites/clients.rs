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
    let (node, python) = match installed() {
        Ok(installed) => installed,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    let mut driver = test::prepared(run::cargo())?;
    driver.args(["run", "--quiet", "-p", "holdfast-clients", "--"]).args(arguments);
    driver.env("CLIENTS_NODE", node).env("CLIENTS_PYTHON", python);
    match spring(&workspace::target()?.join("tools/clients/spring")) {
        Ok(jar) => drop(driver.env("CLIENTS_SPRING", jar)),
        Err(error) => run::say(&format!("Spring is left out: {error:#}")),
    }
    Ok(if run::shown(&mut driver)? { Outcome::Passed } else { Outcome::Failed })
}

/// Where the libraries for Node are, and the Python that has its own; installed first where they are not there.
pub(super) fn installed() -> Result<(PathBuf, PathBuf)> {
    let folder = workspace::target()?.join("tools/clients");
    Ok((node(&folder.join("node"))?, python(&folder.join("python"))?))
}

/// The libraries for Node, from the lock file.
fn node(folder: &Path) -> Result<PathBuf> {
    let version = run::output(Command::new("node").arg("--version")).context("no Node on PATH")?;
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    ensure!(major.is_some_and(|major| major >= NODE_MAJOR), "Node {NODE_MAJOR} or newer is needed, not {version}");
    install(folder, "tests/clients", &["package.json", "package-lock.json"], || {
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
    install(folder, "tests/clients", &["requirements.txt"], || {
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

/// The Spring Boot example, built; its archive.
fn spring(folder: &Path) -> Result<PathBuf> {
    ensure!(run::runs("java", &["-version"]), "no Java on PATH");
    ensure!(run::runs("mvn", &["--version"]), "no Maven on PATH");
    install(folder, "examples/spring-relay", &["pom.xml", "src/main/java/example/Application.java"], || {
        run::say("building the Spring Boot example with Maven");
        run::output(Command::new("mvn").args(["-q", "-B", "package"]).current_dir(folder))
            .context("Maven cannot build the Spring Boot example")?;
        Ok(())
    })?;
    Ok(folder.join("target/spring-relay.jar"))
}

/// Copies files from a folder of the repository and installs what they say, unless that was done with the same ones.
fn install(folder: &Path, from: &str, lists: &[&str], get: impl FnOnce() -> Result<()>) -> Result<()> {
    let from = workspace::root().join(from);
    // Written last, so that half an installation is made anew; holds what was installed.
    let stamp = folder.join("installed");
    let mut wanted = String::new();
    for list in lists {
        wanted += &fs::read_to_string(from.join(list))?;
    }
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for list in lists {
        let to = folder.join(list);
        fs::create_dir_all(to.parent().unwrap_or(folder))?;
        fs::copy(from.join(list), to)?;
    }
    get()?;
    Ok(fs::write(&stamp, wanted)?)
}
