//! What an idle connection costs the gateway in user space: connections are opened up to a first number, and further up
//! to a second; the difference of resident memory over the difference of connections is the slope. Whatever the process
//! costs by itself falls out of it.

use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use holdfast_harness::{Cluster, wait};
use serde_json::json;

use crate::client::{Connection, Opening};
use crate::process::resident_bytes;
use crate::report::{Report, note};

/// Threads that open connections.
const OPENERS: usize = 4;
/// Memory is read when it has not moved by more than this between two looks.
const SETTLED_BYTES: u64 = 64 * 1024;
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The size of the run. The defaults fit a file limit of 20,000 per process.
#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// Connections at the first measurement.
    #[arg(long, default_value_t = 2_000)]
    from: usize,
    /// Connections at the second, plain.
    #[arg(long, default_value_t = 18_000)]
    to: usize,
    /// Connections at the second, TLS.
    #[arg(long, default_value_t = 12_000)]
    to_tls: usize,
    /// Only these: plain, plain-room, tls, tls-room.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

struct Case {
    name: &'static str,
    label: &'static str,
    tls: bool,
    room: bool,
}

const CASES: [Case; 4] = [
    Case { name: "plain", label: "idle connection, ws", tls: false, room: false },
    Case { name: "plain-room", label: "idle connection, ws, in one room", tls: false, room: true },
    Case { name: "tls", label: "idle connection, wss", tls: true, room: false },
    Case { name: "tls-room", label: "idle connection, wss, in one room", tls: true, room: true },
];

/// Runs each case on a cluster of its own.
pub(crate) async fn run(args: &IdleArgs, report: &mut Report) -> anyhow::Result<()> {
    for case in CASES.iter().filter(|case| args.only.is_empty() || args.only.iter().any(|name| name == case.name)) {
        measure(args, case, report).await?;
    }
    Ok(())
}

async fn measure(args: &IdleArgs, case: &Case, report: &mut Report) -> anyhow::Result<()> {
    let to = if case.tls { args.to_tls } else { args.to };
    note(&format!("{}: {} → {to} connections", case.label, args.from));
    // Pings would want answers, and idle is idle: the memory of a connection does not depend on them.
    let builder = Cluster::builder().gateway_setting("HOLDFAST_SESSION__HEARTBEAT", "1h");
    let cluster = if case.tls { builder.tls() } else { builder }.start().await;
    let gateway = cluster.gateway(0);
    let opening = Opening {
        gateway: gateway.listen(),
        tls: case.tls.then(|| cluster.certificate().client(rustls::DEFAULT_VERSIONS)),
        room: case.room.then(|| "bench/idle".to_owned()),
    };
    let mut connections = open(&opening, 0..args.from)?;
    let low = settled(gateway.pid()).await?;
    let router_low = settled(cluster.router(0).pid()).await?;
    connections.extend(open(&opening, args.from..to)?);
    let high = settled(gateway.pid()).await?;
    let router_high = settled(cluster.router(0).pid()).await?;
    let service = cluster.service().await;
    let stats = service.query("stats", "").await;
    anyhow::ensure!(stats["connections"] == json!(to), "connections were lost: {stats}");
    let detail = json!({"from": args.from, "to": to, "resident_from": low, "resident_to": high});
    report.add(case.label, slope(low, high, to - args.from), "bytes", detail);
    let detail = json!({"from": args.from, "to": to, "resident_from": router_low, "resident_to": router_high});
    let label = format!("  the router's share ({})", case.name);
    report.add(&label, slope(router_low, router_high, to - args.from), "bytes", detail);
    drop(connections);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "sizes of a process are far below 2^52")]
fn slope(low: u64, high: u64, connections: usize) -> f64 {
    (high as f64 - low as f64) / connections as f64
}

/// Opens these connections on several threads.
fn open(opening: &Opening, numbers: std::ops::Range<usize>) -> anyhow::Result<Vec<Connection>> {
    let share = |opener: usize| numbers.clone().skip(opener).step_by(OPENERS);
    thread::scope(|scope| {
        let openers: Vec<_> = (0..OPENERS)
            .map(|opener| scope.spawn(move || share(opener).map(|number| opening.open(number)).collect()))
            .collect();
        let mut all = Vec::with_capacity(numbers.len());
        for opener in openers {
            let opened: anyhow::Result<Vec<Connection>> =
                opener.join().map_err(|_| anyhow::anyhow!("an opening thread panicked"))?;
            all.extend(opened?);
        }
        Ok(all)
    })
}

/// Resident memory once it has come to rest.
async fn settled(pid: u32) -> anyhow::Result<u64> {
    let mut last = resident_bytes(pid)?;
    for _ in 0..60 {
        wait::pause(LOOK_INTERVAL).await;
        let now = resident_bytes(pid)?;
        if now.abs_diff(last) <= SETTLED_BYTES {
            return Ok(now);
        }
        last = now;
    }
    Err(anyhow::anyhow!("{last} bytes and still moving")).context("memory does not come to rest")
}
