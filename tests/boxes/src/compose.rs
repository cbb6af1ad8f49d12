//! `deploy/compose.yaml` as processes: each part with the files, command, variables, user and name that compose would give it.
//!
//! Where a program is not installed (Grafana, the collector), its part is left out with a line. Three things differ from a
//! machine with an engine, and nothing else: the health checks are run from here, Prometheus looks every second, and what
//! an alert waits for (`for:`) is three seconds, so that faults need not last for minutes.

mod faults;
mod load;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use holdfast_chart::{dashboards, repository};
use holdfast_harness::client::Connect;
use holdfast_harness::credentials::SECRET;
use holdfast_harness::{Service, To, binaries, eventually, http, wait};
use serde_json::Value;

use crate::container::{Container, Mount, Plan, Root};
use crate::numbers::Prometheus;
use crate::stage::{self, HOST, Place, Stage};
use crate::yaml::{self, text, texts};
use crate::{Missing, say};

/// Gateways, routers, HAProxy.
const TARGETS: usize = 5;

/// The running fleet.
#[derive(Debug)]
struct Fleet {
    stage: Stage,
    parts: BTreeMap<String, Container>,
    service: Service,
}

/// Runs the suite.
///
/// # Errors
/// Something is not as it should be.
///
/// # Panics
/// If something that should become true does not.
pub(crate) async fn run() -> Result<()> {
    for program in ["haproxy", "prometheus"] {
        stage::installed(program)?;
    }
    let mut fleet = start().await?;
    fleet.healthy().await?;
    let through = fleet.part("haproxy")?.at(8080);
    eventually("HAProxy has a gateway", async || {
        let request = b"GET /nowhere HTTP/1.1\r\nHost: haproxy\r\nConnection: close\r\n\r\n";
        match http::try_exchange(through, request).await {
            Ok(response) if response.status == 404 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let client = Connect::to(through).user("ana").open().await;
    fleet.service.until_matched(&To::user("ana"), 1).await;
    ensure!(client.message().await.data["n"] == 1, "another message");
    say("a client through HAProxy got what a domain service sent");

    let prometheus = Prometheus(fleet.part("prometheus")?.at(9090));
    let targets = eventually("Prometheus reaches every target", async || {
        let targets = prometheus.targets().await?;
        if targets.len() == TARGETS { Ok(targets) } else { Err(format!("{targets:?}")) }
    })
    .await;
    say(&format!("Prometheus scrapes {}", targets.join(", ")));
    let load = load::Load::start(through, &fleet.service).await;
    panels(prometheus).await?;
    spans(&fleet).await;
    faults::run(&mut fleet, prometheus, through).await?;
    drop(load);
    Ok(())
}

/// Each query of each dashboard has an answer.
async fn panels(prometheus: Prometheus) -> Result<()> {
    let queries = dashboards::queries();
    for query in &queries {
        let filled =
            query.replace("$__rate_interval", "15s").replace("$namespace", ".*").replace("$instance", "gateway-.*");
        ensure!(!filled.contains('$'), "a variable that is not known here: {filled}");
        wait::within(std::time::Duration::from_secs(40), &format!("an answer to {filled}"), async || {
            let values = prometheus.query(&filled).await?;
            if values.is_empty() { Err("no value".to_owned()) } else { Ok(()) }
        })
        .await;
    }
    say(&format!("each of the {} queries of the dashboards returns data under load", queries.len()));
    Ok(())
}

/// The collector prints a line per batch.
async fn spans(fleet: &Fleet) {
    if let Ok(collector) = fleet.part("collector") {
        eventually("spans at the collector", async || {
            let said = collector.said_so_far();
            if said.contains("spans") { Ok(()) } else { Err("none".to_owned()) }
        })
        .await;
        say("the collector has spans");
    }
}

/// Starts all parts that can be.
async fn start() -> Result<Fleet> {
    let stage = Stage::new()?;
    let deploy = files(&stage)?;
    let file = yaml::parse(&fs::read_to_string(deploy.join("compose.yaml"))?)?;
    let services = file["services"].as_object().context("services")?;
    let places = services
        .keys()
        .map(|name| Ok((name.clone(), stage.place(name)?)))
        .collect::<Result<BTreeMap<String, Place>>>()?;
    let mut parts = BTreeMap::new();
    for (name, service) in services {
        let place = places.get(name).context("a place")?;
        match plan(&stage, &deploy, name, service) {
            Err(error) if error.is::<Missing>() => say(&format!("note: {name} is left out: {error}")),
            Err(error) => return Err(error.context(name.clone())),
            Ok(plan) => {
                if name == "haproxy" {
                    engine_name_server(place)?;
                }
                parts.insert(name.clone(), Container::start(&stage, place, plan).await?);
            }
        }
    }
    say(&format!("started: {}", parts.keys().cloned().collect::<Vec<_>>().join(", ")));
    let password = fs::read_to_string(deploy.join("compose/secrets/service"))?;
    let address = parts.get("nats-1").context("nats-1")?.at(4222);
    let options = async_nats::ConnectOptions::with_user_and_password("service".to_owned(), password);
    let options = options.custom_inbox_prefix("_INBOX.service").retry_on_initial_connect();
    let client = options.connect(format!("nats://{address}")).await.context("a domain service")?;
    Ok(Fleet { stage, parts, service: Service::new(client, "hf") })
}

/// `deploy` and what it names beside it, with secrets made by its own script.
fn files(stage: &Stage) -> Result<PathBuf> {
    let deploy = stage.folder().join("deploy");
    stage::run(Command::new("cp").arg("-r").arg(repository::path("deploy")).arg(&deploy))?;
    let chart = stage.folder().join("helm/holdfast");
    fs::create_dir_all(&chart)?;
    for folder in ["rules", "dashboards"] {
        stage::run(Command::new("cp").arg("-r").arg(repository::path("helm/holdfast").join(folder)).arg(&chart))?;
    }
    // What is there stays: the key with which our clients' tokens are signed.
    drop(fs::remove_dir_all(deploy.join("compose/secrets")));
    fs::create_dir_all(deploy.join("compose/secrets"))?;
    fs::write(deploy.join("compose/secrets/jwt-secret"), SECRET)?;
    stage::run(&mut Command::new(deploy.join("compose/secrets.sh")))?;
    quicken(&deploy.join("compose/prometheus.yml"), &["scrape_interval: ", "evaluation_interval: "], "1s")?;
    quicken(&chart.join("rules/holdfast.yaml"), &[" for: "], "3s")?;
    Ok(deploy)
}

/// Replaces durations behind these words.
fn quicken(path: &Path, words: &[&str], duration: &str) -> Result<()> {
    let mut text = fs::read_to_string(path)?;
    for word in words {
        let mut pieces = text.split(word);
        let mut quick = pieces.next().unwrap_or_default().to_owned();
        let mut found = 0;
        for piece in pieces {
            quick.push_str(word);
            quick.push_str(duration);
            quick.push_str(piece.trim_start_matches(|c: char| c.is_ascii_alphanumeric()));
            found += 1;
        }
        ensure!(found > 0, "{}: no {word:?}", path.display());
        text = quick;
    }
    fs::write(path, text)?;
    Ok(())
}

/// What an engine has at this address in each container.
fn engine_name_server(place: &Place) -> Result<()> {
    let mut relay = Command::new("ip");
    relay.args(["netns", "exec", &place.namespace]).arg(std::env::current_exe()?);
    relay.args(["relay", "127.0.0.11:53", &format!("{HOST}:53")]);
    // It ends with our namespace.
    relay.spawn().context("a relay of names")?;
    Ok(())
}

/// Root and entry point in the place of an image.
fn image(stage: &Stage, image: &str) -> Result<(Root, Vec<String>)> {
    let words =
        |program: &str, rest: &[&str]| [&[program], rest].concat().iter().map(|word| (*word).to_owned()).collect();
    let name = image.rsplit('/').next().unwrap_or(image);
    Ok(match name.split(':').next().unwrap_or(name) {
        "nats" => (Root::Folder(stage.root_of(&binaries::nats_server(), "nats-server")?), words("nats-server", &[])),
        "haproxy" => (Root::Machine, words("haproxy", &["-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"])),
        "prometheus" => (Root::Machine, words("prometheus", &[])),
        "grafana" => {
            stage::installed("grafana")?;
            (Root::Machine, words("grafana", &["server", "--homepath=/usr/share/grafana"]))
        }
        "opentelemetry-collector" => {
            let collector = binaries::otelcol().ok_or_else(|| Missing("otelcol is not installed".to_owned()))?;
            let parts = stage::run(Command::new(&collector).arg("components"))?;
            if !["batch", "memory_limiter"].iter().all(|part| parts.contains(part)) {
                return Err(Missing("the otelcol that is installed lacks processors".to_owned()).into());
            }
            (Root::Folder(stage.root_of(&collector, "otelcol")?), words("otelcol", &[]))
        }
        _ if image.contains("holdfast") => (Root::Folder(stage.image()?), Vec::new()),
        _ => anyhow::bail!("the image {image} is not known here"),
    })
}

fn plan(stage: &Stage, deploy: &Path, name: &str, service: &Value) -> Result<Plan> {
    let (root, entry) = image(stage, &text(&service["image"]))?;
    let mut variables: Vec<(String, String)> = service["environment"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect();
    for file in texts(&service["env_file"]) {
        let lines = fs::read_to_string(deploy.join(&file)).with_context(|| file.clone())?;
        variables.extend(
            lines
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
    }
    let mut mounts: Vec<Mount> = texts(&service["tmpfs"])
        .iter()
        .map(|path| Mount::Memory(path.split(':').next().unwrap_or(path).to_owned()))
        .collect();
    for volume in texts(&service["volumes"]) {
        let mut parts = volume.split(':');
        let (from, to) = (parts.next().context("a source")?, parts.next().context("a target")?);
        ensure!(parts.next() == Some("ro"), "{volume} may be written to");
        let from = deploy.join(from);
        ensure!(from.exists(), "{} does not exist", from.display());
        mounts.push(Mount::Read(from, to.to_owned()));
    }
    let user = text(&service["user"]);
    let (user, group) = user.split_once(':').with_context(|| format!("user {user:?}"))?;
    ensure!(
        service["read_only"] == true && service["cap_drop"][0] == "ALL",
        "it may write to its root, or has capabilities"
    );
    Ok(Plan {
        name: name.to_owned(),
        root,
        command: [entry, texts(&service["command"])].concat(),
        variables,
        mounts,
        user: (user.parse()?, group.parse()?),
        search: String::new(),
    })
}

impl Fleet {
    fn part(&self, name: &str) -> Result<&Container> {
        self.parts.get(name).with_context(|| format!("{name} does not run"))
    }

    /// Each part's own health check passes.
    async fn healthy(&self) -> Result<()> {
        let file = yaml::parse(&repository::read("deploy/compose.yaml")?)?;
        for (name, part) in &self.parts {
            let check = texts(&file["services"][name]["healthcheck"]["test"]);
            if let Some((_, command)) = check.split_first() {
                eventually(&format!("{name} is healthy"), async || {
                    part.exec(command).map(drop).map_err(|error| format!("{error:#}"))
                })
                .await;
            }
        }
        say("every health check passes");
        Ok(())
    }

    /// SIGKILL for these parts.
    fn kill(&self, names: &[&str]) -> Result<()> {
        names.iter().try_for_each(|name| self.part(name).map(Container::kill))
    }

    /// Starts them anew.
    async fn again(&mut self, names: &[&str]) -> Result<()> {
        for name in names {
            let part = self.part(name)?.again(&self.stage).await?;
            self.parts.insert((*name).to_owned(), part);
        }
        self.healthy().await
    }
}
