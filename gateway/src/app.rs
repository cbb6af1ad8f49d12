//! The wiring: builds each part, hands out the channels, starts the threads, and waits for their end.
//!
//! One thread for the hub (bus, admin listener, timers of the process), one per shard. Everything they share is either
//! immutable or one of the bounded channels made here.

mod threads;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_daemon::admin::{Admin, AdminError, Guard, Readiness};
use holdfast_daemon::bus::{Bus, BusError};
use holdfast_daemon::config::{Loaded, Secret};
use holdfast_daemon::logging::{self, chain};
use holdfast_daemon::ready::Ready;
use holdfast_daemon::reload::Reloads;
use holdfast_daemon::shutdown::{Shutdown, Tasks};
use holdfast_daemon::{build_info, notify, random};
use holdfast_protocol::id::NodeId;
use holdfast_protocol::subject::Subjects;
use prometheus::Registry;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use self::threads::{Common, Started};
use crate::admin_api;
use crate::admission::Door;
use crate::auth::{Authenticator, Jwks, JwksSettings, JwksStatus, KeyError, KeyRefresher, Verifier, read_key_file};
use crate::clock::Clock;
use crate::config::{GatewaySettings, SERVICE};
use crate::fallback::{Desk, Exchanges};
use crate::handshake::Gatekeeper;
use crate::hub::shell::{self, Channels, Conditions, DrainSettings, Parts};
use crate::hub::{Hub, HubSettings, requests};
use crate::inspector::Inspector;
use crate::metrics::{HubCells, KeyCollector, ShardCells, catalogue};
use crate::net::certificates::{self, CertificateError, Certificates};
use crate::net::{self, Listening, listener};
use crate::pressure;
use crate::relay::{self, Leaving, Relay, RelaySettings};

/// How long tasks of the hub's thread may take to end.
const TASKS_GRACE: Duration = Duration::from_secs(1);
/// How long a back end that was told to go may take, from its slot on.
const BACK_END_GRACE: Duration = Duration::from_secs(6);

/// Why the gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The keys for tokens.
    #[error("cannot use the keys for tokens")]
    Keys(#[source] KeyError),
    /// The certificate.
    #[error("cannot use the certificate")]
    Certificate(#[source] CertificateError),
    /// A public listener.
    #[error("cannot listen on {address} for clients")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The admin listener.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The bus, for good.
    #[error("cannot use the bus")]
    Bus(#[from] BusError),
    /// A thread, a runtime, signals, or the ready line.
    #[error("cannot {what}")]
    System {
        /// What could not be done.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A metric was declared twice.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
}

/// The public side: sockets per shard.
struct Public {
    listening: Vec<Vec<Listening>>,
    plain: SocketAddr,
    tls: Option<SocketAddr>,
    certificates: Option<Arc<Certificates>>,
}

/// Runs the gateway on this thread and the shards' until it is told to end.
///
/// # Errors
/// It could not start, or a part of it failed for good.
pub fn run(node: NodeId, loaded: &Loaded<GatewaySettings>) -> Result<(), AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(|source| AppError::System { what: "start the hub's runtime", source })?;
    runtime.block_on(hub(node, loaded))
}

async fn hub(node: NodeId, loaded: &Loaded<GatewaySettings>) -> Result<(), AppError> {
    let settings = &loaded.settings;
    let (tasks, clock) = (Tasks::new(), Clock::start());
    let system = |what| move |source| AppError::System { what, source };
    let shutdown = Shutdown::on_signals(&tasks).map_err(system("listen for signals"))?;
    let shards = shard_count(settings);
    let registry = Registry::new();
    let shard_cells: Vec<Arc<ShardCells>> = (0..shards).map(|_| Arc::default()).collect();
    let hub_cells: Arc<HubCells> = Arc::default();
    let bus_metrics = catalogue::register(&registry, Arc::clone(&hub_cells), shard_cells.clone())?;
    let reloads = Reloads::new(&registry, &tasks).map_err(system("listen for signals"))?;
    let readiness = Readiness::new();
    let public = listen(settings, shards)?;
    let keys = keys(settings, &tasks)?;
    keep_fresh(&reloads, loaded, public.certificates.as_ref(), &keys);
    registry.register(Box::new(KeyCollector::new(public.certificates.clone(), keys.status.clone())?))?;
    let admin = Admin::bind(&settings.admin, registry.clone(), readiness.clone()).await?;
    let bus = Bus::connect(&settings.bus, &bus_metrics, &format!("holdfast-gateway {node}")).await?;

    let accepting = CancellationToken::new();
    let relay = start_relay(settings, &bus, &registry, &tasks, (public.certificates.clone(), accepting.clone()))?;
    let relay_address = relay.as_ref().map(|relay| relay.address);
    let (bus_requests, hub_requests) = shell::requests();
    let verifier = Arc::clone(&keys.verifier);
    let (desk, authenticator) = callers(node, settings, keys, bus_requests, Exchanges::new(&registry)?);
    let gatekeeper = Arc::new(Gatekeeper::new(settings.gate(), authenticator.clone()));
    let door = Arc::new(Door::new(settings.door()));
    let admin_address = admin.address();
    let common = Common {
        node,
        shards,
        age: settings.age(),
        verifier,
        gatekeeper,
        desk,
        door: Arc::clone(&door),
        cells: shard_cells.clone(),
        clock,
        net: net::Settings { http2: settings.has_pages(), ..net::Settings::default() },
        connections_max: settings.limits.connections,
        accepting: accepting.clone(),
    };
    let (mut started, from_shards) = Started::all(&common, public.listening)?;
    let orders = operate(admin, node, settings, &started, (&reloads, &shutdown, &tasks));
    let parts = Parts {
        hub: Hub::new(hub_settings(node, settings, shards), Arc::clone(&hub_cells), shard_cells),
        bus,
        cells: hub_cells,
        channels: Channels { from_shards, to_shards: started.take_channels() },
        clock,
        authenticator,
        requests: hub_requests,
        orders,
        conditions: Conditions::of(&readiness),
        accepting,
        door,
        memory_bytes_max: memory_bytes_max(settings),
        drain: DrainSettings { delay: settings.drain.delay, closing: settings.drain.closing() },
    };
    let ready = || announce(node, (public.plain, public.tls, relay_address), admin_address);
    let ended = shell::run(parts, &shutdown, ready).await;
    started.join();
    if let (Some(relay), Ok(())) = (relay, &ended) {
        relay.leave(settings.drain.window, &shutdown).await;
    }
    if let Err(error) = tasks.finish(TASKS_GRACE).await {
        tracing::warn!(%error, "Ended with tasks under way");
    }
    Ok(ended?)
}

fn shard_count(settings: &GatewaySettings) -> u16 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match settings.listen.shards {
        0 => u16::try_from(processors).unwrap_or(u16::MAX).min(crate::config::SHARDS_MAX),
        shards => shards,
    }
}

fn hub_settings(node: NodeId, settings: &GatewaySettings, shards: u16) -> HubSettings {
    HubSettings {
        node,
        shards,
        prefix: settings.bus.prefix.clone(),
        inbox_prefix: settings.bus.inbox_prefix.clone(),
        kept_stream: settings.kept.enabled.then(|| settings.kept.stream.clone()),
        drain_window_ms: millis(settings.drain.window),
        drain_deadline_ms: millis(settings.drain.last_close()),
        spare_handshakes: settings.drain.spare_handshakes,
        hold_bytes_max: settings.upstream.hold_max_bytes.get(),
        hold_timeout_ms: millis(settings.upstream.hold_timeout),
    }
}

/// What the process may use, as it is told or as the machine says; 0 where neither does.
fn memory_bytes_max(settings: &GatewaySettings) -> u64 {
    match settings.limits.memory_max {
        Some(bytes) => bytes.get() as u64,
        None => pressure::allowed_bytes().unwrap_or(0),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The keys for tokens, and what keeps them fresh.
struct Keys {
    verifier: Arc<Verifier>,
    refresher: Option<KeyRefresher>,
    status: Option<Arc<JwksStatus>>,
    /// The key set's, where it is one.
    file: Option<PathBuf>,
}

fn keys(settings: &GatewaySettings, tasks: &Tasks) -> Result<Keys, AppError> {
    let verifier = Arc::new(Verifier::new(&settings.jwt()).map_err(AppError::Keys)?);
    let Some(source) = &settings.auth.jwt.jwks else {
        return Ok(Keys { verifier, refresher: None, status: None, file: None });
    };
    let jwks = JwksSettings { source: source.clone(), refresh: settings.auth.jwt.jwks_refresh };
    let (jwks, refresher) = Jwks::new(&jwks, Arc::clone(&verifier)).map_err(AppError::Keys)?;
    let (status, file) = (Some(jwks.status()), jwks.file());
    tasks.spawn("jwks", jwks.run());
    Ok(Keys { verifier, refresher: Some(refresher), status, file })
}

/// Lets operators in, and tells the service manager how the process is. What operators order goes to the hub.
fn operate(
    admin: Admin,
    node: NodeId,
    settings: &GatewaySettings,
    started: &Started,
    (reloads, shutdown, tasks): (&Reloads, &Shutdown, &Tasks),
) -> shell::Given {
    let inspector = Inspector::new(started.channels());
    let (orders, given) = shell::orders();
    notify::stopping(shutdown, tasks, settings.drain.longest());
    let watched = inspector.clone();
    notify::watchdog(tasks, move || {
        let watched = watched.clone();
        async move { watched.are_all_there().await }
    });
    logging::tell_left_out(tasks);
    admin.api(Guard::of(&settings.admin, reloads), admin_api::api(node, inspector, orders, tasks)).serve(tasks);
    given
}

/// What asks over the bus for handshakes.
fn callers(
    node: NodeId,
    settings: &GatewaySettings,
    keys: Keys,
    requests: requests::BusRequests,
    exchanges: Exchanges,
) -> (Arc<Desk>, Authenticator) {
    let subjects = Subjects::new(&settings.bus.prefix);
    let backend: Arc<requests::BusRequests> = Arc::new(requests);
    let desk = Arc::new(Desk::new(Arc::<requests::BusRequests>::clone(&backend), subjects.clone(), node, exchanges));
    (desk, Authenticator::new(keys.verifier, keys.refresher, backend, subjects))
}

/// Takes up anew, while the process runs, what may be exchanged under it.
fn keep_fresh(
    reloads: &Reloads,
    loaded: &Loaded<GatewaySettings>,
    certificates: Option<&Arc<Certificates>>,
    keys: &Keys,
) {
    let settings = &loaded.settings;
    logging::keep_level(reloads, loaded, &SERVICE, |settings| &settings.log);
    if let (Some(certificates), Some(chain_file), Some(key)) =
        (certificates.cloned(), settings.tls.certificate.clone(), settings.tls.key.clone())
    {
        reloads.keep("certificate", vec![chain_file.clone(), key.clone()], move || {
            certificates.reload(&chain_file, &key).map_err(|error| chain(&error).to_string())
        });
    }
    if let Some(file) = keys.file.clone() {
        let verifier = Arc::clone(&keys.verifier);
        reloads.keep("jwks", vec![file.clone()], move || {
            read_key_file(&file, &verifier).map_err(|error| chain(&error).to_string())
        });
    } else if let Some(refresher) = keys.refresher.clone() {
        reloads.keep("jwks", Vec::new(), move || {
            if refresher.hurry() { Ok(()) } else { Err("too many wait for it already".to_owned()) }
        });
    }
    settings.bus.keep_files(reloads);
}

/// Binds the public addresses, one socket per shard and address.
fn listen(settings: &GatewaySettings, shards: u16) -> Result<Public, AppError> {
    let certificates = match (&settings.tls.certificate, &settings.tls.key) {
        (Some(certificate), Some(key)) => Some(Certificates::load(certificate, key).map_err(AppError::Certificate)?),
        _ => None,
    };
    let tls = certificates
        .clone()
        .map(|loaded| certificates::server_config(loaded, settings.has_pages()))
        .transpose()
        .map_err(AppError::Certificate)?;
    let bind = |address: SocketAddr| {
        let failed = move |source| AppError::Listen { address, source };
        let sockets = listener::bind(address, usize::from(shards)).map_err(failed)?;
        let bound = sockets.first().map_or(Ok(address), std::net::TcpListener::local_addr).map_err(failed)?;
        Ok::<_, AppError>((sockets, bound))
    };
    let proxied = settings.listen.proxy_protocol;
    let with = |sockets: Vec<std::net::TcpListener>, tls: Option<Arc<ServerConfig>>| {
        sockets.into_iter().map(move |socket| Listening { socket, tls: tls.clone(), proxied })
    };
    let (first, plain) = bind(settings.listen.address)?;
    let Some(tls_address) = settings.listen.tls_address else {
        let listening = with(first, tls).map(|one| vec![one]).collect();
        return Ok(Public { listening, plain, tls: None, certificates });
    };
    let (second, bound) = bind(tls_address)?;
    let listening = with(first, None).zip(with(second, tls)).map(|(plain, tls)| vec![plain, tls]).collect();
    Ok(Public { listening, plain, tls: Some(bound), certificates })
}

/// What listens for back ends.
struct BackEnds {
    address: SocketAddr,
    sessions: relay::Sessions,
    bus: Bus,
}

impl BackEnds {
    /// The drain has begun: waits for those that have not had their turn, and for what they published to reach the bus.
    async fn leave(self, window: Duration, shutdown: &Shutdown) {
        tokio::select! {
            () = self.sessions.gone() => {}
            () = shutdown.second() => {}
            () = tokio::time::sleep(window + BACK_END_GRACE) => tracing::warn!("Back ends by STOMP over TCP are left"),
        }
        if let Err(error) = self.bus.flush(TASKS_GRACE).await {
            tracing::warn!(%error, "What back ends sent last may be lost");
        }
    }
}

/// Listens for back ends, where that is wanted.
fn start_relay(
    settings: &GatewaySettings,
    bus: &Bus,
    registry: &Registry,
    tasks: &Tasks,
    (certificates, accepting): (Option<Arc<Certificates>>, CancellationToken),
) -> Result<Option<BackEnds>, AppError> {
    let config = &settings.stomp_relay;
    let Some(address) = config.listen else { return Ok(None) };
    let failed = |source| AppError::Listen { address, source };
    let (listener, bound) = relay::bind(address).map_err(failed)?;
    let tls = certificates.filter(|_| config.tls).map(certificates::stream_config).transpose();
    // The rules have seen to it that login, passcode and certificate are there.
    let relay = RelaySettings {
        login: config.login.clone().unwrap_or_default(),
        passcode: config.passcode.clone().unwrap_or_else(|| Secret::new("")),
        tls: tls.map_err(AppError::Certificate)?.map(Arc::new),
        sessions_max: config.sessions,
        destinations: settings.stomp.destinations(),
        subjects: Subjects::new(&settings.bus.prefix),
        leaving: Leaving { accepting, window: settings.drain.window },
    };
    let relay = Relay::new(relay, bus.clone(), registry)?;
    let sessions = relay.sessions();
    relay.serve(listener, tasks).map_err(failed)?;
    Ok(Some(BackEnds { address: bound, sessions, bus: bus.clone() }))
}

type Addresses = (SocketAddr, Option<SocketAddr>, Option<SocketAddr>);

fn announce(node: NodeId, (plain, tls, relay): Addresses, admin: SocketAddr) {
    let node = node.as_str();
    let ready = Ready { service: "gateway", node, listen: Some(plain), listen_tls: tls, listen_relay: relay, admin };
    match ready.announce() {
        Ok(()) => tracing::info!(listen = %plain, %admin, build = %build_info::describe(), "Gateway is up"),
        Err(error) => tracing::warn!(%error, "Could not write the ready line"),
    }
}

/// A fresh node id.
pub fn node_id() -> NodeId {
    NodeId::gateway(random::bytes())
}
