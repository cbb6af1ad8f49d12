//! The chart's pods as processes: `helm install` with its default values, `helm test`, clients, and each kind of pod deleted
//! as a node deletes it. The same commands, variables and files that a cluster would be given.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use holdfast_chart::helm::Tools;
use holdfast_chart::objects;
use holdfast_harness::client::Connect;
use holdfast_harness::credentials::SECRET;
use holdfast_harness::{Client, Service, To};

use crate::container;
use crate::kube::{Objects, Pod};
use crate::stage::{self, Stage};
use crate::{Missing, say};

/// How many connect.
const USERS: usize = 20;

/// Runs the suite.
///
/// # Errors
/// Something is not as it should be.
///
/// # Panics
/// If something that should become true does not.
pub(crate) async fn run() -> Result<()> {
    let tools = Tools::new(stage::variable("HOLDFAST_TOOLS").map(PathBuf::from));
    if !tools.has("helm", "version") {
        return Err(Missing("helm is not installed".to_owned()).into());
    }
    let stage = Stage::new()?;
    let objects = Objects { rendered: objects::parse(&tools.template(&[], true)?)?, secrets: secrets() };
    let mut pods = objects.pods(&stage)?;
    for pod in &mut pods {
        pod.start(&objects, &stage).await?;
    }
    for pod in &pods {
        pod.until("startupProbe", 200).await?;
        pod.until("livenessProbe", 200).await?;
        pod.until("readinessProbe", 200).await?;
    }
    let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
    say(&format!("started, alive and ready by their own probes: {}", names.join(", ")));

    let _services = objects.services(&stage, &pods).await?;
    for test in objects.test_pods(&stage)? {
        let said = container::once(&stage, test.place(), test.plan(&objects, &stage)?).await?;
        say(&format!("helm test, {}: passed{}", test.name, last_line(&said)));
    }

    let service = domain_service(&pods).await?;
    let clients = clients(&pods).await?;
    everybody_hears(&service, &clients).await?;
    say(&format!("{USERS} users on two gateways got a message of the domain service each"));
    a_gateway_leaves(&pods, &service, clients).await?;
    a_router_and_a_server_leave(&pods, &service).await
}

/// What the operator's `kubectl create secret` makes.
fn secrets() -> BTreeMap<String, BTreeMap<String, String>> {
    let users = ["gateway", "router", "service", "observer", "operator", "route"];
    let mut keys: BTreeMap<String, String> =
        users.iter().map(|user| (format!("nats-{user}"), format!("p0123456789abcdef{user}"))).collect();
    keys.insert("jwt-secret".to_owned(), SECRET.to_owned());
    BTreeMap::from([("holdfast-keys".to_owned(), keys)])
}

fn named<'a>(pods: &'a [Pod], prefix: &str) -> Vec<&'a Pod> {
    pods.iter().filter(|pod| pod.name.starts_with(prefix)).collect()
}

/// As a program in the cluster would connect, with the password of the Secret.
async fn domain_service(pods: &[Pod]) -> Result<Service> {
    let urls: Vec<String> =
        named(pods, "holdfast-nats").iter().map(|pod| format!("nats://{}:4222", pod.place().address)).collect();
    let options =
        async_nats::ConnectOptions::with_user_and_password("service".to_owned(), "p0123456789abcdefservice".to_owned());
    let client = options.custom_inbox_prefix("_INBOX.service").connect(urls).await.context("a domain service")?;
    Ok(Service::new(client, "hf"))
}

/// Half of the users on each gateway.
async fn clients(pods: &[Pod]) -> Result<Vec<Client>> {
    let gateways = named(pods, "holdfast-gateway");
    let mut clients = Vec::new();
    for number in 0..USERS {
        let gateway = gateways.get(number % gateways.len()).context("a gateway")?.running()?;
        clients.push(Connect::to(gateway.at(8080)).user(&format!("user-{number}")).open().await);
    }
    Ok(clients)
}

async fn everybody_hears(service: &Service, clients: &[Client]) -> Result<()> {
    for (number, client) in clients.iter().enumerate() {
        let to = To::user(&format!("user-{number}"));
        let receipt = service.until_matched(&to, 1).await;
        ensure!(receipt.matched == 1, "user-{number}: {receipt:?}");
        let message = client.message().await;
        ensure!(message.data["n"] == 1, "user-{number} got {message:?}");
    }
    Ok(())
}

/// Its clients are told, closed with 1012 and welcome at the other; it ends with 0 within its grace period.
async fn a_gateway_leaves(pods: &[Pod], service: &Service, clients: Vec<Client>) -> Result<()> {
    let gateways = named(pods, "holdfast-gateway");
    let (leaving, staying) = (gateways.first().context("a gateway")?, gateways.last().context("a gateway")?);
    let ends = async {
        leaving.until("readinessProbe", 503).await?;
        for client in clients.iter().step_by(2) {
            let ended = holdfast_harness::wait::within(Duration::from_secs(90), "a client is sent away", async || {
                if client.is_open() { Err("it is open".to_owned()) } else { Ok(()) }
            });
            ended.await;
            let ended = client.ended().await;
            ensure!(ended.code == 1012, "closed with {ended:?}");
            ensure!(!client.frames_of("goaway").is_empty(), "nobody told it to go");
        }
        anyhow::Ok(())
    };
    let (took, ended) = tokio::join!(leaving.delete(false), ends);
    ended?;
    let took = took?;
    for (number, client) in clients.iter().enumerate() {
        ensure!(client.is_open() == (number % 2 == 1), "user-{number} is where it should not be");
    }
    let back = Connect::to(staying.running()?.at(8080)).user("user-0").open().await;
    service.until_matched(&To::user("user-0"), 1).await;
    back.message().await;
    say(&format!(
        "{} deleted: unready at once, its clients told and closed with 1012, ended with 0 after {} s",
        leaving.name,
        took.as_secs()
    ));
    Ok(())
}

/// One of each leaves while the domain service goes on.
async fn a_router_and_a_server_leave(pods: &[Pod], service: &Service) -> Result<()> {
    let staying = named(pods, "holdfast-gateway").pop().context("a gateway")?.running()?;
    let client = Connect::to(staying.at(8080)).user("ana").open().await;
    let router = named(pods, "holdfast-router").into_iter().next().context("a router")?;
    let took = router.delete(false).await?;
    service.until_matched(&To::user("ana"), 1).await;
    client.message().await;
    say(&format!("{} deleted: ended with 0 after {} ms, sends go on", router.name, took.as_millis()));

    let server = named(pods, "holdfast-nats").into_iter().next().context("a server")?;
    // A server in lame duck mode ends by itself, with a status of its own in old versions.
    let took = server.delete(true).await?;
    let said = server.running()?.said();
    ensure!(said.to_lowercase().contains("lame duck"), "its hook did not reach it: {said}");
    service.until_matched(&To::user("ana"), 1).await;
    client.message().await;
    say(&format!("{} deleted: lame duck mode by its hook, ended after {} s, sends go on", server.name, took.as_secs()));
    stage::must(client.is_open(), "the client lost its connection with a NATS server")
}

fn last_line(said: &str) -> String {
    said.lines().next_back().map_or_else(String::new, |line| format!(" ({})", line.trim()))
}
