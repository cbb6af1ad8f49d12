//! `cargo xtask test`: the tests of the workspace, or one of the suites of others.

use crate::suites::{self, Suite};
use crate::{nats, run, workspace};
use anyhow::Result;
use clap::Args;
use std::process::{Command, ExitCode};

const AFTER_HELP: &str = "\
Without a suite: units, simulation and end to end, with real nats-server, router and gateway processes.

Examples:
  cargo xtask test
  cargo xtask test -- -p holdfast-e2e rooms      what follows -- goes to cargo test
  cargo xtask test conformance                   Autobahn against the echo route

A suite whose tools are missing and cannot be had says so in one line and exits with 77.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct TestArgs {
    /// A suite of others' making.
    #[arg(value_enum)]
    suite: Option<Suite>,
    /// After `--`: for cargo test in place of `--workspace --no-fail-fast`, or for the suite's driver.
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(args: TestArgs) -> Result<ExitCode> {
    if let Some(suite) = args.suite {
        return suites::run(suite, &args.arguments);
    }
    let mut tests = prepared(run::cargo())?;
    tests.arg("test");
    let arguments = if args.arguments.is_empty() {
        vec!["--workspace".to_owned(), "--no-fail-fast".to_owned()]
    } else {
        args.arguments
    };
    run::say(&format!("running cargo test {}", arguments.join(" ")));
    let passed = run::shown(tests.args(arguments))?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Gets and builds what tests with processes need, and tells the command where it is.
pub(crate) fn prepared(mut command: Command) -> Result<Command> {
    raise_file_limit();
    let nats_server = nats::get()?;
    workspace::build()?;
    command.env("NATS_SERVER_BIN", nats_server).env("HOLDFAST_BIN_DIR", workspace::binaries()?);
    Ok(command)
}

/// Children inherit it; the default of many systems is 1024.
pub(crate) fn raise_file_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        run::say(&format!("cannot raise the limit of open files: {error}"));
    }
}
