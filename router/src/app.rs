//! The process: builds each part, runs the loop, ends in order.

use std::process::ExitCode;
use std::time::Duration;

use holdfast_daemon::admin::{Admin, AdminError, Answer, Api, Guard, Readiness};
use holdfast_daemon::bus::{Bus, BusError};
use holdfast_daemon::config::Loaded;
use holdfast_daemon::logging::{self, chain};
use holdfast_daemon::reload::Reloads;
use holdfast_daemon::shutdown::{Shutdown, Tasks};
use holdfast_daemon::telemetry::TelemetryError;
use holdfast_daemon::{notify, random};
use holdfast_protocol::id::NodeId;
use prometheus::Registry;
use tokio::runtime::Builder;

use crate::clock::unix_ms;
use crate::config::{RouterSettings, SERVICE};
use crate::core::Router;
use crate::metrics;
use crate::pump::{Conditions, Parts, Pump};
use crate::read_back::ReadBack;
use crate::service::MicroService;
use crate::stream::{Keeper, KeptShell, Listening};

/// For the last messages and the last tasks.
const FINISH_DEADLINE: Duration = Duration::from_secs(2);

/// From the signal to the end: leaving takes part of it, the rest is for a bus that does not answer.
const LEAVING_MAX: Duration = Duration::from_secs(20);

/// Why the process could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// No log or span exporter.
    #[error("cannot set up logging")]
    Telemetry(#[from] TelemetryError),
    /// No runtime, no signals.
    #[error("the operating system refused what every process needs")]
    System(#[from] std::io::Error),
    /// The same metric twice.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// No admin listener.
    #[error("cannot start")]
    Admin(#[from] AdminError),
    /// The bus is unusable.
    #[error("the bus connection is unusable")]
    Bus(#[from] BusError),
}

/// Runs a router until it is told to end.
pub fn main(loaded: &Loaded<RouterSettings>) -> ExitCode {
    let node = draw_id(&loaded.settings);
    match run(node, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %chain(&error), "Router failed");
            ExitCode::FAILURE
        }
    }
}

/// An id that says which section we are of.
fn draw_id(settings: &RouterSettings) -> NodeId {
    loop {
        let node = NodeId::router(random::bytes());
        if settings.sections().of_router(node) == settings.sections.index {
            return node;
        }
    }
}

fn run(node: NodeId, loaded: &Loaded<RouterSettings>) -> Result<(), AppError> {
    let settings = &loaded.settings;
    let _telemetry = logging::init("router", node.as_str(), &settings.log, &settings.trace)?;
    loaded.log_warnings();
    // One thread: what reads the bus and what handles it must not run at the same time.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(node, loaded))
}

async fn serve(node: NodeId, loaded: &Loaded<RouterSettings>) -> Result<(), AppError> {
    let settings = &loaded.settings;
    let tasks = Tasks::new();
    let shutdown = Shutdown::on_signals(&tasks)?;
    let registry = Registry::new();
    let (metrics, bus_metrics) = metrics::register(&registry)?;
    let reloads = Reloads::new(&registry, &tasks)?;
    logging::keep_level(&reloads, loaded, &SERVICE, |settings| &settings.log);
    settings.bus.keep_files(&reloads);
    let readiness = Readiness::new();
    let conditions = Conditions {
        bus: readiness.condition("bus", "not connected"),
        live: readiness.condition("roster", "gathering rosters"),
    };
    let admin = Admin::bind(&settings.admin, registry, readiness.clone()).await?;
    let address = admin.address();
    let more = move || async move { serde_json::json!({ "node": node }) };
    let api = Api::new(&tasks, |_| async { Answer::nothing() }, more);
    admin.api(Guard::of(&settings.admin, &reloads), api).serve(&tasks);
    notify::stopping(&shutdown, &tasks, LEAVING_MAX);
    notify::watchdog(&tasks, || async { true });
    logging::tell_left_out(&tasks);

    let core = settings.core(random::number());
    let bus = Bus::connect(&settings.bus, &bus_metrics, &format!("holdfast-router {node}")).await?;
    let subjects = core.subjects.clone();
    let service = MicroService::new(&settings.service.name, node.as_str(), &subjects, unix_ms());
    let router = Router::new(node, core);
    let kept = settings.kept.enabled.then(|| {
        let condition = readiness.condition("kept", "not looked at yet");
        let (up, failures) = (metrics.stream.clone(), metrics.stream_failures.clone());
        let keeper = Keeper::new(&bus, &subjects, &settings.kept, condition, up, failures);
        let read_back = ReadBack::start(&bus, &subjects, &settings.kept, &tasks);
        KeptShell { listening: Listening::start(keeper, &tasks), read_back }
    });
    let parts = Parts {
        bus: bus.clone(),
        subjects,
        router,
        service,
        metrics,
        conditions,
        kept,
        shutdown: shutdown.clone(),
        admin: address,
    };
    let pump = Pump::open(parts).await?;

    let outcome = tokio::select! {
        outcome = pump.run() => outcome,
        // Asked twice: no more waiting.
        () = shutdown.second() => Ok(()),
    };
    if let Err(error) = bus.flush(FINISH_DEADLINE).await {
        tracing::debug!(error = %chain(&error), "Last messages were not sent");
    }
    if let Err(error) = tasks.finish(FINISH_DEADLINE).await {
        tracing::warn!(%error, "Tasks left behind");
    }
    tracing::info!("Router ended");
    outcome.map_err(AppError::from)
}
