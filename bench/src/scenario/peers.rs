//! The same load on Holdfast and on its peers: idle, one message to many, bursts, routed to users, and handshakes.

use std::time::{Duration, Instant};

use clap::Args;

use super::idle::{settled, slope};
use super::route::millis;
use super::{micros_each, per_second};
use crate::clock;
use crate::load::{Swarm, token};
use crate::process::cpu_time;
use crate::report::{Sheet, note, number_of};
use crate::system::Usage;
use crate::system::peers::{Candidate, Sender, System, To};

/// The size of the run.
#[derive(Debug, Clone, Args)]
pub(crate) struct PeersArgs {
    /// Only these scenarios: idle, fanout, burst, route, handshake.
    #[arg(long, value_delimiter = ',', default_value = "idle,fanout,burst,route,handshake")]
    pub(crate) only: Vec<String>,
    /// Only systems whose name contains this.
    #[arg(long, default_value = "")]
    pub(crate) system: String,
    /// Idle connections at the second measurement; the first is a fifth.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) idle: usize,
    /// Sockets in the room.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) sockets: usize,
    /// Deliveries of each case.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) deliveries: u64,
    /// Users that are routed to.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) users: usize,
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
}

const BYTES: usize = 64;

/// Runs each scenario on each system, one after the other in each round.
///
/// # Errors
/// A wrong delivery.
pub(crate) async fn run(args: &PeersArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    let wanted = |name: &str| args.only.iter().any(|only| only == name);
    let candidates = Candidate::found().into_iter().filter(|candidate| candidate.name().contains(&args.system));
    let candidates: Vec<Candidate> = candidates.collect();
    for round in 0..args.rounds {
        for candidate in &candidates {
            note(&format!("  {}, round {}", candidate.name(), round + 1));
            if wanted("route") {
                routed(args, &candidate.start(true).await?, sheet)?;
            }
            // From here on the server on one core; the load is where it is not.
            if wanted("idle") {
                // Each in a new process: one that has held connections has memory left for the next ones.
                for (label, to) in [("no room", None), ("in a room", Some(To::Room))] {
                    idle(args, &candidate.start(false).await?, label, to, sheet).await?;
                }
            }
            if wanted("fanout") {
                let system = candidate.start(false).await?;
                let mut room = Room::open(&system, args.sockets)?;
                room.drive(args.deliveries, 2, 1, "back to back", sheet)?;
                room.drive(args.deliveries, 100, 50, "batches of 50", sheet)?;
            }
            if wanted("burst") {
                let system = candidate.start(false).await?;
                Room::open(&system, 10)?.drive(args.deliveries * 2, 500, 100, "batches of 100", sheet)?;
            }
            if wanted("handshake") {
                handshake(args, &candidate.start(false).await?, sheet)?;
            }
        }
    }
    Ok(())
}

async fn idle(args: &PeersArgs, system: &System, label: &str, to: Option<To>, sheet: &mut Sheet) -> anyhow::Result<()> {
    let opening = system.opening(to);
    let mut swarm = Swarm::new(1)?;
    opening.open_all(0..args.idle / 5, 8, &mut swarm, 0)?;
    let low = settled(system.edge()).await?;
    opening.open_all(args.idle / 5..args.idle, 8, &mut swarm, 0)?;
    let high = settled(system.edge()).await?;
    let what = format!("memory per idle connection, {label}");
    sheet.add(system.name, &what, "B", slope(low, high, args.idle - args.idle / 5));
    swarm.may_end();
    Ok(())
}

struct Room<'a> {
    system: &'a System,
    swarm: Swarm,
    sender: Sender,
    sent: u64,
}

impl<'a> Room<'a> {
    fn open(system: &'a System, sockets: usize) -> anyhow::Result<Self> {
        let mut swarm = Swarm::new(1)?;
        system.opening(Some(To::Room)).open_all(0..sockets, 8.min(sockets), &mut swarm, BYTES)?;
        Ok(Self { system, swarm, sender: system.publisher()?, sent: 0 })
    }

    fn drive(&mut self, deliveries: u64, window: u64, batch: u64, pace: &str, sheet: &mut Sheet) -> anyhow::Result<()> {
        let (sockets, before) = (self.swarm.len() as u64, self.sent);
        let messages = (deliveries / sockets).next_multiple_of(batch);
        let cpu = cpu_time(self.system.edge())?;
        let started = Instant::now();
        while self.sent - before < messages {
            for _ in 0..batch {
                self.sent += 1;
                self.sender.publish(To::Room, &token::payload(0, self.sent, clock::micros(), BYTES))?;
            }
            self.sender.flush()?;
            self.swarm.at_least(self.sent.saturating_sub(window - batch) * sockets)?;
        }
        self.swarm.exactly(self.sent * sockets)?;
        let elapsed = started.elapsed();
        self.swarm.verify(0, |_| self.sent)?;
        let cpu = cpu_time(self.system.edge())?.saturating_sub(cpu);
        let what = format!("{} sockets, {pace}", number_of(self.swarm.len()));
        sheet.add(self.system.name, &format!("{what}: deliveries"), "/s", per_second(messages * sockets, elapsed));
        sheet.add(self.system.name, &format!("{what}: CPU per delivery"), "µs", micros_each(cpu, messages * sockets));
        Ok(())
    }
}

fn routed(args: &PeersArgs, system: &System, sheet: &mut Sheet) -> anyhow::Result<()> {
    let mut swarm = Swarm::new(1)?;
    system.opening(Some(To::User(0))).open_all(0..args.users, 8, &mut swarm, BYTES)?;
    let (mut sender, parts) = (system.publisher()?, system.parts());
    let mut sent = vec![0_u64; args.users];
    let mut total = 0;
    for (pace, batch, messages) in [("batches of 100", 100, args.deliveries), ("one by one", 1, args.deliveries / 10)] {
        let before = Usage::of(&parts)?;
        let (started, end) = (Instant::now(), total + messages);
        while total < end {
            for _ in 0..batch {
                let user = usize::try_from(total % args.users as u64)?;
                sent[user] += 1;
                total += 1;
                sender.publish(To::User(user), &token::payload(0, sent[user], clock::micros(), BYTES))?;
            }
            sender.flush()?;
            swarm.at_least(total.saturating_sub(1_000))?;
        }
        swarm.exactly(total)?;
        let elapsed = started.elapsed();
        let cpu: Duration = Usage::of(&parts)?.since(&before).iter().map(|(_, cpu)| *cpu).sum();
        let what = format!("to users, {pace}");
        sheet.add(system.name, &format!("{what}: messages"), "/s", per_second(messages, elapsed));
        sheet.add(system.name, &format!("{what}: CPU per message, all processes"), "µs", micros_each(cpu, messages));
    }
    let rate: u64 = 2_000;
    let (begin_us, started, before) = (clock::micros(), Instant::now(), total);
    swarm.time(true);
    while total - before < rate * 3 {
        let due = before + u64::try_from(started.elapsed().as_micros())? * rate / 1_000_000;
        while total < due.min(before + rate * 3) {
            let user = usize::try_from(total % args.users as u64)?;
            sent[user] += 1;
            let at_us = begin_us + (total - before) * 1_000_000 / rate;
            total += 1;
            sender.publish(To::User(user), &token::payload(0, sent[user], at_us, BYTES))?;
            sender.flush()?;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    swarm.exactly(total)?;
    swarm.verify(0, |client| sent.get(client).copied().unwrap_or(0))?;
    let latency = swarm.latency();
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let what = format!("to users, 2,000/s one by one: latency {name}");
        sheet.add(system.name, &what, "ms", millis(latency.value_at_quantile(quantile)));
    }
    Ok(())
}

fn handshake(args: &PeersArgs, system: &System, sheet: &mut Sheet) -> anyhow::Result<()> {
    let count = args.idle / 2;
    let opening = system.opening(None);
    drop(opening.open_many(0..64, 64)?);
    let before = cpu_time(system.edge())?;
    let started = Instant::now();
    let (opened, _) = opening.open_many(0..count, 64)?;
    let elapsed = started.elapsed();
    let cpu = cpu_time(system.edge())?.saturating_sub(before);
    sheet.add(system.name, "handshake, plain: connections", "/s", per_second(count as u64, elapsed));
    sheet.add(system.name, "handshake, plain: CPU", "µs", micros_each(cpu, count as u64));
    drop(opened);
    Ok(())
}
