//! Measures Holdfast: real processes, a client of its own, every delivery counted. Prints a table for people and,
//! last on standard output, one line of JSON for machines.
//!
//! A benchmark is no test: it passes no judgement but on its own soundness (a message that did not arrive ends it).

mod client;
mod fanout;
mod floor;
mod frames;
mod idle;
mod process;
mod readers;
mod report;

use clap::{Parser, Subcommand};

use crate::report::Report;

/// Measures a gateway, a router and NATS on this machine. Build with --release.
#[derive(Debug, Parser)]
#[command(name = "holdfast-bench")]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// What an idle connection costs: the slope of the gateway's memory over the number of connections.
    Idle(idle::IdleArgs),
    /// Messages per second and CPU per delivery: one room, and single users.
    Fanout(fanout::FanoutArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        report::note("This is a debug build: the numbers mean nothing.");
    }
    let mut report = Report::new();
    match Cli::parse().scenario {
        Scenario::Idle(args) => idle::run(&args, &mut report).await?,
        Scenario::Fanout(args) => fanout::run(&args, &mut report).await?,
    }
    report.print()
}
