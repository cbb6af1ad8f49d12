//! `cargo xtask bench`: builds for speed and runs the benchmarks.

use crate::{nats, run, test, workspace};
use anyhow::Result;
use clap::Args;
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Everything is built in release mode first. `cargo xtask bench -- --help` lists what can be measured.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct BenchArgs {
    /// For the benchmark program.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(args: BenchArgs) -> Result<ExitCode> {
    test::raise_file_limit();
    let nats_server = nats::get()?;
    run::say("building in release mode");
    let packages = ["holdfast-gateway", "holdfast-router", "holdfast-cli", "holdfast-bench"];
    let packages = packages.iter().flat_map(|package| ["-p", package]);
    run::must(run::cargo().args(["build", "--release", "--bins"]).args(packages))?;
    let release = workspace::target()?.join("release");
    let mut bench = std::process::Command::new(release.join("holdfast-bench"));
    bench.args(args.arguments).env("NATS_SERVER_BIN", nats_server).env("HOLDFAST_BIN_DIR", release);
    Ok(if run::shown(&mut bench)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
