//! Autobahn|Testsuite against the gateway's echo route, plain and over TLS, each case compared with what is expected.
//!
//! Run by `cargo xtask test conformance`, which installs the suite and names its program in `WSTEST_BIN`. Cases 12.*
//! and 13.* (compression) are left out: the gateway offers none. `--bless` writes the expectations anew.

mod report;

use anyhow::{Context as _, bail, ensure};
use holdfast_harness::Cluster;
use report::Results;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// The route under test.
const ECHO_PATH: &str = "/echo";

/// How many cases that is: an empty or cut report must not pass.
const CASES: usize = 301;

/// One run takes about 20 s.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the report is for whoever runs the suite")]
async fn main() -> ExitCode {
    let bless = std::env::args().any(|argument| argument == "--bless");
    match all(bless).await {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("autobahn: {line}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("autobahn: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn all(bless: bool) -> anyhow::Result<Vec<String>> {
    let (wstest, folder) = (named("WSTEST_BIN")?, named("AUTOBAHN_DIR")?);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("autobahn-expected.txt");
    let plain = run("plain", &wstest, &folder).await?;
    if bless {
        std::fs::write(&file, plain.text()).context("write the expectations")?;
    }
    let expected = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let tls = run("tls", &wstest, &folder).await?;
    let mut lines = Vec::new();
    for (how, results) in [("plain", plain), ("tls", tls)] {
        let differences = results.differences(&expected);
        if !differences.is_empty() {
            bail!(
                "{how}: not as expected, details in {}:\n  {}",
                folder.join(how).join("index.html").display(),
                differences.join("\n  ")
            );
        }
        lines.push(format!("{how}: {}", results.summary()));
    }
    Ok(lines)
}

#[expect(clippy::disallowed_methods, reason = "where the suite is, is told by whoever runs this")]
fn named(variable: &str) -> anyhow::Result<PathBuf> {
    let value = std::env::var_os(variable)
        .with_context(|| format!("{variable} is not set; use `cargo xtask test conformance`"))?;
    Ok(value.into())
}

/// Runs the suite against a gateway of its own.
async fn run(how: &str, wstest: &Path, folder: &Path) -> anyhow::Result<Results> {
    let builder = Cluster::builder().dev().gateway_setting("HOLDFAST_ECHO__PATH", ECHO_PATH);
    let (cluster, scheme) = match how {
        "tls" => (builder.tls().start().await, "wss"),
        _ => (builder.start().await, "ws"),
    };
    let url = format!("{scheme}://{}{ECHO_PATH}", cluster.gateway(0).listen());
    let report = folder.join(how);
    if report.exists() {
        std::fs::remove_dir_all(&report).context("remove the last report")?;
    }
    std::fs::create_dir_all(&report).context("make a folder for the report")?;
    let spec = serde_json::json!({
        "outdir": report,
        "servers": [{"agent": how, "url": url, "options": {"version": 18}}],
        "cases": ["*"],
        "exclude-cases": ["12.*", "13.*"],
        "exclude-agent-cases": {},
    });
    let spec_file = report.join("spec.json");
    std::fs::write(&spec_file, spec.to_string()).context("write the specification")?;
    let log = std::fs::File::create(report.join("wstest.log")).context("make a log")?;
    let mut suite = Command::new(wstest)
        .args(["-m", "fuzzingclient", "-s"])
        .arg(&spec_file)
        .env("PYTHONWARNINGS", "ignore")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("run {}", wstest.display()))?;
    let ended = tokio::time::timeout(PATIENCE, suite.wait()).await;
    let status = ended.with_context(|| format!("{how}: the suite did not end in {PATIENCE:?}"))??;
    ensure!(status.success(), "{how}: the suite failed ({status}); see {}", report.join("wstest.log").display());
    let results = Results::read(&report.join("index.json"))?;
    ensure!(results.count() == CASES, "{how}: {} cases were run, {CASES} are expected", results.count());
    Ok(results)
}
