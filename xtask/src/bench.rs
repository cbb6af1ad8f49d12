//! `cargo xtask bench`: builds for speed and runs the benchmarks.

use crate::{nats, run, test, workspace};
use anyhow::Result;
use clap::Args;
use std::process::{Command, ExitCode};

const AFTER_HELP: &str = "\
Everything is built in release mode first, except for `smoke`, whose figures mean nothing. `cargo xtask bench -- --help` lists
what can be measured.";

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
    // Correctness alone: the build that the tests use is there already.
    let fast = args.arguments.first().is_none_or(|scenario| scenario != "smoke");
    let (profile, folder) = if fast { ("release", "release") } else { ("dev", "debug") };
    run::say(&format!("building, profile {profile}"));
    let packages = ["holdfast-gateway", "holdfast-router", "holdfast-cli", "holdfast-bench"];
    let packages = packages.iter().flat_map(|package| ["-p", package]);
    run::must(run::cargo().args(["build", "--profile", profile, "--bins"]).args(packages))?;
    let binaries = workspace::target()?.join(folder);
    let mut bench = Command::new(binaries.join("holdfast-bench"));
    bench.args(args.arguments).env("NATS_SERVER_BIN", nats_server).env("HOLDFAST_BIN_DIR", binaries);
    Ok(if run::shown(&mut bench)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
