//! The recorded run: every scenario at its full size, one after the other, each into the same record.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::report::note;

/// What of it.
#[derive(Debug, Clone, Args)]
pub(crate) struct AllArgs {
    /// Only those whose name in the record contains this.
    #[arg(long, default_value = "")]
    pub(crate) only: String,
    /// Where the figures go.
    #[arg(long, default_value = "bench/records/latest.json")]
    pub(crate) into: PathBuf,
}

/// Name in the record, and what is run. What wants silence most comes first.
const RUNS: [(&str, &str); 22] = [
    ("fanout", "fanout --deliveries 200000"),
    ("backlog", "fanout --pace backlog --deliveries 2000000"),
    ("burst", "fanout --sockets 10 --pace burst --deliveries 1000000"),
    ("route", "route --rounds 2 --seconds 4 --messages 200000"),
    ("handshake", "handshake --rounds 2"),
    ("idle", "idle --rounds 2 --heartbeat-seconds 5"),
    ("growth", "growth"),
    ("growth, wss", "growth --tls --sizes 1000,2000,4000,8000"),
    ("peers", "peers --rounds 2 --deliveries 100000 --idle 3000"),
    ("upstream", "upstream --rounds 2"),
    ("storm", "storm --rounds 2"),
    ("slow", "slow"),
    ("cluster", "cluster --nodes 50 --openers 10"),
    ("route, 2 routers", "route --routers 2 --gateways 2 --rounds 1 --seconds 3 --load 50 --messages 200000"),
    ("route, 3 routers", "route --routers 3 --gateways 2 --rounds 1 --seconds 3 --load 50 --messages 200000"),
    (
        "route, 2 sections",
        "route --routers 2 --sections 2 --gateways 2 --rounds 1 --seconds 3 --load 50 --messages 200000",
    ),
    (
        "route, 4 sections",
        "route --routers 4 --sections 4 --gateways 2 --rounds 1 --seconds 3 --load 50 --messages 200000",
    ),
    (
        "fanout, by size",
        "fanout --sockets 1000 --bytes 16,1024,16384 --pace single,backlog --deliveries 100000 --rounds 2",
    ),
    ("fanout, wss", "fanout --sockets 1000 --tls --pace single,backlog --deliveries 100000 --rounds 2"),
    (
        "fanout, by dialect",
        "fanout --sockets 1000 --dialect json,bare,stomp,sockjs,stomp-sockjs --pace single,backlog --deliveries 500000 --rounds 3",
    ),
    ("transports", "transports"),
    ("sessions", "sessions --rounds 2"),
];

/// Runs them; one that fails leaves what the record held of it, and the rest still run.
///
/// # Errors
/// Some failed.
pub(crate) fn run(args: &AllArgs) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for (name, line) in RUNS.iter().filter(|(name, _)| name.contains(&args.only)) {
        let started = Instant::now();
        note(&format!("=== {name}: {line}"));
        if let Err(error) = one(name, line, &args.into) {
            note(&format!("=== {name} FAILED: {error:#}"));
            failed.push(*name);
        }
        note(&format!("=== {name}: {} s", started.elapsed().as_secs()));
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn one(name: &str, line: &str, into: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(line.split(' ')).args(["--name", name, "--record"]).arg(into).stdin(Stdio::null());
    let status = command.status().context("cannot start")?;
    ensure!(status.success(), "{status}");
    Ok(())
}
