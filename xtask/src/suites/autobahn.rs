//! Autobahn|Testsuite against the gateway's echo route: 301 cases, plain and TLS.
//!
//! The suite is written in Python 2.7. Its environment is made once, in `target/tools/autobahn`, from the pinned list
//! in `tests/conformance/autobahn.txt`; the driver in `tests/conformance` starts the gateway, runs the suite and
//! compares each case with the committed expectations.

use super::Outcome;
use crate::{run, test, workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names a CPython 2.7 to use, whatever else is there.
const VARIABLE: &str = "PY27";

/// The last line of `virtualenv` that can make an environment for Python 2.7.
const VIRTUALENV: &str = "virtualenv<20.22";

pub(super) fn run(arguments: &[String]) -> Result<Outcome> {
    let wstest = match installed() {
        Ok(wstest) => wstest,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    let mut driver = test::prepared(run::cargo())?;
    driver.args(["run", "--quiet", "-p", "holdfast-conformance", "--bin", "autobahn", "--"]).args(arguments);
    driver.env("WSTEST_BIN", wstest).env("AUTOBAHN_DIR", workspace::target()?.join("autobahn"));
    Ok(if run::shown(&mut driver)? { Outcome::Passed } else { Outcome::Failed })
}

/// The suite's program, installed first where it is not there.
fn installed() -> Result<PathBuf> {
    let folder = workspace::target()?.join("tools/autobahn");
    let wstest = folder.join("suite/bin/wstest");
    let requirements = workspace::root().join("tests/conformance/autobahn.txt");
    // Written last, so that half an installation is made anew; holds what was installed.
    let (stamp, wanted) = (folder.join("installed"), fs::read_to_string(&requirements)?);
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(wstest);
    }
    let python = python27()?;
    run::say("installing Autobahn|Testsuite (Python 2.7, about half a minute)");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    let tools = folder.join("virtualenv");
    run::output(Command::new("python3").args(["-m", "venv"]).arg(&tools)).context("no working Python 3 with venv")?;
    pip(&tools.join("bin/pip"), &[VIRTUALENV.as_ref()]).context("cannot install virtualenv")?;
    let suite = folder.join("suite");
    run::output(Command::new(tools.join("bin/virtualenv")).arg("-q").arg("-p").arg(&python).arg(&suite))
        .context("cannot make an environment for Python 2.7")?;
    pip(&suite.join("bin/pip"), &["-r".as_ref(), requirements.as_os_str()]).context("cannot install the suite")?;
    run::output(Command::new(&wstest).arg("-a").env("PYTHONWARNINGS", "ignore"))?;
    fs::write(&stamp, wanted)?;
    Ok(wstest)
}

fn pip(pip: &Path, what: &[&std::ffi::OsStr]) -> Result<String> {
    let quiet = ["install", "--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1"];
    run::output(Command::new(pip).args(quiet).args(what).env("PYTHONWARNINGS", "ignore"))
}

/// A CPython 2.7: named, on `PATH`, or one of pyenv's.
fn python27() -> Result<PathBuf> {
    let named = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()).map(PathBuf::from);
    let pyenv = run::output(Command::new("pyenv").args(["prefix", "2.7.18"])).ok();
    let pyenv = pyenv.map(|prefix| Path::new(prefix.trim()).join("bin/python2.7"));
    let candidates = named.into_iter().chain(pyenv).chain(run::on_path("python2.7"));
    let works = |python: &PathBuf| run::runs(python, &["-c", "import sys, ssl; assert sys.version_info[:2] == (2, 7)"]);
    match candidates.into_iter().find(works) {
        Some(python) => Ok(python),
        None => bail!("Autobahn|Testsuite needs a CPython 2.7: on PATH, in pyenv (2.7.18), or named in {VARIABLE}"),
    }
}
