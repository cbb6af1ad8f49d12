//! As many nodes as the machine carries, each full: users spread over all of them, sends to random users and to rooms of
//! every size, what a router remembers, and how long a cold one takes to be whole.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;

use super::idle::slope;
use super::route::millis;
use super::{micros_each, per_second};
use crate::clock;
use crate::load::token;
use crate::process::resident_bytes;
use crate::report::{Sheet, note, number_of};
use crate::system::{Fleet, Shape, Usage, used_by};
use crate::worker::{self, Layer, Order, Report, Worker};

/// The size of the run.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterArgs {
    #[arg(long, default_value_t = 50)]
    pub(crate) nodes: usize,
    /// Connections of each node.
    #[arg(long, default_value_t = 18_000)]
    pub(crate) connections: usize,
    /// Workers that open at once.
    #[arg(long, default_value_t = 6)]
    pub(crate) openers: usize,
    /// Sends to random users a second.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) rate: u64,
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Sizes of rooms.
    #[arg(long, value_delimiter = ',', default_value = "2,100,10000,100000")]
    pub(crate) rooms: Vec<usize>,
}

struct Run {
    fleet: Fleet,
    workers: Vec<Worker>,
    layers: Vec<Layer>,
    /// Deliveries that each worker must have had.
    expected: Vec<u64>,
    total: usize,
    per_node: usize,
}

/// Runs it.
///
/// # Errors
/// A connection or a delivery was lost.
pub(crate) async fn run(args: &ClusterArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    let shards = vec![("HOLDFAST_LISTEN__SHARDS", "1".to_owned())];
    let fleet = Fleet::start(&Shape { gateways: args.nodes, settings: shards, ..Shape::default() }).await?;
    let total = args.nodes * args.connections;
    // Rooms of two and of a hundred for a few thousand users; the large ones are filled.
    let layer = |size: &usize| Layer { size: *size, users: (*size).max(2_000).min(total) / size * size };
    let layers: Vec<Layer> = args.rooms.iter().filter(|size| **size <= total).map(layer).collect();
    let expected = vec![0; args.nodes];
    let mut run = Run { fleet, workers: Vec::new(), layers, expected, total, per_node: args.connections };
    let case = format!("{} nodes, {} connections", args.nodes, number_of(total));
    let router = run.fleet.cluster.router(0).pid();
    let low = resident_bytes(router)?;
    run.open(args, &case, sheet)?;
    run.fleet.connections(total).await;
    let high = super::idle::settled(router).await?;
    sheet.add(&case, "connections", "", slope(0, total as u64, 1));
    sheet.add(&case, "router memory per user", "B", slope(low, high, total));
    let gateways: u64 = run.fleet.cluster.gateways().iter().map(|one| resident_bytes(one.pid()).unwrap_or(0)).sum();
    sheet.add(&case, "memory of all gateways", "MiB", slope(0, gateways, 1024 * 1024));
    run.users(args, &case, sheet)?;
    run.rooms(&case, sheet)?;
    run.cold_router(&case, sheet).await?;
    Ok(())
}

impl Run {
    /// Opens all connections, so many nodes at a time.
    fn open(&mut self, args: &ClusterArgs, case: &str, sheet: &mut Sheet) -> anyhow::Result<()> {
        let started = Instant::now();
        for node in 0..args.nodes {
            let mut worker = Worker::start()?;
            worker.order(&Order::Open {
                server: self.fleet.server(node),
                first: node * self.per_node,
                count: self.per_node,
                openers: 32,
                source: node * 8,
                rooms: self.layers.clone(),
            })?;
            self.workers.push(worker);
            if node + 1 >= args.openers {
                self.opened(node + 1 - args.openers, started)?;
            }
        }
        for node in (args.nodes + 1).saturating_sub(args.openers)..args.nodes {
            self.opened(node, started)?;
        }
        sheet.add(case, "connections opened", "/s", per_second(self.total as u64, started.elapsed()));
        Ok(())
    }

    fn opened(&mut self, node: usize, started: Instant) -> anyhow::Result<()> {
        let report = self.workers[node].report()?;
        ensure!(matches!(report, Report::Open), "a worker said {report:?}");
        note(&format!(
            "    {} connections, {:.0} s",
            number_of((node + 1) * self.per_node),
            started.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// Open loop, to users in an order that is as good as random: each step is a large number that shares no factor.
    fn users(&mut self, args: &ClusterArgs, case: &str, sheet: &mut Sheet) -> anyhow::Result<()> {
        let mut publisher = self.fleet.publisher()?;
        let messages = args.rate * args.seconds;
        let mut sent: BTreeMap<usize, u64> = BTreeMap::new();
        let parts = self.fleet.parts();
        let before = Usage::of(&parts)?;
        let (begin_us, started) = (clock::micros(), Instant::now());
        let mut done = 0;
        while done < messages {
            let due = u64::try_from(started.elapsed().as_micros())? * args.rate / 1_000_000;
            while done < due.min(messages) {
                let user = usize::try_from(done.wrapping_mul(2_654_435_761) % self.total as u64)?;
                let number = sent.entry(user).and_modify(|number| *number += 1).or_insert(1);
                let at_us = begin_us + done * 1_000_000 / args.rate;
                publisher.publish(&self.fleet.to_user(user), &token::payload(0, *number, at_us, 64))?;
                self.expected[user / self.per_node] += 1;
                done += 1;
            }
            publisher.flush()?;
            std::thread::sleep(Duration::from_micros(100));
        }
        let latency = self.settle()?;
        let used = Usage::of(&parts)?.since(&before);
        let case = format!("{case}, {} /s to users", number_of(usize::try_from(args.rate)?));
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            sheet.add(&case, &format!("latency {name}"), "ms", millis(latency.value_at_quantile(quantile)));
        }
        for name in ["gateway", "router", "nats"] {
            sheet.add(&case, &format!("CPU per message, {name}"), "µs", micros_each(used_by(&used, name), messages));
        }
        Ok(())
    }

    /// Ten messages to a room of each size, the next when all have the last.
    fn rooms(&mut self, case: &str, sheet: &mut Sheet) -> anyhow::Result<()> {
        let mut publisher = self.fleet.publisher()?;
        for (place, layer) in self.layers.clone().into_iter().enumerate() {
            let Some(room) = layer.room(0) else { continue };
            let stream = u8::try_from(place + 1)?;
            let (mut took, mut all) = (Duration::ZERO, worker::latencies());
            for number in 1..=10 {
                let started = Instant::now();
                publisher.publish(&self.fleet.to_room(&room), &token::payload(stream, number, clock::micros(), 64))?;
                publisher.flush()?;
                for user in 0..layer.size {
                    self.expected[user / self.per_node] += 1;
                }
                all.add(self.settle()?)?;
                took += started.elapsed();
            }
            let case = format!("{case}, room of {}", number_of(layer.size));
            sheet.add(&case, "latency p50", "ms", millis(all.value_at_quantile(0.5)));
            sheet.add(&case, "latency, last member", "ms", millis(all.max()));
            sheet.add(&case, "deliveries", "/s", per_second(layer.size as u64 * 10, took));
        }
        Ok(())
    }

    /// Every worker has had what it must, and nothing else; the latencies since the last time.
    fn settle(&mut self) -> anyhow::Result<hdrhistogram::Histogram<u64>> {
        let mut all = worker::latencies();
        for (worker, deliveries) in self.workers.iter_mut().zip(&self.expected) {
            worker.order(&Order::Expect { deliveries: *deliveries })?;
        }
        for worker in &mut self.workers {
            match worker.report()? {
                Report::Seen { latency, .. } => worker::add(&mut all, &latency)?,
                other => anyhow::bail!("a worker said {other:?}"),
            }
        }
        Ok(all)
    }

    /// One more router, which knows nothing: until it says that it is whole and ready.
    async fn cold_router(&mut self, case: &str, sheet: &mut Sheet) -> anyhow::Result<()> {
        let started = Instant::now();
        self.fleet.cluster.add_router().await;
        let ready = started.elapsed();
        self.fleet.cluster.whole().await;
        sheet.add(case, "cold router, from its start until it is whole", "ms", micros_each(ready, 1) / 1000.0);
        let memory = resident_bytes(self.fleet.cluster.router(1).pid())?;
        sheet.add(case, "cold router, memory", "MiB", slope(0, memory, 1024 * 1024));
        Ok(())
    }
}
