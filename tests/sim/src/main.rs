//! `holdfast-sim`: runs seeds until enough steps are done, and prints the seed of what goes wrong.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout();
    let mut steps = 0;
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.runs) {
        let line = match holdfast_sim::run(seed, arguments.steps, |_| {}) {
            Ok(totals) => {
                steps += totals.steps;
                format!("seed {seed}: {totals:?}")
            }
            Err(failure) => {
                let text = format!(
                    "seed {seed} FAILED at {} ms: {}\n{}\n{:?}",
                    failure.at_ms, failure.violation.0, failure.story, failure.totals
                );
                return if writeln!(out, "{text}").is_ok() { ExitCode::FAILURE } else { ExitCode::from(2) };
            }
        };
        if writeln!(out, "{line}").is_err() {
            return ExitCode::from(2);
        }
    }
    if writeln!(out, "{steps} steps, no promise broken").is_err() {
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}
