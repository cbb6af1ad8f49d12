//! The demo page and the examples in a real browser: headless Chromium, real processes, and what a person would look at.
//! Where there is a Firefox too, the examples in that one.
//!
//! Run by `cargo xtask test browser`; with `-- examples` without the demo page. Ends with 0 where all holds, 77 with one
//! line where there is no Chromium (name one in `CHROMIUM_BIN`, and a Firefox in `FIREFOX_BIN`), anything else on failure.
//! Knows nothing of Holdfast but the page and the command line.

mod browser;
mod checks;
mod chromium;
mod examples;
mod firefox;
mod front;
mod site;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use holdfast_harness::process::Process;
use holdfast_harness::{Claims, Cluster, credentials, eventually};
use serde_json::json;

use browser::Browser;

/// What a test runner takes for "skipped".
const SKIPPED: u8 = 77;

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the report is for whoever runs the suite")]
async fn main() -> ExitCode {
    let Some(program) = find("CHROMIUM_BIN", &["chromium", "chromium-browser", "google-chrome"]) else {
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

#[expect(clippy::disallowed_methods, reason = "where a browser is is this program's own setting")]
fn find(variable: &str, names: &[&str]) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(variable).filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let files = |folder: PathBuf| names.iter().map(move |name| folder.join(name));
    std::env::split_paths(&path).flat_map(files).find(|file| file.is_file())
}

async fn run(program: &Path) -> anyhow::Result<usize> {
    let folder = holdfast_harness::Folder::new();
    let mut chromium = Browser::chromium(program, folder.path()).await?;
    let mut held = 0;
    if std::env::args().all(|argument| argument != "examples") {
        held += demo(&mut chromium).await?;
    }
    held += examples(&mut chromium).await?;
    drop(chromium);
    Ok(held + in_firefox().await?)
}

/// The examples once more, in the other engine, where there is one.
#[expect(clippy::print_stdout, reason = "the report is for whoever runs the suite")]
async fn in_firefox() -> anyhow::Result<usize> {
    let Some(program) = find("FIREFOX_BIN", &["firefox", "firefox-esr"]) else {
        println!("skipped  the examples in Firefox: none in PATH (firefox, firefox-esr) and none named in FIREFOX_BIN");
        return Ok(0);
    };
    let folder = holdfast_harness::Folder::new();
    examples(&mut Browser::firefox(&program, folder.path()).await?).await
}

async fn demo(browser: &mut Browser) -> anyhow::Result<usize> {
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
    checks::all(&cluster, browser, &format!("http://{address}")).await
}

#[expect(clippy::print_stdout, reason = "the report is for whoever runs the suite")]
async fn examples(browser: &mut Browser) -> anyhow::Result<usize> {
    match examples::Tools::find() {
        Some(tools) => examples::all(browser, &tools).await.with_context(|| format!("examples in {}", browser.name())),
        None => {
            println!("skipped  the examples: their libraries are not named in CLIENTS_NODE and CLIENTS_PYTHON");
            Ok(0)
        }
    }
}
