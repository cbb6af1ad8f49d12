//! Measures Holdfast: real processes, a client of its own, every delivery checked. Prints a table with progress while it
//! runs, and records figures with what they were measured on.
//!
//! A benchmark is no test: it passes no judgement but on its own soundness (one wrong delivery ends it).

mod all;
mod budgets;
mod bus;
mod clock;
mod cores;
mod floor;
mod load;
mod plot;
mod process;
mod record;
mod render;
mod report;
mod scenario;
mod smoke;
mod system;
mod worker;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};

use crate::record::{Outcome, Record};
use crate::report::{Sheet, note};
use crate::scenario::{
    cluster, fanout, growth, handshake, idle, peers, route, sessions, slow, storm, transports, upstream,
};

/// Measures a gateway, a router and NATS on this machine. Build with --release.
#[derive(Debug, Parser)]
#[command(name = "holdfast-bench")]
struct Cli {
    /// Puts the figures into this record, in the place of older ones of the same name.
    #[arg(long, global = true)]
    record: Option<PathBuf>,
    /// The name in the record; the scenario's unless said.
    #[arg(long, global = true)]
    name: Option<String>,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// What an idle connection costs: the slope of memory over connections, and CPU over a heartbeat.
    Idle(idle::IdleArgs),
    /// One message to a room of N sockets beside a bare send loop: one by one, with a backlog, in bursts.
    Fanout(fanout::FanoutArgs),
    /// From a domain service to users, to saturation and at shares of it, beside NATS alone.
    Route(route::RouteArgs),
    /// From clients to a domain service: sends and requests.
    Upstream(upstream::UpstreamArgs),
    /// What a connection costs to open, beside a bare accept.
    Handshake(handshake::HandshakeArgs),
    /// A node is killed and all its clients come back to the others.
    Storm(storm::StormArgs),
    /// Polling, long polling, streams and WebSocket beside one another: bytes, requests, latency, CPU.
    Transports(transports::TransportsArgs),
    /// A thousand SockJS sessions over HTTP at once: how long the greeting takes.
    Sessions(sessions::SessionsArgs),
    /// Some members of a room stop reading.
    Slow(slow::SlowArgs),
    /// Costs at sizes that double, and their exponents.
    Growth(growth::GrowthArgs),
    /// As many full nodes as the machine carries.
    Cluster(cluster::ClusterArgs),
    /// Holdfast beside NATS' own WebSocket listener and beside Centrifugo, where CENTRIFUGO_BIN names it.
    Peers(peers::PeersArgs),
    /// Every scenario at full size into one record: the run that docs/benchmarks.md is made of. Half an hour, on a silent machine.
    All(all::AllArgs),
    /// Every scenario, small: fails on a wrong delivery and never on a time.
    Smoke(smoke::SmokeArgs),
    /// Writes docs/benchmarks.md from a record.
    Render(render::RenderArgs),
    /// How a record differs from an older one of the same machine and commands.
    Compare {
        /// The newer.
        new: PathBuf,
        /// The older.
        old: PathBuf,
    },
    /// A part of the clients, for its master.
    #[command(hide = true)]
    Worker,
}

impl Scenario {
    const fn name(&self) -> &'static str {
        match self {
            Self::Idle(_) => "idle",
            Self::Fanout(_) => "fanout",
            Self::Route(_) => "route",
            Self::Upstream(_) => "upstream",
            Self::Handshake(_) => "handshake",
            Self::Storm(_) => "storm",
            Self::Transports(_) => "transports",
            Self::Sessions(_) => "sessions",
            Self::Slow(_) => "slow",
            Self::Growth(_) => "growth",
            Self::Cluster(_) => "cluster",
            Self::Peers(_) => "peers",
            Self::All(_) => "all",
            Self::Smoke(_) => "smoke",
            Self::Render(_) => "render",
            Self::Compare { .. } => "compare",
            Self::Worker => "worker",
        }
    }

    async fn run(&self, sheet: &mut Sheet) -> anyhow::Result<()> {
        match self {
            Self::Idle(args) => idle::run(args, sheet).await,
            Self::Fanout(args) => fanout::run(args, sheet).await,
            Self::Route(args) => route::run(args, sheet).await,
            Self::Upstream(args) => upstream::run(args, sheet).await,
            Self::Handshake(args) => handshake::run(args, sheet).await,
            Self::Storm(args) => storm::run(args, sheet).await,
            Self::Transports(args) => transports::run(args, sheet).await,
            Self::Sessions(args) => sessions::run(args, sheet).await,
            Self::Slow(args) => slow::run(args, sheet).await,
            Self::Growth(args) => growth::run(args, sheet).await,
            Self::Cluster(args) => cluster::run(args, sheet).await,
            Self::Peers(args) => peers::run(args, sheet).await,
            Self::All(args) => all::run(args),
            Self::Smoke(args) => smoke::run(args),
            Self::Render(args) => render::run(args),
            Self::Compare { new, old } => compare(new, old),
            Self::Worker => worker::run(),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if matches!(cli.scenario, Scenario::Worker) {
        return worker::run();
    }
    if cfg!(debug_assertions) {
        note("This is a debug build: the numbers mean nothing.");
    }
    let name = cli.name.clone().unwrap_or_else(|| cli.scenario.name().to_owned());
    note(&name);
    let mut sheet = Sheet::default();
    cli.scenario.run(&mut sheet).await?;
    note(&format!("\n{name}"));
    sheet.print();
    if let Some(path) = &cli.record {
        let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let outcome = Outcome { scenario: name, commit: record::commit(), time, command: command(), rows: sheet.rows };
        Record::add(path, outcome)?;
        note(&format!("recorded in {}", path.display()));
    }
    Ok(())
}

fn compare(new: &Path, old: &Path) -> anyhow::Result<()> {
    for (case, what, change) in Record::read(new)?.compare(&Record::read(old)?)? {
        note(&format!("{case:<60} {what:<44} {change:+.1} %"));
    }
    Ok(())
}

/// What was typed, less where it is recorded.
fn command() -> String {
    let mut words: Vec<String> = vec!["cargo xtask bench".to_owned()];
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--record" | "--name" => drop(arguments.next()),
            _ => words.push(word),
        }
    }
    words.join(" ")
}
