//! One client in a hundred stops reading. What that does to the rest: latency beside the same without them, and the
//! gateway's memory, which a bounded queue per client must keep from growing with what they do not read.

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;

use super::route::{Way, millis};
use crate::load::greet::one_room;
use crate::load::{Opened, Swarm};
use crate::process::resident_bytes;
use crate::report::{Sheet, note};
use crate::system::{Fleet, Shape};

/// The size of the run.
#[derive(Debug, Clone, Args)]
pub(crate) struct SlowArgs {
    /// Members of the room that read.
    #[arg(long, default_value_t = 297)]
    pub(crate) readers: usize,
    /// Members that do not.
    #[arg(long, default_value_t = 3)]
    pub(crate) slow: usize,
    /// Messages a second.
    #[arg(long, default_value_t = 100)]
    pub(crate) rate: u32,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 8192)]
    pub(crate) bytes: usize,
    #[arg(long, default_value_t = 12)]
    pub(crate) seconds: u64,
}

const ROOM: &str = "bench/slow";

/// Runs it without them, then with them.
///
/// # Errors
/// One of the rest lost something, or one that does not read was kept.
pub(crate) async fn run(args: &SlowArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    for slow in [0, args.slow] {
        let case = if slow == 0 { "without them".to_owned() } else { format!("with {slow} of them") };
        note(&format!("  {case}"));
        let fleet = Fleet::start(&Shape::default()).await?;
        let opening = fleet.opening(0, one_room(ROOM));
        let mut swarm = Swarm::new(1)?;
        opening.open_all(0..args.readers, 8, &mut swarm, args.bytes)?;
        let (held, _): (Vec<Opened>, _) = opening.open_many(args.readers..args.readers + slow, 1)?;
        fleet.members(ROOM, args.readers + slow).await;
        let pid = fleet.cluster.gateway(0).pid();
        let before = resident_bytes(pid)?;
        let mut way = Way::to_all(swarm, fleet.publisher()?, fleet.to_room(ROOM));
        let started = Instant::now();
        let mut most = before;
        way.swarm.time(true);
        while started.elapsed() < Duration::from_secs(args.seconds) {
            way.pace(f64::from(args.rate), Duration::from_millis(500), args.bytes)?;
            most = most.max(resident_bytes(pid)?);
        }
        let latency = way.swarm.latency();
        way.swarm.time(false);
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            sheet.add(
                &case,
                &format!("latency of the rest, {name}"),
                "ms",
                millis(latency.value_at_quantile(quantile)),
            );
        }
        #[expect(clippy::cast_precision_loss, reason = "sizes of a process are far below 2^52")]
        let grown = most.saturating_sub(before) as f64 / 1024.0 / 1024.0;
        sheet.add(&case, "growth of the gateway's memory", "MiB", grown);
        #[expect(clippy::cast_precision_loss, reason = "sizes of a process are far below 2^52")]
        let unread = (way.total() * (args.bytes * slow) as u64) as f64 / 1024.0 / 1024.0;
        sheet.add(&case, "sent to those that do not read", "MiB", unread);
        // They were closed, and nobody else.
        fleet.members(ROOM, args.readers).await;
        ensure!(held.len() == slow, "held {}", held.len());
    }
    Ok(())
}
