//! What an idle connection costs: connections are opened up to a first number and further up to a second; the difference
//! of memory over the difference of connections is the slope. Whatever a process costs by itself falls out of it.
//! Beside the user space of the gateway: the kernel's part (both ends of each connection), and CPU over a heartbeat.

use std::time::Duration;

use clap::Args;
use holdfast_harness::wait;

use crate::load::Swarm;
use crate::load::greet::{no_rooms, one_room};
use crate::process::{resident_bytes, slab_bytes};
use crate::report::{Sheet, note};
use crate::system::{Fleet, Shape, Usage, used_by};

/// Threads that open connections.
const OPENERS: usize = 16;
/// Memory is read when it has not moved by more than this between two looks.
const SETTLED_BYTES: u64 = 64 * 1024;
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The size of the run. The defaults fit a file limit of 20,000 per process.
#[derive(Debug, Clone, Args)]
pub(crate) struct IdleArgs {
    /// Connections at the first measurement.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) from: usize,
    /// Connections at the second.
    #[arg(long, default_value_t = 18_000)]
    pub(crate) to: usize,
    /// Only these: plain, plain-room, tls, tls-room.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// How long to look at the CPU of connections with a heartbeat of 25 s; 0 for not at all.
    #[arg(long, default_value_t = 30)]
    pub(crate) heartbeat_seconds: u64,
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
}

struct Case {
    name: &'static str,
    label: &'static str,
    tls: bool,
    room: bool,
}

const CASES: [Case; 4] = [
    Case { name: "plain", label: "ws", tls: false, room: false },
    Case { name: "plain-room", label: "ws, in one room", tls: false, room: true },
    Case { name: "tls", label: "wss", tls: true, room: false },
    Case { name: "tls-room", label: "wss, in one room", tls: true, room: true },
];

/// Runs each case on a fleet of its own.
///
/// # Errors
/// A connection was lost, or memory does not come to rest.
pub(crate) async fn run(args: &IdleArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    for _ in 0..args.rounds {
        for case in CASES.iter().filter(|case| args.only.is_empty() || args.only.iter().any(|name| name == case.name)) {
            measure(args, case, sheet).await?;
        }
    }
    Ok(())
}

async fn measure(args: &IdleArgs, case: &Case, sheet: &mut Sheet) -> anyhow::Result<()> {
    note(&format!("  {}: {} → {} connections", case.label, args.from, args.to));
    let heartbeat = vec![("HOLDFAST_SESSION__HEARTBEAT", "25s".to_owned())];
    let fleet = Fleet::start(&Shape { tls: case.tls, settings: heartbeat, ..Shape::default() }).await?;
    let (gateway, router) = (fleet.cluster.gateway(0).pid(), fleet.cluster.router(0).pid());
    let opening = fleet.opening(0, if case.room { one_room("bench/idle") } else { no_rooms() });
    let mut swarm = Swarm::new(1)?;
    opening.open_all(0..args.from, OPENERS, &mut swarm, 0)?;
    let low = [settled(gateway).await?, settled(router).await?, slab_bytes()?];
    opening.open_all(args.from..args.to, OPENERS, &mut swarm, 0)?;
    fleet.connections(args.to).await;
    let high = [settled(gateway).await?, settled(router).await?, slab_bytes()?];
    let names = ["gateway memory per connection", "router memory per user", "kernel slab per connection, both ends"];
    for ((what, low), high) in names.iter().zip(low).zip(high) {
        sheet.add(case.label, what, "B", slope(low, high, args.to - args.from));
    }
    if args.heartbeat_seconds > 0 {
        let parts = fleet.parts();
        let before = Usage::of(&parts)?;
        wait::pause(Duration::from_secs(args.heartbeat_seconds)).await;
        let used = used_by(&Usage::of(&parts)?.since(&before), "gateway");
        #[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
        let each = used.as_secs_f64() * 1e6 / (args.heartbeat_seconds as f64 * args.to as f64);
        sheet.add(case.label, "gateway CPU per connection and second, heartbeat 25 s", "µs", each);
    }
    swarm.exactly(0)?;
    fleet.connections(args.to).await;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "sizes of a process are far below 2^52")]
pub(crate) fn slope(low: u64, high: u64, connections: usize) -> f64 {
    (high as f64 - low as f64) / connections as f64
}

/// Resident memory once it has come to rest.
pub(crate) async fn settled(pid: u32) -> anyhow::Result<u64> {
    let mut last = resident_bytes(pid)?;
    for _ in 0..60 {
        wait::pause(LOOK_INTERVAL).await;
        let now = resident_bytes(pid)?;
        if now.abs_diff(last) <= SETTLED_BYTES {
            return Ok(now);
        }
        last = now;
    }
    anyhow::bail!("memory does not come to rest: {last} bytes and still moving")
}
