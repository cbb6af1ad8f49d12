//! `cargo xtask fuzz`: the fuzz targets, each for a while, with cargo-fuzz on a nightly compiler.

use crate::{run, workspace};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use std::fs;
use std::process::{Command, ExitCode};

/// The targets, as `fuzz/Cargo.toml` names them.
const TARGETS: [&str; 11] =
    ["wire", "token", "send", "content", "frames", "json", "stomp", "session", "sockjs", "fallback", "urls"];

const AFTER_HELP: &str = "\
Needs a nightly toolchain and cargo-fuzz; says so and exits with 77 where one is missing. What is found lies in
fuzz/artifacts, and a run of the target with that file repeats it.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct FuzzArgs {
    /// Which targets; all where none is named.
    targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

pub(crate) fn run(args: &FuzzArgs) -> Result<ExitCode> {
    if let Some(unknown) = args.targets.iter().find(|target| !TARGETS.contains(&target.as_str())) {
        bail!("no target {unknown}; there are {}", TARGETS.join(", "));
    }
    if !run::runs("cargo", &["+nightly", "fuzz", "--version"]) {
        run::say("skipped: needs a nightly toolchain and `cargo install cargo-fuzz`");
        return Ok(ExitCode::from(crate::SKIPPED));
    }
    let wanted =
        TARGETS.into_iter().filter(|target| args.targets.is_empty() || args.targets.iter().any(|t| t == target));
    let mut found = Vec::new();
    for target in wanted {
        run::say(&format!("fuzzing {target} for {} s", args.seconds));
        let limit = format!("-max_total_time={}", args.seconds);
        // Through the proxy of rustup: the compiler that runs us is another one.
        let mut fuzz = Command::new("cargo");
        // What is found goes into the first folder; the others are read.
        let corpus = workspace::root().join("fuzz/corpus").join(target);
        let seeds = workspace::root().join("fuzz/seeds").join(target);
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        fuzz.args(["+nightly", "fuzz", "run", target]).arg(corpus).args(seeds.is_dir().then_some(seeds));
        fuzz.args(["--", &limit, "-print_final_stats=1", "-verbosity=0"]);
        for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
            fuzz.env_remove(name);
        }
        if !run::shown(fuzz.current_dir(workspace::root()))? {
            found.push(target);
        }
    }
    if found.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    run::say(&format!("failed: {}", found.join(", ")));
    Ok(ExitCode::FAILURE)
}
