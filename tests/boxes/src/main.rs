//! Runs what ships as it ships: the chart's rendered pods, `deploy/compose.yaml`, the files of `deploy/balancers`, the image,
//! and the first day's page.
//!
//! Each part is a process in namespaces of its own, as a container engine would make them: the same files at the same
//! paths, the same command, variables, user, name and address, a root that is read-only, no capabilities. Nothing of a
//! file is rewritten. What an engine adds beyond that (cgroups, seccomp) is not here. Exit status 77: a tool is missing.

mod balancers;
mod compose;
mod container;
mod first_day;
mod image;
mod kube;
mod names;
mod numbers;
mod stage;
mod workloads;
mod yaml;

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

const USAGE: &str = "usage: holdfast-boxes workloads|compose|balancers|image|first-day";

/// What a skipped suite exits with.
const SKIPPED: u8 = 77;
/// Set once we are in namespaces of our own.
const INSIDE: &str = "HOLDFAST_BOXES_INSIDE";

/// What is missing for a suite; anything else is a failure.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["relay", from, to] = words.as_slice() {
        names::relay(from.parse()?, to.parse()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let &[suite] = words.as_slice() else {
        say(USAGE);
        return Ok(ExitCode::from(2));
    };
    if stage::variable(INSIDE).is_none() {
        return enter();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        match suite {
            "workloads" => workloads::run().await,
            "compose" => compose::run().await,
            "balancers" => balancers::run().await,
            "image" => image::run().await,
            "first-day" => first_day::run().await,
            _ => Err(anyhow::anyhow!(USAGE)),
        }
    });
    match done {
        Err(error) if error.is::<Missing>() => {
            say(&format!("skipped: {error:#}"));
            Ok(ExitCode::from(SKIPPED))
        }
        Err(error) => {
            say(&format!("failed: {error:#}"));
            Ok(ExitCode::FAILURE)
        }
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

/// Runs this program again, in namespaces of its own: what it starts and mounts ends with it.
fn enter() -> Result<ExitCode> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !Command::new("unshare")
        .args(["--map-root-user", "--mount", "--net", "true"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        say("skipped: namespaces of one's own are not allowed here, or unshare is not there");
        return Ok(ExitCode::from(SKIPPED));
    }
    let this = std::env::current_exe().context("where this program is")?;
    let error = unshare.arg(this).args(std::env::args().skip(1)).env(INSIDE, "1").exec();
    Err(error).context("cannot run unshare")
}

/// Tells each step that passed.
pub(crate) fn say(line: &str) {
    // Nobody listens: nothing to be done about it.
    drop(writeln!(std::io::stdout(), "{line}"));
}
