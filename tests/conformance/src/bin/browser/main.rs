//! The demo page and the examples in a real browser: headless Chromium, real processes, and what a person would look at.
//!
//! Run by `cargo xtask test browser`; with `-- examples` without the demo page. Ends with 0 where all holds, 77 with one line where there is no Chromium (name
//! one in `CHROMIUM_BIN`), anything else on failure. Knows nothing of Holdfast but the page and the command line.

mod browser;
mod checks;
mod examples;
mod front;
mod site;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use holdfast_harness::process::Process;
use holdfast_harness::{Claims, Cluster, credentials, eventually};
use serde_json::json;

/// What a test runner takes for "skipped".
const SKIPPED: u8 = 77;

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the report is for whoever runs the suite")]
async fn main() -> ExitCode {
    let Some(program) = chromium() else {
        println!(
            "skipped: no Chromium in PATH (chromium, chromium-browser, google-chrome) and none named in CHROMIUM_BIN"
        );
        return ExitCode::from(SKIPPED);
    };
    match run(&program).await {
        Ok(count) => {
            println!("browser: {count} checks hold");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("browser: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "where the browser is is this program's own setting")]
fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM_BIN").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|file| file.is_file())
}

async fn run(program: &std::path::Path) -> anyhow::Result<usize> {
    if std::env::args().any(|argument| argument == "examples") {
        let folder = holdfast_harness::Folder::new();
        let mut browser = browser::Browser::start(program, folder.path()).await.context("start Chromium")?;
        return examples(&mut browser).await;
    }
    let cluster = Cluster::builder()
        .open_bus()
        .routers(2)
        .gateways(2)
        .dev()
        .gateway_setting("HOLDFAST_AUTH__JWT__SECRET", credentials::SECRET)
        .start()
        .await;
    let mut command = cluster.command("holdfast", cluster.nats().address());
    command.arg("demo-service");
    let demo = Process::spawn("demo-service", command);
    eventually("the demo service is ready", async || {
        let said = demo.tail(10);
        if said.contains("is ready") { Ok(()) } else { Err(said) }
    })
    .await;
    let token = |user: &str| Claims::of(user).sign();
    let gateways: Vec<String> = cluster.gateways().iter().map(|gateway| format!("ws://{}", gateway.listen())).collect();
    let config = json!({"gateways": gateways, "tokens": {"ana": token("ana"), "ben": token("ben")}});
    let address = site::serve(&config).await.context("serve the page")?;
    let mut browser = browser::Browser::start(program, cluster.folder()).await.context("start Chromium")?;
    let held = checks::all(&cluster, &mut browser, &format!("http://{address}")).await?;
    Ok(held + examples(&mut browser).await?)
}

#[expect(clippy::print_stdout, reason = "the report is for whoever runs the suite")]
async fn examples(browser: &mut browser::Browser) -> anyhow::Result<usize> {
    match examples::Tools::find() {
        Some(tools) => examples::all(browser, &tools).await.context("examples"),
        None => {
            println!("skipped  the examples: their libraries are not named in CLIENTS_NODE and CLIENTS_PYTHON");
            Ok(0)
        }
    }
}
