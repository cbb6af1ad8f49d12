//! `holdfast-faults`: one run, its report, its exit status.

use std::process::ExitCode;

use clap::Parser as _;
use holdfast_faults::options::Options;
use holdfast_faults::{document, report, run};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(folder) = options.record.as_ref().filter(|_| options.write) {
        return match document::write(folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                report::say(&format!("failed: {error:#}"));
                ExitCode::FAILURE
            }
        };
    }
    match run::run(options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::say(&format!("failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
