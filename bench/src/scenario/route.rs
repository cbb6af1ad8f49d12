//! From a domain service to users: NATS, router, gateway, client. To saturation, in batches and one by one, with the CPU
//! of every process; then open loop at shares of that rate, with latency from the time each message was meant to be
//! sent. The floor is NATS alone, from a publisher to a subscriber.

use std::time::{Duration, Instant};

use clap::Args;

use super::{micros_each, per_second};
use crate::bus::{Publisher, Subscriber};
use crate::clock;
use crate::load::greet::no_rooms;
use crate::load::{Opening, Swarm, token};
use crate::report::{Sheet, note};
use crate::system::{Fleet, Part, Shape, Usage};

/// The size of the run.
#[derive(Debug, Clone, Args)]
pub(crate) struct RouteArgs {
    /// Users, one connection each, that are sent to in turn.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) users: usize,
    /// Messages of each case in each round.
    #[arg(long, default_value_t = 300_000)]
    pub(crate) messages: u64,
    /// On their way at most, at saturation.
    #[arg(long, default_value_t = 4_000)]
    pub(crate) window: u64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 64)]
    pub(crate) bytes: usize,
    /// Shares of the saturated rate at which latency is measured, percent.
    #[arg(long, value_delimiter = ',', default_value = "10,50,80")]
    pub(crate) load: Vec<u64>,
    /// How long each of them.
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Routers, and gateways; messages are spread over all.
    #[arg(long, default_value_t = 1)]
    pub(crate) routers: usize,
    #[arg(long, default_value_t = 1)]
    pub(crate) gateways: usize,
    /// Sections that the routers are in, in turn: each router hears the sends to its own.
    #[arg(long, default_value_t = 1)]
    pub(crate) sections: usize,
}

/// One way from a publisher to receivers.
pub(crate) struct Way {
    pub(crate) swarm: Swarm,
    pub(crate) publisher: Publisher,
    /// The subject of each receiver, in turn.
    pub(crate) subjects: Vec<String>,
    /// Messages to each receiver so far.
    sent: Vec<u64>,
    total: u64,
    /// Clients that each message reaches.
    fan: u64,
}

impl Way {
    /// Each subject reaches the client of the same number.
    pub(crate) fn new(swarm: Swarm, publisher: Publisher, subjects: Vec<String>) -> Self {
        let sent = vec![0; subjects.len()];
        Self { swarm, publisher, subjects, sent, total: 0, fan: 1 }
    }

    /// The only subject reaches all clients.
    pub(crate) fn to_all(swarm: Swarm, publisher: Publisher, subject: String) -> Self {
        let fan = swarm.len() as u64;
        Self { fan, ..Self::new(swarm, publisher, vec![subject]) }
    }

    /// Messages so far.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    fn publish(&mut self, at_us: u64, bytes: usize) -> anyhow::Result<()> {
        let receiver = usize::try_from(self.total % self.subjects.len() as u64)?;
        self.total += 1;
        self.sent[receiver] += 1;
        let payload = token::payload(0, self.sent[receiver], at_us, bytes);
        self.publisher.publish(&self.subjects[receiver], &payload)
    }

    /// Flushes every `batch` messages, `window` on their way at most; how long all of it took.
    pub(crate) fn saturate(
        &mut self,
        messages: u64,
        batch: u64,
        window: u64,
        bytes: usize,
    ) -> anyhow::Result<Duration> {
        let end = self.total + messages;
        let started = Instant::now();
        while self.total < end {
            for _ in 0..batch.min(end - self.total) {
                self.publish(clock::micros(), bytes)?;
            }
            self.publisher.flush()?;
            // Half a window may be on its way before anybody looks.
            let step = (window / 2).next_multiple_of(batch);
            if self.total.is_multiple_of(step) {
                self.swarm.at_least(self.total.saturating_sub(window - step.min(window)) * self.fan)?;
            }
        }
        self.settle()?;
        Ok(started.elapsed())
    }

    /// So many a second, whatever comes of them, each with the time it was meant for.
    pub(crate) fn pace(&mut self, rate: f64, time: Duration, bytes: usize) -> anyhow::Result<u64> {
        let (begin_us, started, before) = (clock::micros(), Instant::now(), self.total);
        while started.elapsed() < time {
            let due = before + whole(started.elapsed().as_secs_f64() * rate);
            while self.total < due {
                let offset = micros_of(self.total - before, rate);
                self.publish(begin_us + offset, bytes)?;
            }
            self.publisher.flush()?;
            std::thread::sleep(Duration::from_micros(50));
        }
        self.settle()?;
        Ok(self.total - before)
    }

    /// All that was sent has come, everybody's own, in order.
    fn settle(&self) -> anyhow::Result<()> {
        self.swarm.exactly(self.total * self.fan)?;
        let own = |client: usize| if self.sent.len() == 1 { 0 } else { client };
        self.swarm.verify(0, |client| self.sent.get(own(client)).copied().unwrap_or(0))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number, rounded down")]
fn whole(value: f64) -> u64 {
    value as u64
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn micros_of(count: u64, rate: f64) -> u64 {
    whole(count as f64 / rate * 1e6)
}

/// Runs all of it.
///
/// # Errors
/// A wrong delivery.
pub(crate) async fn run(args: &RouteArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    let (gateways, routers, sections) = (args.gateways, args.routers, args.sections);
    let shape = Shape { gateways, routers, sections, ..Shape::default() };
    let fleet = Fleet::start(&shape).await?;
    let mut swarm = Swarm::new(1)?;
    // The `number`th client is at the gateway that has its turn.
    let openings: Vec<Opening> = (0..args.gateways).map(|gateway| fleet.opening(gateway, no_rooms())).collect();
    for number in 0..args.users {
        swarm.add(openings[number % openings.len()].open(number)?, args.bytes)?;
    }
    fleet.connections(args.users).await;
    let subjects = (0..args.users).map(|number| fleet.to_user(number)).collect();
    let mut ours = Way::new(swarm, fleet.publisher()?, subjects);
    let mut floor = floor(&fleet, args.bytes)?;
    let parts = fleet.parts();
    for _ in 0..args.rounds {
        round(args, &mut ours, &mut floor, &parts, sheet)?;
    }
    Ok(())
}

/// A publisher and a subscriber of the same nats-server.
fn floor(fleet: &Fleet, bytes: usize) -> anyhow::Result<Way> {
    let greeting = Subscriber { subject: |_| "bench.floor".to_owned() };
    let server = fleet.cluster.nats().address();
    let opening = Opening { server, tls: None, greeting: std::sync::Arc::new(greeting), source: 0 };
    let mut swarm = Swarm::new(1)?;
    opening.open_all(0..1, 1, &mut swarm, bytes)?;
    Ok(Way::new(swarm, fleet.publisher()?, vec!["bench.floor".to_owned()]))
}

fn round(args: &RouteArgs, ours: &mut Way, floor: &mut Way, parts: &[Part], sheet: &mut Sheet) -> anyhow::Result<()> {
    let mut rate = 0.0;
    let cases = [
        ("saturated, batches of 100", 100, args.window, args.messages),
        ("saturated, one by one", 1, args.window, args.messages / 3),
        // What is sent at the pace of its arrival has little to leave together with: the rate that loads are shares of.
        ("one by one, 100 on their way", 1, 100, args.messages / 3),
    ];
    for (case, batch, window, messages) in cases {
        let before = Usage::of(parts)?;
        let took = ours.saturate(messages, batch, window, args.bytes)?;
        let used = Usage::of(parts)?.since(&before);
        rate = per_second(messages, took);
        sheet.add(case, "messages", "/s", rate);
        for (name, cpu) in &used {
            sheet.add(case, &format!("CPU per message, {name}"), "µs", micros_each(*cpu, messages));
            if *name == "router" {
                sheet.add(case, "messages per second of router CPU", "/s", per_second(messages, *cpu));
            }
        }
        let all = used.iter().map(|(_, cpu)| *cpu).sum();
        sheet.add(case, "CPU per message, all processes", "µs", micros_each(all, messages));
        let took = floor.saturate(messages, batch, window, args.bytes)?;
        sheet.add(case, "messages, NATS alone", "/s", per_second(messages, took));
    }
    for load in &args.load {
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        let rate = rate * *load as f64 / 100.0;
        at_rate(args, &format!("{load} % load"), rate, ours, floor, parts, sheet)?;
    }
    Ok(())
}

fn at_rate(
    args: &RouteArgs,
    case: &str,
    rate: f64,
    ours: &mut Way,
    floor: &mut Way,
    parts: &[Part],
    sheet: &mut Sheet,
) -> anyhow::Result<()> {
    let time = Duration::from_secs(args.seconds);
    note(&format!("    {case}: {rate:.0} messages/s"));
    let before = Usage::of(parts)?;
    ours.swarm.time(true);
    let sent = ours.pace(rate, time, args.bytes)?;
    let all = Usage::of(parts)?.since(&before).iter().map(|(_, cpu)| *cpu).sum();
    let latency = ours.swarm.latency();
    ours.swarm.time(false);
    floor.swarm.time(true);
    floor.pace(rate, time, args.bytes)?;
    let bare = floor.swarm.latency();
    sheet.add(case, "messages", "/s", per_second(sent, time));
    sheet.add(case, "CPU per message, all processes", "µs", micros_each(all, sent));
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        sheet.add(case, &format!("latency {name}"), "ms", millis(latency.value_at_quantile(quantile)));
        sheet.add(case, &format!("latency {name}, NATS alone"), "ms", millis(bare.value_at_quantile(quantile)));
    }
    let added = millis(latency.value_at_quantile(0.99)) - millis(bare.value_at_quantile(0.99));
    sheet.add(case, "latency p99 added", "ms", added);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a run are far below 2^52")]
pub(crate) fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
