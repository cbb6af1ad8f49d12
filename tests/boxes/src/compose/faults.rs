//! The main alerts on the live stack: a healthy fleet has none, each fault raises its own, and they end with it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use holdfast_harness::client::Connect;
use holdfast_harness::{Claims, To, http, wait};

use super::Fleet;
use crate::numbers::Prometheus;
use crate::say;

/// How long an alert may take to come or go: the windows of its rates are minutes.
const PATIENCE: Duration = Duration::from_secs(60);
const GATEWAY: &[&str] = &["gateway-2"];
const ROUTERS: &[&str] = &["router-1", "router-2"];
const SERVERS: &[&str] = &["nats-1", "nats-2", "nats-3"];
/// What is lost between two looks of a client that does not read.
const FLOOD_BYTES: usize = 60_000;

pub(super) async fn run(fleet: &mut Fleet, prometheus: Prometheus, through: SocketAddr) -> Result<()> {
    wait::within(PATIENCE, "a healthy fleet has no alert", async || {
        let firing = prometheus.firing().await?;
        if firing.is_empty() { Ok(()) } else { Err(format!("{firing:?}")) }
    })
    .await;
    say("no alert fires while all is well");

    slow_client(fleet, through).await;
    fires(prometheus, "a client that does not read", &["HoldfastSlowClients"]).await;

    fleet.kill(GATEWAY)?;
    fires(prometheus, "a gateway killed", &["HoldfastProcessDown", "HoldfastGatewaysLost"]).await;
    fleet.again(GATEWAY).await?;
    ends(prometheus, &["HoldfastProcessDown"]).await;

    fleet.kill(ROUTERS)?;
    fires(prometheus, "both routers killed", &["HoldfastGatewayWithoutRouter", "HoldfastRoutersAbsent"]).await;
    let direct = fleet.part("gateway-1")?.at(8080);
    wait::within(PATIENCE, "HoldfastHandshakesFailing", async || {
        // HAProxy sends nobody to a gateway that is not ready: these do not ask it.
        let refused = http::try_exchange(direct, handshake().as_bytes()).await.map_err(|error| error.to_string())?;
        let firing = prometheus.firing().await?;
        let fires = firing.contains("HoldfastHandshakesFailing");
        if fires { Ok(()) } else { Err(format!("{firing:?}; a handshake gets {}", refused.status)) }
    })
    .await;
    say("clients refused for want of a router: HoldfastHandshakesFailing fired");
    fleet.again(ROUTERS).await?;
    ends(prometheus, &["HoldfastGatewayWithoutRouter", "HoldfastRoutersAbsent"]).await;

    fleet.kill(SERVERS)?;
    fires(prometheus, "all NATS servers killed", &["HoldfastBusDisconnected", "HoldfastBusGone"]).await;
    fleet.again(SERVERS).await?;
    ends(prometheus, &["HoldfastBusDisconnected", "HoldfastBusGone"]).await;
    Ok(())
}

async fn fires(prometheus: Prometheus, fault: &str, wanted: &[&str]) {
    wait::within(PATIENCE, &format!("{wanted:?} after {fault}"), async || {
        let firing = prometheus.firing().await?;
        if wanted.iter().all(|alert| firing.contains(*alert)) { Ok(()) } else { Err(format!("{firing:?}")) }
    })
    .await;
    say(&format!("{fault}: {} fired", wanted.join(", ")));
}

async fn ends(prometheus: Prometheus, alerts: &[&str]) {
    wait::within(PATIENCE, &format!("{alerts:?} end"), async || {
        let firing = prometheus.firing().await?;
        if alerts.iter().any(|alert| firing.contains(*alert)) { Err(format!("{firing:?}")) } else { Ok(()) }
    })
    .await;
}

/// One that connects and reads nothing, while it is sent more than may wait.
async fn slow_client(fleet: &Fleet, through: SocketAddr) {
    let sleeper = Connect::to(through).user("sleeper").receive_buffer(4096).raw().await;
    let to = To::user("sleeper");
    fleet.service.until_matched(&to, 1).await;
    let payload = format!("\"{}\"", "x".repeat(FLOOD_BYTES));
    wait::within(PATIENCE, "the sleeper is closed", async || {
        let receipt = fleet.service.send(to.clone()).payload(payload.clone()).receipt().await;
        if receipt.matched == 0 { Ok(()) } else { Err(format!("{receipt:?}")) }
    })
    .await;
    drop(sleeper);
}

/// A right one, with a token.
fn handshake() -> String {
    let token = Claims::of("early").sign();
    format!(
        "GET /ws HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
}
