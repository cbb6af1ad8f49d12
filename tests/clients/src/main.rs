//! Client libraries that nobody here wrote, against real processes: NATS, two routers, two gateways.
//!
//! Run by `cargo xtask test clients`, which installs the pinned libraries and says where. Each program under `node/` and
//! `python/` drives its libraries against the same stage and prints a line per check; this one starts the stage, plays
//! the domain service and the broken network, and adds up. Knows nothing of what the libraries do.

mod report;
mod service;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use holdfast_harness::cluster::Builder;
use holdfast_harness::proxy::Proxy;
use holdfast_harness::{Claims, Cluster};
use report::Report;
use serde_json::{Value, json};
use tokio::process::Command;

/// The programs, and what runs them.
const PROGRAMS: [(&str, Language); 7] = [
    ("node/stomp.mjs", Language::Node),
    ("node/sockets.mjs", Language::Node),
    ("node/sockjs_protocol.mjs", Language::Node),
    ("node/http2.mjs", Language::Node),
    ("python/stomp_py.py", Language::Python),
    ("python/sockets.py", Language::Python),
    ("python/spring.py", Language::Python),
];

/// Where SockJS is spoken, and the native fallbacks are on.
const SOCKJS_PATH: &str = "/ws/chat";
/// Where the service sends back what it gets, in dialect bare.
const ECHO_PATH: &str = "/echo";
/// What back ends log in with.
const PASSCODE: &str = "a passcode of the tests";
/// The longest of them takes about a minute.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Node,
    Python,
}

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the report is for whoever runs the suite")]
async fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    match run(&wanted).await {
        Ok(summary) => {
            println!("clients: {summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("clients: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(wanted: &[String]) -> anyhow::Result<String> {
    let cluster = common(Cluster::builder().open_bus())
        .routers(2)
        .gateways(2)
        // Polls that are held end within the programs' patience, and a program that gets no time for seconds stays.
        .gateway_setting("HOLDFAST_SESSION__HEARTBEAT", "5s")
        .gateway_setting("HOLDFAST_STOMP_RELAY__LISTEN", "127.0.0.1:0")
        .gateway_setting("HOLDFAST_STOMP_RELAY__LOGIN", "spring")
        .gateway_setting("HOLDFAST_STOMP_RELAY__PASSCODE", PASSCODE)
        .start()
        .await;
    // The loss of heart-beats is to be seen within seconds.
    let hasty = Cluster::builder().open_bus().gateway_setting("HOLDFAST_SESSION__HEARTBEAT", "1s").start().await;
    let stalling = Arc::new(Proxy::start(hasty.gateway(0).listen()).await);
    let _service = service::start(cluster.service().await, Arc::clone(&stalling)).await;
    let secure = common(Cluster::builder().open_bus()).gateways(2).tls().start().await;
    let _secure_service = service::start(secure.service().await, Arc::clone(&stalling)).await;
    let mut stage = stage(&cluster, &stalling);
    let gateways: Vec<String> = secure.gateways().iter().map(|gateway| gateway.listen().to_string()).collect();
    stage["secure"] =
        json!({ "gateways": gateways, "certificate": std::fs::read_to_string(&secure.certificate().certificate)? });
    let mut total = Report::default();
    for (program, language) in PROGRAMS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| program.contains(wanted.as_str())) {
            continue;
        }
        let report = run_program(program, language, &stage).await.with_context(|| program.to_owned())?;
        ensure!(report.passed + report.skipped > 0, "{program} checked nothing");
        total.add(report);
    }
    ensure!(total.failed == 0, "{} checks failed", total.failed);
    Ok(total.to_string())
}

/// What all gateways here have on.
fn common(builder: Builder) -> Builder {
    builder
        .gateway_setting("HOLDFAST_ORIGINS", "*")
        .gateway_setting("HOLDFAST_SOCKJS__PATHS", &format!("{SOCKJS_PATH},{ECHO_PATH}"))
        .gateway_setting("HOLDFAST_FALLBACK__PATHS", SOCKJS_PATH)
        .gateway_setting("HOLDFAST_ENDPOINTS__ECHO__PATH", ECHO_PATH)
        .gateway_setting("HOLDFAST_ENDPOINTS__ECHO__DIALECTS", "bare")
}

/// What the programs are told.
fn stage(cluster: &Cluster, stalling: &Proxy) -> Value {
    let gateways: Vec<String> = cluster.gateways().iter().map(|gateway| gateway.listen().to_string()).collect();
    let token = |user: &str| Claims::of(user).sign();
    json!({
        "gateways": gateways,
        "sockjs": SOCKJS_PATH,
        "echo": ECHO_PATH,
        "relay": cluster.gateway(0).ready()["listen_relay"],
        "passcode": PASSCODE,
        "stalling": stalling.address().to_string(),
        "tokens": {
            "ana": token("ana"),
            "ben": token("ben"),
            "closer": token("closer"),
            "expired": Claims::of("ana").expires_in(-60).sign(),
            "roomless": Claims::of("eve").without("rooms").sign(),
        },
    })
}

async fn run_program(program: &str, language: Language, stage: &Value) -> anyhow::Result<Report> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
    let mut command = match language {
        Language::Node => Command::new("node"),
        Language::Python => Command::new(named("CLIENTS_PYTHON")?),
    };
    command.arg(file).env("CLIENTS_STAGE", stage.to_string()).env("CLIENTS_NODE", named("CLIENTS_NODE")?);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut process = command.spawn().context("start it")?;
    let output = process.stdout.take().context("standard output is a pipe")?;
    let report = tokio::time::timeout(PATIENCE, Report::read(output)).await.context("it does not end")??;
    let status = process.wait().await?;
    ensure!(status.success(), "it ended with {status}");
    Ok(report)
}

#[expect(clippy::disallowed_methods, reason = "where the libraries are is told by whoever runs this")]
fn named(variable: &str) -> anyhow::Result<PathBuf> {
    let value =
        std::env::var_os(variable).with_context(|| format!("{variable} is not set; use `cargo xtask test clients`"))?;
    Ok(value.into())
}
