//! The project's own tasks: one command for each thing a contributor does, the same on a laptop and in CI.
//!
//! Runs other programs and reads files of this repository; knows nothing of what the products do inside.

mod archive;
mod bench;
mod check;
mod dist;
mod docs;
mod fuzz;
mod nats;
mod pip;
mod run;
mod suites;
mod test;
mod tidy;
mod up;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Exit status of a suite whose tools are not there and cannot be had.
const SKIPPED: u8 = 77;

/// The project's own tasks.
///
/// Needs Rust and a C compiler; everything else is found or fetched, or named in one line where it cannot be.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run a whole fleet on this machine: NATS, a router, gateways and the demo page, until Ctrl-C.
    Up(up::UpArgs),
    /// Run the tests: units, simulation and end to end; or one of the suites of others.
    Test(test::TestArgs),
    /// Everything a change must pass besides the tests: format, lints, tidy, docs, dependencies.
    Check,
    /// Check the rules of this repository that no compiler checks.
    Tidy(tidy::TidyArgs),
    /// Measure: memory, fan-out, routing, handshakes, clusters, beside floors and peers.
    Bench(bench::BenchArgs),
    /// Look for inputs that break a decoder.
    Fuzz(fuzz::FuzzArgs),
    /// Make what a release consists of: an archive of the programs, its sums, and what is in it.
    Dist(dist::DistArgs),
    /// Write the generated documentation anew (docs/config.md).
    Docs(docs::DocsArgs),
    /// Get nats-server and print its path.
    NatsServer,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Up(args) => up::run(&args),
        Task::Test(args) => test::run(args),
        Task::Check => check::run(),
        Task::Tidy(args) => tidy::run(&args),
        Task::Bench(args) => bench::run(args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Dist(args) => dist::run(&args),
        Task::Docs(args) => docs::run(&args),
        Task::NatsServer => nats::print(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            run::say(&format!("failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
