//! One run from the start of the fleet to the verdict.

mod rest;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use holdfast_harness::wait::pause;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::check;
use crate::document;
use crate::faults::{Kind, Schedule, inflict, rolling};
use crate::fleet::{Balancer, Fleet};
use crate::history::{Harm, History, STALLED};
use crate::measure::Measurer;
use crate::memory::Memory;
use crate::options::Options;
use crate::plant::Defect;
use crate::random::Random;
use crate::report::{Outcome, say};
use crate::workload::{
    Client, Phase, Plan, Recorder, Shared, listen_facts, listen_upstream, publish_kept, publish_live,
};

/// How long the fleet may take to be whole again after a fault.
const HEALING_PATIENCE: Duration = Duration::from_secs(60);
/// How long all clients may take to come.
const COMING_PATIENCE: Duration = Duration::from_secs(90);
/// Publishers of each kind.
const PUBLISHERS: u16 = 4;
/// Clients that come per second at the start.
const COMING_PER_SECOND: u32 = 400;
/// The machine is too busy for times to mean anything when a pause is this much longer than it should.
const STALL: Duration = Duration::from_millis(300);
/// What a standstill brought about is over after this.
const STALL_AFTERMATH: Duration = Duration::from_secs(4);
/// Between two looks at memory and roster.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// What a run is made of.
struct Run {
    options: Options,
    fleet: Arc<Fleet>,
    shared: Arc<Shared>,
    measurer: Measurer,
    /// What the fleet did wrong that no history shows.
    complaints: Vec<String>,
    inflicted: BTreeMap<String, usize>,
    memory: Memory,
    compared: (usize, u64),
}

/// Runs; whether all promises were kept.
///
/// # Errors
/// The run could not be made, or its figures not be written.
pub async fn run(options: Options) -> Result<bool> {
    let seed = options.seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        now.as_secs()
    });
    let random = Random::new(seed);
    say(&format!(
        "seed {seed}: {} clients, {} messages/s, {} NATS servers, {} routers, {} gateways",
        options.clients, options.rate, options.nats, options.routers, options.gateways
    ));
    let fleet = Arc::new(Fleet::start(&options).await);
    let plan = Plan::new(options.clients, &mut random.fork(1));
    let recorder = Arc::new(Recorder::new(&plan.users));
    let balancer = Arc::new(Balancer::default());
    balancer.look(&fleet).await;
    let shared = Arc::new(Shared::new(plan, Arc::clone(&recorder), Arc::clone(&balancer)));
    let measurer = Measurer::new(fleet.service(0).await);

    let mut background = JoinSet::new();
    background.spawn(balancer.run(Arc::clone(&fleet)));
    background.spawn(watch_the_machine(Arc::clone(&recorder)));
    for number in 0..options.nats {
        let listener = u8::try_from(number).context("so many servers")?;
        background.spawn(listen_upstream(listener, fleet.pinned(number).await, Arc::clone(&recorder)));
        background.spawn(listen_facts(fleet.pinned(number).await, Arc::clone(&recorder)));
    }
    let mut clients = JoinSet::new();
    for number in 0..options.clients {
        let client = Client::new(number, Arc::clone(&shared), random.fork(1000 + u64::from(number)));
        let delay = Duration::from_secs_f64(f64::from(number) / f64::from(COMING_PER_SECOND));
        clients.spawn(async move {
            pause(delay).await;
            client.run().await;
        });
    }
    let publishers = publishers(&options, &fleet, &shared, &random).await;

    let inflicted = BTreeMap::new();
    let mut run = Run {
        options,
        fleet,
        shared,
        measurer,
        complaints: Vec::new(),
        inflicted,
        memory: Memory::default(),
        compared: (0, 0),
    };
    run.everybody_comes().await?;
    say(&format!("{:>7} ms  all {} clients are connected and joined", recorder.now(), run.options.clients));
    let began = Instant::now();
    run.shared.phase.send_replace(Phase::Load);
    run.troubles(Schedule::new(random.fork(2), run.kinds())).await;
    let load_seconds = began.elapsed().as_secs();
    let history = run.rest(publishers, clients).await?;
    background.shutdown().await;
    run.verdict(seed, load_seconds, &history)
}

async fn publishers(options: &Options, fleet: &Fleet, shared: &Arc<Shared>, random: &Random) -> JoinSet<()> {
    let mut publishers = JoinSet::new();
    let each = f64::from(options.rate) / f64::from(2 * PUBLISHERS);
    for number in 0..2 * PUBLISHERS {
        let service = fleet.service(usize::from(number)).await;
        let (shared, random) = (Arc::clone(shared), random.fork(100 + u64::from(number)));
        if number < PUBLISHERS {
            publishers.spawn(publish_live(number, each, service, shared, random));
        } else {
            publishers.spawn(publish_kept(number, each, service, shared, random));
        }
    }
    publishers
}

/// Where this machine stands still, beats come late, routers take each other for dead, and that is no fault of the fleet.
/// The trouble lasts until the machine has gone on for a while.
async fn watch_the_machine(recorder: Arc<Recorder>) {
    let step = Duration::from_millis(50);
    let mut stalled: Option<(u64, Instant)> = None;
    loop {
        let (before, at) = (Instant::now(), recorder.now());
        pause(step).await;
        if before.elapsed() > step + STALL {
            stalled = Some((stalled.map_or(at.saturating_sub(1000), |(from, _)| from), Instant::now()));
        }
        if let Some((from, _)) = stalled.filter(|(_, last)| last.elapsed() > STALL_AFTERMATH) {
            recorder.window(STALLED, Harm::Lossy, from);
            stalled = None;
        }
    }
}

impl Run {
    fn kinds(&self) -> Vec<Kind> {
        let asked = |kind: &Kind| self.options.only.is_empty() || self.options.only.contains(kind);
        let possible = |kind: &Kind| self.options.nats > 1 || !kind.wants_cluster();
        Kind::all().iter().copied().filter(|kind| asked(kind) && possible(kind)).collect()
    }

    async fn everybody_comes(&self) -> Result<()> {
        let deadline = Instant::now() + COMING_PATIENCE;
        while let Some((number, why)) = self.missing_client(|_| true) {
            anyhow::ensure!(Instant::now() < deadline, "client {number} does not come: {why}");
            pause(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// A client that is not where it means to be.
    fn missing_client(&self, stays: impl Fn(u32) -> bool) -> Option<(u32, String)> {
        (0..self.shared.clients()).filter(|number| stays(*number)).find_map(|number| {
            let status = self.shared.status(number);
            let fine = status.connection.is_some() && status.joined == status.wanted;
            (!fine).then(|| (number, format!("{status:?}")))
        })
    }

    async fn troubles(&mut self, mut schedule: Schedule) {
        let end = Instant::now() + Duration::from_secs_f64(self.options.minutes * 60.0);
        if self.options.steady {
            return self.steady(end).await;
        }
        if self.options.rolling {
            pause(Duration::from_secs(3)).await;
            let recorder = &self.shared.recorder;
            let progress = |line: &str| say(&format!("{:>7} ms  {line}", recorder.now()));
            if let Err(why) = rolling(&self.fleet, recorder, progress).await {
                self.complaints.push(why);
            }
            return;
        }
        pause(Duration::from_secs(2)).await;
        while Instant::now() < end && self.complaints.is_empty() {
            let Some(step) = schedule.next() else { return };
            let from = self.shared.recorder.now();
            let told: Vec<_> =
                step.faults.iter().map(|fault| format!("{} ({} ms)", fault.kind.name(), fault.for_ms)).collect();
            say(&format!("{from:>7} ms  {}", told.join(" and ")));
            let done = join_all(step.faults.iter().map(|fault| inflict(*fault, &self.fleet, &self.measurer))).await;
            self.complaints.extend(done.into_iter().filter_map(Result::err));
            if let Err(why) = self.fleet.whole(HEALING_PATIENCE).await {
                self.complaints.push(format!("not whole {HEALING_PATIENCE:?} after {}: {why}", told.join(" and ")));
            }
            for fault in &step.faults {
                self.shared.recorder.window(&fault.kind.name(), fault.kind.harm(), from);
                *self.inflicted.entry(fault.kind.name()).or_default() += 1;
            }
            pause(Duration::from_millis(step.calm_ms)).await;
        }
    }

    /// No faults: looks at memory and at the roster now and then.
    async fn steady(&mut self, end: Instant) {
        let service = self.fleet.service(0).await;
        let mut next_word = Instant::now();
        while Instant::now() < end {
            pause(SAMPLE_INTERVAL).await;
            let now = self.shared.recorder.now();
            for (slot, running) in self.fleet.running() {
                self.memory.take(&slot.name(), running.pid(), now);
            }
            let nats = self.fleet.nats().await;
            for number in 0..nats.len() {
                self.memory.take(&format!("nats {number}"), nats.server(number).process().pid(), now);
            }
            drop(nats);
            let connected =
                || (0..self.shared.clients()).filter(|n| self.shared.status(*n).connection.is_some()).count() as u64;
            let before = connected();
            let stats = service.try_query("stats", "").await;
            let after = connected();
            if let Some(told) = stats.ok().and_then(|stats| stats["connections"].as_u64()) {
                let (low, high) = (before.min(after), before.max(after));
                let off = low.saturating_sub(told).max(told.saturating_sub(high));
                self.compared = (self.compared.0 + 1, self.compared.1.max(off));
            }
            if Instant::now() >= next_word {
                next_word += Duration::from_secs(60);
                let growth = self.memory.growth();
                let now: Vec<_> = growth.iter().map(|(name, growth)| format!("{name} {}", growth.last_kib)).collect();
                say(&format!(
                    "{:>7} ms  KiB: {}; roster off by {} at most",
                    self.shared.recorder.now(),
                    now.join(", "),
                    self.compared.1
                ));
            }
        }
    }

    fn verdict(self, seed: u64, load_seconds: u64, history: &History) -> Result<bool> {
        let report = check::check(history);
        let mut broken: BTreeMap<String, usize> = BTreeMap::new();
        for violation in &report.violations {
            *broken.entry(format!("{:?}", violation.rule)).or_default() += 1;
        }
        let clean = report.violations.is_empty() && self.complaints.is_empty();
        let planted = if clean { prove(history) } else { (0, 0) };
        let stalls = history.windows.iter().filter(|window| window.what == STALLED);
        let outcome = Outcome {
            command: self.options.command(seed),
            machine: Outcome::machine(),
            seed,
            clients: self.options.clients,
            rate: self.options.rate,
            fleet: [self.options.nats, self.options.routers, self.options.gateways],
            load_seconds,
            faults: self.inflicted,
            figures: report.figures,
            measured: self.measurer.figures(),
            memory: self.memory.growth(),
            roster_compared: self.compared,
            busy_ms: stalls.map(|window| window.to - window.from).sum(),
            broken,
            planted,
        };
        say(&outcome.text());
        if outcome.busy_ms > 0 {
            let busy_ms = outcome.busy_ms;
            say(&format!(
                "this machine was too busy for {busy_ms} ms: live messages lost then were not held against the fleet"
            ));
        }
        if let Some(folder) = &self.options.record {
            document::record(folder, self.options.mode(), &outcome)?;
        }
        for complaint in &self.complaints {
            say(&format!("BROKEN: {complaint}"));
        }
        if !report.violations.is_empty() {
            say(&check::tell(history, &report.violations));
        }
        if clean && planted.0 == planted.1 {
            say(&format!("seed {seed}: every promise was kept"));
            return Ok(true);
        }
        say(&format!("seed {seed}: FAILED; again with --seed {seed}"));
        Ok(false)
    }
}

/// Plants each kind of defect in what was just found sound: how many were found, of how many planted.
fn prove(history: &History) -> (usize, usize) {
    let (mut found, mut planted) = (0, 0);
    for defect in Defect::ALL {
        let mut spoiled = history.clone();
        if defect.plant(&mut spoiled).is_none() {
            continue;
        }
        planted += 1;
        let report = check::check(&spoiled);
        if report.violations.iter().any(|violation| violation.rule == defect.breaks()) {
            found += 1;
        } else {
            say(&format!("the checker does not see {defect:?}"));
        }
    }
    (found, planted)
}

/// Waits for tasks that end by themselves.
async fn ended(mut tasks: JoinSet<()>, patience: Duration, what: &str) -> Result<()> {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            ended.with_context(|| format!("{what} failed"))?;
        }
        Ok(())
    };
    timeout(patience, all).await.with_context(|| format!("{what} do not end"))?
}
