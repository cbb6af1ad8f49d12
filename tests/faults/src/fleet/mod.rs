//! The processes: NATS servers, routers, gateways, each reachable for faults. Knows how to start, end and look at
//! them, and what "whole" means; decides nothing.

mod balancer;
mod slot;

pub use balancer::Balancer;
pub use slot::{Running, Slot};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use harness::credentials::SECRET;
use harness::nats_cluster::NatsCluster;
use harness::wait::pause;
use harness::{Folder, Service, binaries, http};
use holdfast_harness as harness;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::options::Options;

/// How long an answer of an admin listener may take before its process counts as not there.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);
/// Between two looks at the whole.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// "About 300 ms" during which old and new owner of a partition both forward, and some more.
const ROUTER_OVERLAP: Duration = Duration::from_millis(600);

/// Over how many seconds a gateway that is told to leave closes its connections.
pub const DRAIN_WINDOW_S: f64 = 3.0;

/// Settings of every process.
const SETTINGS: &[(&str, &str)] = &[
    ("HOLDFAST_ADMIN__ADDRESS", "127.0.0.1:0"),
    ("HOLDFAST_LOG__LEVEL", "info"),
    ("HOLDFAST_BUS__RECONNECT_DELAY_MAX", "500ms"),
    ("HOLDFAST_BUS__PING_INTERVAL", "2s"),
];
const GATEWAY_SETTINGS: &[(&str, &str)] = &[
    ("HOLDFAST_LISTEN__ADDRESS", "127.0.0.1:0"),
    ("HOLDFAST_AUTH__JWT__SECRET", SECRET),
    ("HOLDFAST_SESSION__HEARTBEAT", "5s"),
    ("HOLDFAST_LISTEN__SHARDS", "2"),
    ("HOLDFAST_DRAIN__DELAY", "1s"),
    ("HOLDFAST_DRAIN__WINDOW", "3s"),
];
const ROUTER_SETTINGS: &[(&str, &str)] =
    &[("HOLDFAST_ROSTER__LINGER", "2s"), ("HOLDFAST_KEPT__MAX_PER_SUBJECT", "100000")];

/// All processes.
#[derive(Debug)]
pub struct Fleet {
    nats: Mutex<NatsCluster>,
    nats_addresses: Vec<SocketAddr>,
    /// The gateways, as many as asked for.
    pub gateways: Vec<Slot>,
    /// The routers, and one place more for those who come in place of another.
    pub routers: Vec<Slot>,
    folder: Folder,
    logs: Option<PathBuf>,
    kept_replicas: usize,
}

impl Fleet {
    /// Starts everything and waits until it is whole.
    ///
    /// # Panics
    /// If that does not come to be.
    pub async fn start(options: &Options) -> Self {
        let nats = NatsCluster::start(options.nats).await;
        let nats_addresses = nats.addresses();
        let slot = |program: &'static str, number| Slot::new(program, number);
        let fleet = Self {
            nats_addresses,
            nats: Mutex::new(nats),
            gateways: (0..options.gateways).map(|number| slot("holdfast-gateway", number)).collect(),
            routers: (0..=options.routers).map(|number| slot("holdfast-router", number)).collect(),
            folder: Folder::new(),
            logs: options.logs.clone(),
            kept_replicas: options.nats,
        };
        let routers = fleet.routers[..options.routers].iter().map(|slot| slot.start(&fleet));
        let gateways = fleet.gateways.iter().map(|slot| slot.start(&fleet));
        tokio::join!(join_all(routers), join_all(gateways));
        if let Err(why) = fleet.whole(Duration::from_secs(60)).await {
            panic!("the fleet does not become whole: {why}");
        }
        fleet
    }

    /// The servers of the bus, to be harmed.
    pub async fn nats(&self) -> MutexGuard<'_, NatsCluster> {
        self.nats.lock().await
    }

    /// Where the servers of the bus are.
    pub fn nats_addresses(&self) -> &[SocketAddr] {
        &self.nats_addresses
    }

    /// A domain service's connection, to the servers of the bus from this one on.
    ///
    /// # Panics
    /// If none of them answers.
    pub async fn service(&self, first: usize) -> Service {
        let mut servers = self.nats_addresses.clone();
        let count = servers.len();
        servers.rotate_left(first % count);
        connect(&servers).await
    }

    /// A domain service's connection to one server of the bus alone.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn pinned(&self, server: usize) -> Service {
        connect(&self.nats_addresses[server..=server]).await
    }

    /// The gateways' and routers' processes that run.
    pub fn running(&self) -> Vec<(&Slot, std::sync::Arc<Running>)> {
        let slots = self.routers.iter().chain(&self.gateways);
        slots.filter_map(|slot| Some((slot, slot.running()?))).collect()
    }

    /// Waits until every process that runs is ready, routers and nodes know of exactly each other, and the stream of
    /// kept messages has a leader.
    ///
    /// # Errors
    /// What was still wrong after `patience`.
    pub async fn whole(&self, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        let service = self.service(0).await;
        loop {
            let look = tokio::time::timeout(Duration::from_secs(5), self.look(&service));
            match look.await.unwrap_or_else(|_| Err("no answer for 5 s".to_owned())) {
                Ok(()) => break,
                Err(why) if Instant::now() > deadline => return Err(why),
                Err(_) => pause(LOOK_INTERVAL).await,
            }
        }
        // It has a length, and nothing tells of its end.
        pause(ROUTER_OVERLAP).await;
        Ok(())
    }

    async fn look(&self, service: &Service) -> Result<(), String> {
        let running = self.running();
        for (slot, running) in &running {
            let answer = is_ready(running.admin()).await;
            answer.map_err(|why| format!("{}: {why}", slot.name()))?;
        }
        let routers = running.iter().filter(|(slot, _)| slot.is_router()).count();
        let stats = service.try_query("stats", "").await?;
        if stats["routers"] != routers {
            return Err(format!("{routers} routers; stats: {stats}"));
        }
        let nodes = service.try_query("nodes", "").await?;
        let list = nodes["nodes"].as_array().cloned().unwrap_or_default();
        let mut told: Vec<_> =
            list.iter().filter(|node| node["state"] == "live").filter_map(|node| node["node"].as_str()).collect();
        told.sort_unstable();
        let mut truth: Vec<_> =
            running.iter().filter(|(slot, _)| !slot.is_router()).map(|(_, running)| running.node()).collect();
        truth.sort_unstable();
        if told != truth || list.len() != truth.len() {
            return Err(format!("gateways {truth:?}; nodes: {nodes}"));
        }
        let info = service.bus().request("$JS.API.STREAM.INFO.HF_KEPT", "".into()).await;
        let info = info.map_err(|error| format!("the stream: {error}"))?;
        let info: serde_json::Value = serde_json::from_slice(&info.payload).map_err(|error| error.to_string())?;
        if info.get("error").is_some() { Err(format!("the stream: {info}")) } else { Ok(()) }
    }

    /// The command that starts one of our programs with these servers.
    fn command(&self, program: &str, servers: &[SocketAddr]) -> Command {
        let mut command = Command::new(binaries::holdfast(program));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HOLDFAST_")) {
            command.env_remove(name);
        }
        let servers: Vec<_> = servers.iter().map(|address| format!("nats://{address}")).collect();
        command.env("HOLDFAST_BUS__SERVERS", servers.join(","));
        let own = if program == "holdfast-router" { ROUTER_SETTINGS } else { GATEWAY_SETTINGS };
        command.envs(SETTINGS.iter().chain(own).copied());
        if program == "holdfast-router" {
            command.env("HOLDFAST_KEPT__REPLICAS", self.kept_replicas.to_string());
        }
        command.current_dir(self.folder.path());
        command
    }
}

async fn connect(servers: &[SocketAddr]) -> Service {
    let servers: Vec<_> = servers.iter().map(|address| format!("nats://{address}")).collect();
    let client = async_nats::ConnectOptions::new()
        .retain_servers_order()
        .ping_interval(Duration::from_secs(2))
        .reconnect_delay_callback(|_| Duration::from_millis(50))
        .connect(servers)
        .await
        .unwrap_or_else(|error| panic!("connect to the bus: {error}"));
    Service::new(client, "hf")
}

/// Whether a process says that it is ready.
async fn is_ready(admin: SocketAddr) -> Result<(), String> {
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    match tokio::time::timeout(LOOK_TIMEOUT, http::try_exchange(admin, request.as_bytes())).await {
        Ok(Ok(answer)) if answer.status == 200 => Ok(()),
        Ok(Ok(answer)) => Err(answer.body),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}
