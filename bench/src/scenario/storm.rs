//! All clients of one node at once: it is killed, and they come back to the others. Until everybody is routable again,
//! which is proven by a message to each.

use std::time::Instant;

use clap::Args;
use hdrhistogram::Histogram;

use super::route::{Way, millis};
use super::{micros_each, per_second};
use crate::load::greet::no_rooms;
use crate::load::swarm::histogram;
use crate::load::{Opened, Swarm};
use crate::report::{Sheet, note};
use crate::system::{Fleet, Shape, Usage, used_by};

/// The size of the run.
#[derive(Debug, Clone, Args)]
pub(crate) struct StormArgs {
    /// Clients of the node that goes.
    #[arg(long, default_value_t = 6_000)]
    pub(crate) clients: usize,
    /// Nodes that stay.
    #[arg(long, default_value_t = 2)]
    pub(crate) nodes: usize,
    /// That try at once.
    #[arg(long, default_value_t = 64)]
    pub(crate) openers: usize,
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
}

/// Runs it.
///
/// # Errors
/// A client did not come back, or cannot be reached.
pub(crate) async fn run(args: &StormArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    for _ in 0..args.rounds {
        round(args, sheet).await?;
    }
    Ok(())
}

async fn round(args: &StormArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    let mut fleet = Fleet::start(&Shape { gateways: args.nodes + 1, ..Shape::default() }).await?;
    let case = format!("{} clients", crate::report::number_of(args.clients));
    let (before, _) = fleet.opening(args.nodes, no_rooms()).open_many(0..args.clients, 16)?;
    fleet.connections(args.clients).await;
    note("    everybody is in; the node goes");
    fleet.cluster.remove_gateway(args.nodes);
    drop(before);
    let parts = fleet.parts();
    let usage = Usage::of(&parts)?;
    let started = Instant::now();
    let (opened, took) = come_back(args, &fleet)?;
    let welcome = started.elapsed();
    let used = Usage::of(&parts)?.since(&usage);
    let mut swarm = Swarm::new(1)?;
    for opened in opened {
        swarm.add(opened, 64)?;
    }
    let subjects = (0..args.clients).map(|number| fleet.to_user(number)).collect();
    let mut way = Way::new(swarm, fleet.publisher()?, subjects);
    let clients = args.clients as u64;
    way.saturate(clients, 100, 4_000, 64)?;
    sheet.add(&case, "until everybody is welcome", "ms", micros_each(welcome, 1) / 1000.0);
    sheet.add(&case, "until everybody has had a message", "ms", micros_each(started.elapsed(), 1) / 1000.0);
    sheet.add(&case, "connections", "/s", per_second(clients, welcome));
    sheet.add(&case, "until the welcome, p50", "ms", millis(took.value_at_quantile(0.5)));
    sheet.add(&case, "until the welcome, p99", "ms", millis(took.value_at_quantile(0.99)));
    for name in ["gateway", "router", "nats"] {
        sheet.add(&case, &format!("CPU per connection, {name}"), "µs", micros_each(used_by(&used, name), clients));
    }
    // The dead node's book is closed: nobody is counted twice.
    fleet.connections(args.clients).await;
    Ok(())
}

/// Everybody, to the nodes that are left, in turn.
fn come_back(args: &StormArgs, fleet: &Fleet) -> anyhow::Result<(Vec<Opened>, Histogram<u64>)> {
    let share = args.clients.div_ceil(args.nodes);
    let run = |node: usize| {
        let numbers = node * share..((node + 1) * share).min(args.clients);
        fleet.opening(node, no_rooms()).open_many(numbers, args.openers.div_ceil(args.nodes))
    };
    std::thread::scope(|scope| {
        let run = &run;
        let nodes: Vec<_> = (0..args.nodes).map(|node| scope.spawn(move || run(node))).collect();
        let (mut all, mut took) = (Vec::new(), histogram());
        for node in nodes {
            let (opened, theirs) = node.join().map_err(|_| anyhow::anyhow!("an opening thread panicked"))??;
            all.extend(opened);
            took.add(&theirs)?;
        }
        Ok((all, took))
    })
}
