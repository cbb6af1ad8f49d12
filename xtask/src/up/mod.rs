//! `cargo xtask up`: a whole fleet on this machine, for people who want to see it work.
//!
//! NATS with JetStream, a router, two gateways (one with TLS too), the demo page and its domain service. Everything
//! runs in the foreground with its log shown, and ends with us, however we end.

mod certificate;
mod child;
mod demo;
mod leash;
mod plan;

use crate::{nats, run, test, workspace};
use anyhow::{Context, Result, bail};
use child::{Child, Ended};
use clap::Args;
use leash::Leash;
use plan::Plan;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

const AFTER_HELP: &str = "\
Starts nats-server (found, or fetched into target/tools), one router, two gateways on
127.0.0.1:8080 (with TLS on :8443 too) and :8081, and the demo page on http://127.0.0.1:8000.
The gateways run in profile dev: plaintext on loopback, any path, ?userId= without a token.
Ctrl-C ends all of it. Settings in the environment reach the services, for example
HOLDFAST_LOG__LEVEL=debug.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct UpArgs {
    /// Added to every port, for a second fleet or where one is taken.
    #[arg(long, default_value_t = 0, value_name = "N")]
    port_offset: u16,
    /// Routers to run.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8))]
    routers: u16,
    /// Use a nats-server that runs already, such as nats://127.0.0.1:4222.
    #[arg(long, value_name = "URL")]
    bus: Option<String>,
}

/// How often the signal and the children are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// For a service to be ready: the bus is there already.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// For each step of the end: asked politely, asked again, killed.
const END_PATIENCE: Duration = Duration::from_secs(3);

pub(crate) fn run(args: &UpArgs) -> Result<ExitCode> {
    let plan = Plan::new(args)?;
    plan.check_ports()?;
    test::raise_file_limit();
    let folder = workspace::target()?.join("dev");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let nats_server = if args.bus.is_none() { Some(nats::get()?) } else { None };
    workspace::build()?;
    certificate::make(&folder)?;

    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("cannot listen to signals")?;
    }
    let (ended_tx, ended) = sync_channel(64);
    let mut fleet = Fleet { children: Vec::new(), leash: Leash::new()?, ended_tx, ended, interrupted };
    let outcome = fleet.start(&plan, nats_server.as_deref(), &folder).and_then(|()| fleet.wait());
    run::say("ending everything");
    fleet.end();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// What runs, in the order in which it was started.
struct Fleet {
    children: Vec<Child>,
    leash: Leash,
    /// Each child's watcher tells its end here; there are fewer children than places, so none waits.
    ended_tx: SyncSender<Ended>,
    ended: Receiver<Ended>,
    interrupted: Arc<AtomicBool>,
}

impl Fleet {
    fn start(&mut self, plan: &Plan, nats_server: Option<&Path>, folder: &Path) -> Result<()> {
        if let Some(nats_server) = nats_server {
            run::say("starting nats-server");
            self.spawn("nats", plan.nats(nats_server, folder))?;
            self.until("nats-server listens", || plan.nats_listens())?;
        }
        let binaries = workspace::binaries()?;
        for service in plan.services(&binaries, folder) {
            run::say(&format!("starting {}", service.name));
            self.spawn(&service.name, service.command)?;
            let child = self.children.last().context("it was just added")?;
            let ready = child.ready();
            self.until(&format!("{} is ready", service.name), || ready.load(Ordering::Acquire))?;
        }
        self.until("both gateways have a router", || plan.gateways_ready())?;
        let holdfast = binaries.join("holdfast");
        let tokens = plan.tokens(&holdfast)?;
        demo::serve(plan.demo_address(), &workspace::root().join("deploy/demo"), &plan.demo_config(&tokens)?)?;
        self.spawn("demo", plan.demo_service(&holdfast))?;
        plan.print_welcome(&tokens, &holdfast, folder)
    }

    fn spawn(&mut self, name: &str, command: Command) -> Result<()> {
        let child = Child::spawn(name, command, self.ended_tx.clone())?;
        self.leash.watch(child.id());
        self.children.push(child);
        Ok(())
    }

    /// Waits for a condition; fails where a child ends meanwhile, or at Ctrl-C.
    fn until(&mut self, what: &str, condition: impl Fn() -> bool) -> Result<()> {
        let mut looks = READY_TIMEOUT.as_millis() / LOOK_INTERVAL.as_millis();
        while !condition() {
            if self.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted before {what}");
            }
            if let Ok(ended) = self.ended.recv_timeout(LOOK_INTERVAL) {
                bail!("{} ended ({}) before {what}; its log is above", ended.name, ended.how);
            }
            looks = looks.saturating_sub(1);
            if looks == 0 {
                bail!("not within {} s: {what}", READY_TIMEOUT.as_secs());
            }
        }
        Ok(())
    }

    /// Waits for Ctrl-C.
    fn wait(&mut self) -> Result<()> {
        while !self.interrupted.load(Ordering::Relaxed) {
            if let Ok(ended) = self.ended.recv_timeout(LOOK_INTERVAL) {
                bail!("{} ended ({}); its log is above", ended.name, ended.how);
            }
        }
        Ok(())
    }

    /// Ends the children, the last started first.
    fn end(&mut self) {
        let nats = self.children.iter().position(|child| child.name() == "nats");
        let (first, last): (Vec<_>, Vec<_>) = (0..self.children.len()).rev().partition(|at| Some(*at) != nats);
        for group in [first, last] {
            for signal in ["TERM", "TERM", "KILL"] {
                let alive: Vec<u32> =
                    group.iter().map(|at| &self.children[*at]).filter(|c| !c.has_ended()).map(Child::id).collect();
                alive.iter().for_each(|id| self.leash.signal(*id, signal));
                let mut looks = END_PATIENCE.as_millis() / LOOK_INTERVAL.as_millis();
                while group.iter().any(|at| !self.children[*at].has_ended()) && looks > 0 {
                    drop(self.ended.recv_timeout(LOOK_INTERVAL));
                    looks -= 1;
                }
            }
        }
    }
}
