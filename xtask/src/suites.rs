//! The suites nobody of us wrote: each finds or gets its own tools, and is skipped (77) with one line where it cannot.

mod autobahn;
mod boxes;
mod browser;
mod chart;
mod clients;
mod faults;
mod traces;

use crate::{SKIPPED, run};
use anyhow::Result;
use clap::ValueEnum;
use std::fmt;
use std::process::ExitCode;

/// A suite of others' making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Autobahn|Testsuite against the echo route, plain and TLS; needs a CPython 2.7 and a C compiler.
    Conformance,
    /// The demo page in headless Chromium.
    Browser,
    /// WebSocket and STOMP client libraries of several languages.
    Clients,
    /// The Helm chart, rendered by a real helm; with `-- --cluster` installed too, on a control plane that Go can build.
    Chart,
    /// The chart's rendered pods as processes, each in namespaces of its own.
    Workloads,
    /// `deploy/compose.yaml` as processes, with HAProxy and Prometheus from this machine: dashboards and alerts, live.
    Compose,
    /// The files of `deploy/balancers` under the balancers that are installed.
    Balancers,
    /// The last stage of the image, and each program in it.
    Image,
    /// `docs/first-day.md` to the letter: what it says is typed, what it shows must come.
    FirstDay,
    /// Traces into a real OpenTelemetry collector; needs Go to build one.
    Traces,
    /// A whole fleet under faults and load, and a check of all that its clients saw.
    Faults,
}

/// How a suite ended.
#[derive(Debug)]
enum Outcome {
    Passed,
    Failed,
    /// What is missing.
    Skipped(String),
}

/// Runs a suite; `arguments` are for its driver.
pub(crate) fn run(suite: Suite, arguments: &[String]) -> Result<ExitCode> {
    let outcome = match suite {
        Suite::Conformance => autobahn::run(arguments)?,
        Suite::Browser => browser::run(arguments)?,
        Suite::Clients => clients::run(arguments)?,
        Suite::Chart => chart::run(arguments)?,
        Suite::Workloads => boxes::run("workloads")?,
        Suite::Compose => boxes::run("compose")?,
        Suite::Balancers => boxes::run("balancers")?,
        Suite::Image => boxes::run("image")?,
        Suite::FirstDay => boxes::run("first-day")?,
        Suite::Faults => faults::run(arguments)?,
        Suite::Traces => traces::run(arguments)?,
    };
    Ok(match outcome {
        Outcome::Passed => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::FAILURE,
        Outcome::Skipped(what) => {
            run::say(&format!("{suite} skipped: {what}"));
            ExitCode::from(SKIPPED)
        }
    })
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
