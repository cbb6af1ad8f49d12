//! The Dockerfile as a linter sees it, and the image's last stage: the root that the Dockerfile's script makes, and in it each program, as nobody in particular,
//! without a shell, without capabilities, without a place to write to.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use holdfast_chart::repository;
use holdfast_harness::eventually;

use crate::container::{self, Plan, Root};
use crate::say;
use crate::stage::{self, Stage};

/// What the Dockerfile says.
const USER: (u32, u32) = (10001, 10001);
const SIGTERM: u32 = 15;

/// Runs the suite.
///
/// # Errors
/// Something is not as it should be.
///
/// # Panics
/// If a program does not end.
pub(crate) async fn run() -> Result<()> {
    lint()?;
    let stage = Stage::new()?;
    let root = stage.image()?;
    let files = list(&root, &root)?;
    for shell in ["bin/sh", "bin/bash", "usr/bin/sh", "bin/busybox", "usr/bin/env", "usr/bin/apt"] {
        ensure!(!files.iter().any(|file| file == shell), "the image has {shell}");
    }
    let programs: Vec<&String> = files.iter().filter(|file| file.starts_with("usr/local/bin/")).collect();
    ensure!(programs.len() == 3, "programs: {programs:?}");
    let place = stage.place("image")?;
    for program in ["holdfast-gateway", "holdfast-router", "holdfast"] {
        let said = once(&stage, &place, &root, &[&format!("/usr/local/bin/{program}"), "--version"]).await?;
        ensure!(said.contains("0.1.0"), "{program} says {said:?}");
    }
    say(&format!(
        "{} files, no shell; gateway, router and client start as {}:{} on a read-only root",
        files.len(),
        USER.0,
        USER.1
    ));

    // A program that is there can tell what it is allowed.
    let status =
        once(&stage, &place, &root, &["/usr/local/bin/holdfast", "send", "user", "ana", "hello", "--wait", "200ms"])
            .await;
    let refused = format!("{:#}", status.err().context("there is no bus, and it says it is")?);
    ensure!(refused.contains("exit status: 1"), "without a bus: {refused}");
    restricted(&stage, &place, &root).await
}

/// Down to matters of style.
fn lint() -> Result<()> {
    let Some(hadolint) = stage::variable("HADOLINT_BIN") else {
        say("note: deploy/Dockerfile is not linted: hadolint is not there");
        return Ok(());
    };
    let mut lint = Command::new(hadolint);
    lint.args(["--no-color", "--failure-threshold", "style"]).arg(repository::path("deploy/Dockerfile"));
    stage::run(&mut lint)?;
    say("hadolint has nothing to say of deploy/Dockerfile");
    Ok(())
}

/// What the kernel says of the gateway's own process.
async fn restricted(stage: &Stage, place: &stage::Place, root: &Path) -> Result<()> {
    let mut plan =
        plan(root, &["/usr/local/bin/holdfast-gateway", "--profile", "dev", "--listen.address", "127.0.0.1:8080"]);
    plan.name = "gateway".to_owned();
    let gateway = container::Container::start(stage, place, plan).await?;
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).context("its status")?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        ensure!(field(set).chars().all(|c| c == '0'), "{set} {}", field(set));
    }
    ensure!(field("NoNewPrivs:") == "1", "it may gain privileges");
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", gateway.pid()))?;
    let own = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).context("a root")?;
    ensure!(
        own.split(' ').nth(5).is_some_and(|options| options.split(',').any(|option| option == "ro")),
        "its root: {own}"
    );
    // The kernel drops a signal to a first process that does not catch it yet.
    eventually("the gateway catches SIGTERM", async || match catches(gateway.pid(), SIGTERM) {
        Ok(true) => Ok(()),
        other => Err(format!("{other:?}; {}", gateway.said_so_far())),
    })
    .await;
    gateway.signal("TERM")?;
    let ended = gateway.ended(std::time::Duration::from_secs(60)).await;
    ensure!(ended.code() == Some(0), "as process 1 it ended with {ended}: {}", gateway.said());
    say("no capability in any set, no new privileges, a read-only root; as process 1 it ends with 0 on SIGTERM");
    Ok(())
}

/// Whether the process has a handler for the signal.
fn catches(pid: &str, signal: u32) -> Result<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).context("what it catches")?;
    Ok(u64::from_str_radix(caught.trim(), 16)? & 1 << (signal - 1) != 0)
}

fn plan(root: &Path, command: &[&str]) -> Plan {
    Plan {
        name: "image".to_owned(),
        root: Root::Folder(root.to_owned()),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        variables: Vec::new(),
        mounts: Vec::new(),
        user: USER,
        search: String::new(),
    }
}

async fn once(stage: &Stage, place: &stage::Place, root: &Path, command: &[&str]) -> Result<String> {
    container::once(stage, place, plan(root, command)).await
}

/// Every file below a folder, as paths from `top`.
fn list(top: &Path, folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(list(top, &path)?);
        } else {
            files.push(path.strip_prefix(top)?.display().to_string());
        }
    }
    Ok(files)
}
