//! What a balancer must not break, in the order of a day: clients come, one stays idle, too many come from one address, the
//! balancer reads its files anew, a gateway drains.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use holdfast_harness::{Client, To, eventually, wait};
use tokio::time::Instant;

use super::{PER_ADDRESS, Setting};
use crate::say;
use crate::stage::Stage;

/// Longer than the shortest idle time-out of the files, 90 s; pings come every 25 s.
const IDLE: Duration = Duration::from_secs(95);
const PATIENCE: Duration = Duration::from_secs(60);
const GATEWAYS: usize = 2;
/// Clients for the drain.
const CLIENTS: usize = 8;

pub(super) async fn run(stage: Arc<Stage>, setting: Setting) -> Result<()> {
    let name = setting.name;
    trials(&stage, &setting).await.with_context(|| format!("{name}; it said: {}", setting.balancer.said_so_far()))
}

async fn trials(stage: &Stage, setting: &Setting) -> Result<()> {
    let name = setting.name;
    eventually(&format!("{name} has a gateway"), async || match setting.connect("early").status().await {
        Ok(101) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let (idle, since) = (at_gateway(setting, 2, "idle").await?, Instant::now());
    hears(setting, &idle, "idle").await?;
    say(&format!("{name}: upgrade over TLS, messages both ways"));

    addresses(stage, setting).await?;
    reload(setting, &idle).await?;
    drain(setting).await?;

    wait::pause(IDLE.saturating_sub(since.elapsed())).await;
    ensure!(idle.is_open() && idle.pings() >= 3, "after {IDLE:?}: open: {}, pings: {}", idle.is_open(), idle.pings());
    hears(setting, &idle, "idle").await?;
    say(&format!("{name}: idle for {} s but for {} pings, and still there", since.elapsed().as_secs(), idle.pings()));
    Ok(())
}

/// A client on that gateway: as many come as it takes for the balancer to choose it.
async fn at_gateway(setting: &Setting, number: usize, user: &str) -> Result<Client> {
    let node = node(setting, number)?;
    let mut others = Vec::new();
    for _ in 0..PER_ADDRESS {
        let client = setting.connect(user).open().await;
        if client.welcome("node") == node {
            for other in others {
                Client::close(&other).await;
            }
            return Ok(client);
        }
        others.push(client);
    }
    anyhow::bail!("{} sends nobody to gateway-{number}", setting.name)
}

/// What a gateway calls itself.
fn node(setting: &Setting, number: usize) -> Result<String> {
    let said = setting.gateway(number)?.said_so_far();
    let ready = said.lines().find(|line| line.contains("\"ready\":true")).context("its ready line")?;
    let ready: serde_json::Value = serde_json::from_str(ready)?;
    Ok(ready["node"].as_str().context("a node")?.to_owned())
}

async fn hears(setting: &Setting, client: &Client, user: &str) -> Result<()> {
    let before = client.messages().len();
    setting.service.until_matched(&To::user(user), 1).await;
    let messages = client.until_messages(before + 1).await;
    client.ping().await;
    ensure!(messages.len() > before, "no message");
    Ok(())
}

/// One address has its bound, whatever it claims; another address is welcome.
async fn addresses(stage: &Stage, setting: &Setting) -> Result<()> {
    let (mut crowd, mut refusals) = (Vec::new(), 0);
    // The balancer may have asked the one that was full.
    while refusals < GATEWAYS {
        ensure!(crowd.len() <= GATEWAYS * PER_ADDRESS, "{} clients of one address, and no end", crowd.len());
        // One that speaks HTTP is refused by a status, one that does not by the end of the connection.
        match setting.connect("crowd").try_connect().await {
            Ok(Ok(client)) => crowd.push(client),
            Ok(Err(_)) | Err(_) => refusals += 1,
        }
    }
    let full = setting.connect("crowd").status().await;
    if setting.speaks_http {
        ensure!(matches!(full, Ok(429)), "one more is answered with {full:?}");
        let forged = setting.connect("crowd").header("X-Forwarded-For", "198.51.100.7").status().await;
        ensure!(matches!(forged, Ok(429)), "a forged address is answered with {forged:?}");
    } else {
        ensure!(full.is_err(), "one more is answered with {full:?}");
    }
    if setting.name != "traefik.yaml" {
        // Traefik routes by name; this client asks by address.
        setting.elsewhere(stage).await?;
    }
    let came = crowd.len();
    for client in crowd {
        client.close().await;
    }
    say(&format!("{}: clients' own addresses count: {came} of one, then no more; another is welcome", setting.name));
    Ok(())
}

/// Old connections stay, new ones are taken.
async fn reload(setting: &Setting, idle: &Client) -> Result<()> {
    let before = setting.connect("before").open().await;
    setting.reload()?;
    for _ in 0..CLIENTS {
        let status = setting.connect("after").status().await;
        ensure!(matches!(status, Ok(101)), "after the reload a client gets {status:?}");
    }
    hears(setting, &before, "before").await?;
    ensure!(idle.is_open(), "the reload closed a client");
    before.close().await;
    say(&format!("{}: read its files anew; clients stayed, others came", setting.name));
    Ok(())
}

/// Its clients are told and sent away, and nobody who comes meanwhile is refused.
async fn drain(setting: &Setting) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(setting.connect("moved").open().await);
    }
    let leaving = node(setting, 1)?;
    let theirs: Vec<&Client> = clients.iter().filter(|client| client.welcome("node") == leaving).collect();
    ensure!(!theirs.is_empty(), "nobody is at gateway-1");
    let gateway = setting.gateway(1)?;
    gateway.signal("TERM")?;
    let mut came = 0;
    wait::within(PATIENCE, "the gateway ends", async || {
        let client = setting.connect("late").open().await;
        client.close().await;
        came += 1;
        if gateway.runs() { Err(format!("{came} clients came meanwhile")) } else { Ok(()) }
    })
    .await;
    let status = gateway.ended(PATIENCE).await;
    ensure!(status.code() == Some(0), "it ended with {status}");
    for client in &theirs {
        let ended = client.ended().await;
        ensure!(ended.code == 1012, "closed with {ended:?}");
    }
    let back = setting.connect("back").open().await;
    hears(setting, &back, "back").await?;
    say(&format!(
        "{}: gateway-1 drained: {} clients moved by 1012, {came} came meanwhile and none was refused",
        setting.name,
        theirs.len()
    ));
    Ok(())
}
