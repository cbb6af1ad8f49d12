//! Nodes that send their connections away: told, paced, and by what the rest of the fleet can take.

use std::time::Duration;

use holdfast_harness::wait::within;
use holdfast_harness::{Client, Cluster, Gateway, Service, To, eventually, http};
use serde_json::{Value, json};

async fn clients(gateway: &Gateway, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..count {
        clients.push(gateway.connect(&format!("u{number}")).await);
    }
    clients
}

async fn told(client: &Client) -> Value {
    client.frame("goaway", 0, |frame| frame["type"] == "goaway").await
}

fn open(clients: &[Client]) -> usize {
    clients.iter().filter(|client| client.is_open()).count()
}

/// What `query nodes` says of a node.
async fn node(service: &Service, gateway: &Gateway) -> Value {
    let answer = service.query("nodes", "").await;
    let nodes = answer["nodes"].as_array().cloned().unwrap_or_default();
    nodes.into_iter().find(|node| node["node"] == gateway.node()).unwrap_or_default()
}

/// The rate at which a node sends connections away, once it does.
async fn rate(service: &Service, gateway: &Gateway) -> f64 {
    eventually("the node sends connections away", async || {
        let node = node(service, gateway).await;
        match node["draining"]["rate"].as_f64() {
            Some(rate) if rate > 0.0 => Ok(rate),
            _ => Err(node.to_string()),
        }
    })
    .await
}

async fn order(service: &Service, gateway: &Gateway, command: Value) {
    service.ctl(To::Node(gateway.node().to_owned()), &command).receipt().await;
}

#[tokio::test]
async fn each_client_has_a_slot_of_its_own_and_gets_messages_until_it_comes() {
    let cluster = Cluster::builder()
        .gateways(2)
        .gateway_setting("HOLDFAST_DRAIN__DELAY", "500ms")
        .gateway_setting("HOLDFAST_DRAIN__WINDOW", "4s")
        .start()
        .await;
    let service = cluster.service().await;
    let gateway = cluster.gateway(0);
    let clients = clients(gateway, 20).await;

    gateway.terminate();
    let mut slots = Vec::new();
    for client in &clients {
        slots.push(told(client).await["retry_after"].as_u64().expect("milliseconds"));
    }
    let mut apart = slots.clone();
    apart.sort_unstable();
    apart.dedup();
    assert_eq!(apart.len(), slots.len(), "a slot of one's own: {slots:?}");
    assert!(apart[0] > 0 && apart[apart.len() - 1] - apart[0] > 2000, "over the window: {slots:?}");

    eventually("the first is closed", async || match open(&clients) {
        20 => Err("all open".to_owned()),
        _ => Ok(()),
    })
    .await;
    let last = slots.iter().enumerate().max_by_key(|(_, slot)| **slot).map(|(number, _)| number).expect("some");
    let during = service.send(To::user(&format!("u{last}"))).json(&json!("still here")).receipt().await;
    assert_eq!((during.matched, during.written), (1, 1), "{during:?}");
    assert_eq!(clients[last].message().await.data, json!("still here"));
    for client in &clients {
        assert_eq!(client.ended().await.code, 1012);
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn client_that_never_answers_its_close_holds_nobody_up() {
    let cluster = Cluster::builder()
        .gateways(2)
        .gateway_setting("HOLDFAST_DRAIN__DELAY", "0s")
        .gateway_setting("HOLDFAST_DRAIN__WINDOW", "1s")
        .start()
        .await;
    let gateway = cluster.gateway(0);
    let mut deaf = Vec::new();
    for number in 0..5 {
        deaf.push(gateway.client().user(&format!("deaf{number}")).raw_welcomed().await);
    }
    let clients = clients(gateway, 5).await;

    gateway.terminate();

    for client in &clients {
        assert_eq!(client.ended().await.code, 1012);
    }
    assert!(gateway.is_running(), "the deaf have their closing handshake's time");
    assert_eq!(gateway.ended().await.code(), Some(0));
    for client in &mut deaf {
        assert_eq!(client.close_code().await, 1012);
    }
}

#[tokio::test]
async fn drain_goes_no_faster_than_the_fleet_can_take_and_shows_how_far_it_is() {
    let cluster = Cluster::builder()
        .gateways(2)
        .gateway_setting("HOLDFAST_DRAIN__WINDOW", "1s")
        .gateway_setting("HOLDFAST_DRAIN__DEADLINE", "60s")
        .gateway_setting("HOLDFAST_DRAIN__SPARE_HANDSHAKES", "4")
        .start()
        .await;
    let service = cluster.operator().await;
    let gateway = cluster.gateway(0);
    // The other node's own handshakes are its load: none lately.
    let clients = clients(gateway, 40).await;

    order(&service, gateway, json!({"do": "drain"})).await;

    let rate = rate(&service, gateway).await;
    assert!((3.0..=5.0).contains(&rate), "4 per second, not 40: {rate}");
    let shown = node(&service, gateway).await;
    assert_eq!(shown["state"], "draining", "{shown}");
    assert!(shown["draining"]["left"].as_u64().is_some_and(|left| (1..=40).contains(&left)), "{shown}");
    assert!(shown["draining"]["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{shown}");
    let untold = clients.iter().filter(|client| client.frames_of("goaway").is_empty()).count();
    assert!(untold > 20, "who has no slot yet is told none: {untold}");
    let metrics = gateway.metrics().await;
    assert!(metrics.value("holdfast_gateway_leaving_connections", &[]).is_some_and(|left| left > 0.0));
    assert_eq!(metrics.value("holdfast_gateway_fleet_spare_handshakes_per_second", &[]), Some(4.0));

    within(Duration::from_secs(40), "all are closed in the end", async || match open(&clients) {
        0 => Ok(()),
        open => Err(format!("{open} are open")),
    })
    .await;
    for client in &clients {
        assert_eq!(client.frames_of("goaway").len(), 1, "each was told");
    }
}

#[tokio::test]
async fn nodes_that_drain_at_once_share_what_the_fleet_can_take() {
    let cluster = Cluster::builder()
        .gateways(3)
        .gateway_setting("HOLDFAST_DRAIN__WINDOW", "1s")
        .gateway_setting("HOLDFAST_DRAIN__DEADLINE", "120s")
        .gateway_setting("HOLDFAST_DRAIN__SPARE_HANDSHAKES", "6")
        .start()
        .await;
    let service = cluster.operator().await;
    let few = clients(cluster.gateway(0), 30).await;
    let many = clients(cluster.gateway(1), 60).await;

    order(&service, cluster.gateway(0), json!({"do": "drain"})).await;
    order(&service, cluster.gateway(1), json!({"do": "drain"})).await;

    let (first, second) = tokio::join!(rate(&service, cluster.gateway(0)), rate(&service, cluster.gateway(1)));
    eventually("both know of each other", async || {
        let first = node(&service, cluster.gateway(0)).await["draining"]["rate"].as_f64().unwrap_or_default();
        let second = node(&service, cluster.gateway(1)).await["draining"]["rate"].as_f64().unwrap_or_default();
        let fair = (1.0..3.5).contains(&first) && (2.5..5.5).contains(&second) && first + second < 7.0;
        if fair { Ok(()) } else { Err(format!("{first} and {second}")) }
    })
    .await;
    assert!(first < 30.0 && second < 60.0, "never as fast as the window asks: {first}, {second}");
    assert!(open(&few) > 0 && open(&many) > 0, "that takes longer than a window");
}

#[tokio::test]
async fn deadline_ends_a_drain_that_nobody_can_take() {
    let cluster = Cluster::builder()
        .gateways(2)
        .gateway_setting("HOLDFAST_DRAIN__DELAY", "0s")
        .gateway_setting("HOLDFAST_DRAIN__WINDOW", "500ms")
        .gateway_setting("HOLDFAST_DRAIN__DEADLINE", "9s")
        .gateway_setting("HOLDFAST_DRAIN__SPARE_HANDSHAKES", "0")
        .start()
        .await;
    let gateway = cluster.gateway(0);
    let clients = clients(gateway, 30).await;

    gateway.terminate();

    for client in &clients {
        assert_eq!(client.ended().await.code, 1012);
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn connection_over_its_age_is_sent_away_and_the_node_serves_on() {
    let cluster = Cluster::builder()
        .gateway_setting("HOLDFAST_LIMITS__CONNECTION_AGE_MAX", "1s")
        .gateway_setting("HOLDFAST_LIMITS__CONNECTION_AGE_JITTER", "100")
        .start()
        .await;
    let gateway = cluster.gateway(0);
    let client = gateway.connect("ana").await;

    let goaway = told(&client).await;
    assert_eq!(goaway["reason"], "age", "{goaway}");
    assert!(goaway["retry_after"].as_u64().is_some_and(|ms| ms > 0), "{goaway}");
    assert_eq!(client.ended().await.code, 1012);
    gateway.connect("ana").await;
    assert_eq!(http::get(gateway.admin(), "/readyz").await.status, 200);
}
