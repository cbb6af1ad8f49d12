//! The front ends of `examples/`, unchanged, in a browser, against two gateways behind a round-robin balancer, with each of
//! their services.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, ensure};
use holdfast_harness::process::Process;
use holdfast_harness::{Claims, Cluster, Gateway, credentials, eventually};
use serde_json::{Value, json};

use crate::browser::{Browser, Tab};
use crate::front::Front;

/// Where the libraries of the examples are, if they are there.
pub(crate) struct Tools {
    node: PathBuf,
    python: PathBuf,
}

impl Tools {
    /// As `cargo xtask test clients` installs them.
    #[expect(clippy::disallowed_methods, reason = "where the libraries are is told by whoever runs this")]
    pub(crate) fn find() -> Option<Self> {
        let named = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
        Some(Self { node: named("CLIENTS_NODE")?, python: named("CLIENTS_PYTHON")? })
    }

    fn library(&self, file: &str) -> PathBuf {
        self.node.join("node_modules").join(file)
    }

    /// A program of an example, by the language it is written in. Node finds libraries beside a program alone.
    fn command(&self, file: &str, folder: &Path, bus: &str) -> anyhow::Result<Command> {
        let mut command = match Path::new(file).extension().and_then(|extension| extension.to_str()) {
            Some("py") => {
                let mut command = Command::new(&self.python);
                command.arg(example(file));
                command
            }
            _ => {
                let copy = folder.join(file.replace('/', "-"));
                std::fs::copy(example(file), &copy)?;
                let modules = folder.join("node_modules");
                if !modules.exists() {
                    std::os::unix::fs::symlink(self.node.join("node_modules"), modules)?;
                }
                let mut command = Command::new("node");
                command.arg(copy);
                command
            }
        };
        command.env("NATS_URL", format!("nats://{bus}"));
        Ok(command)
    }
}

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(file)
}

#[expect(clippy::print_stdout, reason = "the report is for whoever runs the suite")]
fn holds(what: &str) {
    println!("ok  {what}");
}

#[expect(clippy::print_stdout, reason = "the report is for whoever runs the suite")]
fn skipped(what: &str) {
    println!("skipped  {what}");
}

/// Runs the examples; how many checks held.
pub(crate) async fn all(browser: &mut Browser, tools: &Tools) -> anyhow::Result<usize> {
    let mut held = 0;
    for service in ["chat/service.py", "chat/service.mjs"] {
        held += chat(browser, tools, service).await.with_context(|| service.to_owned())?;
    }
    held += notifications(browser, tools).await.context("notifications")?;
    Ok(held)
}

/// Two people on two gateways, in service as it is meant: the login has set a cookie.
async fn chat(browser: &mut Browser, tools: &Tools, service: &str) -> anyhow::Result<usize> {
    let cluster = Cluster::builder()
        .open_bus()
        .routers(2)
        .gateways(2)
        .gateway_setting("HOLDFAST_SOCKJS__PATHS", "/ws")
        // SockJS offers no sub-protocol, and the cookie says who it is: STOMP must be what comes first here.
        .gateway_setting("HOLDFAST_ENDPOINTS__DEFAULT__PATH", "/ws")
        .gateway_setting("HOLDFAST_ENDPOINTS__DEFAULT__DIALECTS", "stomp,json,bare")
        .start()
        .await;
    let info = holdfast_harness::http::get(cluster.gateway(0).listen(), "/ws/info").await;
    if info.status != 200 {
        skipped(&format!("{service}: the gateway does not speak SockJS"));
        return Ok(0);
    }
    let bus = cluster.nats().address().to_string();
    let process = Process::spawn(service, tools.command(service, cluster.folder(), &bus)?);
    eventually("the service is ready", async || {
        let said = process.tail(10);
        if said.contains("is ready") { Ok(()) } else { Err(said) }
    })
    .await;
    let files = BTreeMap::from([
        ("/", example("chat/index.html")),
        ("/sockjs.min.js", tools.library("sockjs-client/dist/sockjs.min.js")),
        ("/stomp.min.js", tools.library("stompjs/lib/stomp.min.js")),
    ]);
    // Cookies know no ports: this one is not for the next example.
    let cookie = format!("holdfast_token={}; Path=/ws", Claims::of("ana").sign());
    let gateways = cluster.gateways().iter().map(Gateway::listen).collect();
    let (address, given) = Front { files, cookie: Some(cookie), sockets: "/ws", gateways }.serve().await?;
    let mut tabs = Vec::new();
    for _ in 0..2 {
        tabs.push(browser.open(&format!("http://{address}/")).await?);
        // The next one's requests begin where this one's have ended: each gets a gateway of its own.
        counted(&cluster, "room.messages", |room| room["count"] == tabs.len()).await;
    }
    say(browser, &tabs[0], "Hello, WebSocket!").await?;
    appears(browser, &tabs, &["Hello, WebSocket!"]).await?;
    say(browser, &tabs[1], "안녕하세요 👋 <b>").await?;
    appears(browser, &tabs, &["Hello, WebSocket!", "안녕하세요 👋 <b>"]).await?;
    ensure!(process.tail(10).contains("ana: Hello, WebSocket!"), "the service knows who spoke");
    ensure!(
        given.iter().all(|count: &AtomicUsize| count.load(Ordering::Relaxed) > 0),
        "one gateway got all: {given:?}"
    );
    for tab in tabs {
        browser.close(tab).await?;
    }
    holds(&format!("{}: the chat of the articles, unchanged, with {service}", browser.name()));
    Ok(1)
}

/// Waits until a query is answered as wanted.
async fn counted(cluster: &Cluster, what: &str, wanted: impl Fn(&Value) -> bool) {
    let service = cluster.service().await;
    eventually(what, async || {
        let answer = service.try_query(what, "").await?;
        if wanted(&answer) { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

async fn say(browser: &mut Browser, tab: &Tab, text: &str) -> anyhow::Result<()> {
    let script = format!("document.getElementById('message').value = {}; sendMessage()", json!(text));
    browser.value(tab, &script).await.map(drop)
}

async fn appears(browser: &mut Browser, tabs: &[Tab], lines: &[&str]) -> anyhow::Result<()> {
    for tab in tabs {
        let shown = "[...document.querySelectorAll('#messages li')].map((line) => line.textContent)";
        browser.becomes(tab, shown, &json!(lines)).await?;
    }
    Ok(())
}

/// Two tabs of one user, as pasted from the article: profile `dev`.
async fn notifications(browser: &mut Browser, tools: &Tools) -> anyhow::Result<usize> {
    let cluster = Cluster::builder()
        .open_bus()
        .gateways(2)
        .dev()
        .gateway_setting("HOLDFAST_AUTH__JWT__SECRET", credentials::SECRET)
        .start()
        .await;
    let bus = cluster.nats().address().to_string();
    let files = BTreeMap::from([("/", example("notifications/index.html"))]);
    let gateways = cluster.gateways().iter().map(Gateway::listen).collect();
    let (address, given) = Front { files, cookie: None, sockets: "/notifications", gateways }.serve().await?;
    let tabs = [browser.open(&format!("http://{address}/")).await?, browser.open(&format!("http://{address}/")).await?];
    let both = |user: &Value| user["connections"].as_array().is_some_and(|connections| connections.len() == 2);
    counted(&cluster, "user.123", both).await;
    ensure!(given.iter().all(|count| count.load(Ordering::Relaxed) == 1), "one gateway got both: {given:?}");

    let mut lines = Vec::new();
    for (program, arguments, printed) in [
        ("notifications/notify.py", ["123", "your order has shipped"], "reached 2 connections"),
        ("notifications/notify.mjs", ["123", "주문이 도착했습니다 👋"], "reached 2 connections"),
        ("notifications/notify.py", ["all", "maintenance at noon"], "reached 2 connections"),
        ("notifications/notify.mjs", ["456", "anybody?"], "456 is not connected: a push service may take over"),
    ] {
        let mut command = tools.command(program, cluster.folder(), &bus)?;
        let output = command.args(arguments).stderr(Stdio::inherit()).output().context(program)?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(said == printed, "{program} says {said:?}");
        if arguments[0] != "456" {
            lines.push(json!(format!("alarm: {}", arguments[1])));
        }
    }
    for tab in tabs {
        let shown = "[...document.querySelectorAll('#notifications li')].map((line) => line.textContent)";
        browser.becomes(&tab, shown, &json!(lines)).await?;
        browser.close(tab).await?;
    }
    holds(&format!("{}: the notifications of the articles, unchanged, with notify.py and notify.mjs", browser.name()));
    Ok(1)
}
