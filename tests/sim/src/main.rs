//! `holdfast-sim`: runs seeds until enough steps are done, and prints the seed of what goes wrong.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use holdfast_sim::{Plan, run};

/// Simulates fleets under faults and checks every promise. Prints the seed of each run; `--seed` repeats one.
#[derive(Debug, Parser)]
struct Arguments {
    /// The first seed; each further run takes the next one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Steps of each run.
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
    /// Let bad weather lose packets and copies of kept messages too.
    #[arg(long)]
    harsh: bool,
    /// Let the bus split in two parts that come together again.
    #[arg(long)]
    splits: bool,
    /// Do work of more kinds: bursts, receipts that wait for acknowledgements, slow clients, keys.
    #[arg(long)]
    wide: bool,
    /// Go on with the next seed after a broken promise.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout();
    let (mut steps, mut broken) = (0, 0_u64);
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.runs) {
        let Arguments { harsh, splits, wide, .. } = arguments;
        let plan = Plan { harsh, splits, wide, ..Plan::new(seed, arguments.steps) };
        let (line, ok) = match run(plan) {
            Ok(totals) => {
                steps += totals.steps;
                (format!("seed {seed}: {totals:?}"), true)
            }
            Err(failure) => {
                steps += failure.totals.steps;
                broken += 1;
                let text = format!(
                    "seed {seed} FAILED at {} ms: {}\n{}\n{:?}",
                    failure.at_ms, failure.violation.0, failure.story, failure.totals
                );
                (text, arguments.keep_going)
            }
        };
        if writeln!(out, "{line}").is_err() {
            return ExitCode::from(2);
        }
        if !ok {
            return ExitCode::FAILURE;
        }
    }
    let end = if broken == 0 { "no promise broken".to_owned() } else { format!("{broken} seeds broke a promise") };
    if writeln!(out, "{steps} steps, {end}").is_err() {
        return ExitCode::from(2);
    }
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
