//! Every scenario, as small as it can be: that each still runs and that every delivery is right. No figure matters.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{bail, ensure};
use clap::Args;

use crate::load::token;
use crate::report::note;

/// What is to be shown.
#[derive(Debug, Clone, Args)]
pub(crate) struct SmokeArgs {
    /// That each scenario notices a wrong delivery: one is planted, and it must fail because of it.
    #[arg(long)]
    pub(crate) planted: bool,
}

/// As they are typed; every option that makes a scenario what it is appears once.
const RUNS: [&str; 17] = [
    "idle --from 50 --to 150 --only plain-room,tls --heartbeat-seconds 1",
    "fanout --sockets 20 --bytes 16 --dialect json,bare,stomp,sockjs,stomp-sockjs --pace single,backlog --deliveries 400 --rounds 1",
    "fanout --sockets 1 --bytes 16384 --dialect json,stomp,sockjs --pace single,backlog --deliveries 400 --rounds 1",
    "fanout --sockets 10 --tls --pace double,burst --deliveries 2000 --rounds 1",
    "route --users 50 --messages 3000 --window 400 --seconds 1 --load 50 --rounds 1",
    "route --users 50 --messages 3000 --window 400 --seconds 1 --load 10 --rounds 1 --routers 2 --gateways 2",
    "route --users 50 --messages 3000 --window 400 --seconds 1 --load 10 --rounds 1 --routers 2 --sections 2",
    "upstream --clients 4 --messages 2000 --rounds 1",
    "handshake --connections 30 --openers 4 --rounds 1",
    "storm --clients 60 --nodes 2 --openers 8 --rounds 1",
    "transports --clients 3 --messages 10 --every-ms 20 --poll-ms 50 --idle-seconds 1 --rounds 1",
    "sessions --sessions 20 --messages 3 --every-ms 50 --rounds 1",
    "slow --readers 8 --slow 1 --rate 200 --bytes 32768 --seconds 3",
    "growth --sizes 20,40 --deliveries 400",
    "growth --sizes 20,40 --deliveries 400 --tls",
    "cluster --nodes 2 --connections 100 --rate 200 --seconds 1 --rooms 2,100",
    "cluster --nodes 3 --connections 20 --rate 100 --seconds 1 --rooms 2 --openers 1",
];

/// How many at a time: most of what they do is wait for a fleet to be ready.
const AT_ONCE: usize = 4;

/// Runs them all, a few at a time, each in a process of its own.
///
/// # Errors
/// All that failed, by their names.
pub(crate) fn run(args: &SmokeArgs) -> anyhow::Result<()> {
    // Nobody sends a message in some.
    let is_silent = |line: &str| line.starts_with("idle") || line.starts_with("handshake");
    let lines = Mutex::new(RUNS.iter().filter(|line| !args.planted || !is_silent(line)));
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(line) = next(&lines) {
                    if let Err(error) = one(line, args.planted) {
                        note(&format!("FAILED {line}: {error:#}"));
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(*line);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(failed.is_empty(), "{} of {} failed: {}", failed.len(), RUNS.len(), failed.join("; "));
    Ok(())
}

fn next<T>(lines: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    lines.lock().unwrap_or_else(PoisonError::into_inner).next()
}

/// One scenario. A planted wrong delivery must be what ends it.
fn one(line: &str, planted: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(line.split(' ')).stdin(Stdio::null());
    if planted {
        command.env(token::PLANTED, "1");
    }
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if planted {
        ensure!(!output.status.success(), "did not notice a wrong delivery");
        let noticed = said.lines().find(|line| line.contains("wrong delivery"));
        let Some(noticed) = noticed else { bail!("failed of something else:\n{said}") };
        note(&format!("{:>5.1} s  {line}\n         noticed: {noticed}", started.elapsed().as_secs_f64()));
    } else {
        ensure!(output.status.success(), "{}\n{said}", output.status);
        note(&format!("{:>5.1} s  {line}", started.elapsed().as_secs_f64()));
    }
    Ok(())
}
