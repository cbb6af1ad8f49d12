//! More than fits one message of the bus, one page, one write: and nothing left behind.

use futures_util::future::join_all;
use holdfast_harness::{Client, Cluster, To, eventually};
use serde_json::{Value, json};

/// Clients on all gateways in turn, each in rooms of its own.
async fn crowd(cluster: &Cluster, clients: usize, rooms: usize) -> Vec<Client> {
    let arrive = async |number: usize| {
        let client = cluster.gateway_in_turn(number).connect(&format!("user-{number}")).await;
        join_all((0..rooms).map(async |room| client.join(&room_of(number, room)).await)).await;
        client
    };
    join_all((0..clients).map(arrive)).await
}

fn room_of(client: usize, room: usize) -> String {
    format!("a room with quite a long name/{client}/{room}")
}

async fn stats_are(cluster: &Cluster, wanted: &[(&str, usize)]) {
    let service = cluster.service().await;
    eventually(&format!("stats are {wanted:?}"), async || {
        let stats = service.try_query("stats", "").await?;
        if wanted.iter().all(|(name, count)| stats[*name] == *count) { Ok(()) } else { Err(stats.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn roster_larger_than_a_message_of_the_bus_is_fetched_whole() {
    let mut cluster = Cluster::builder().gateways(2).nats_config("max_payload: 32768").start().await;
    let service = cluster.service().await;
    let _clients = crowd(&cluster, 40, 100).await;
    stats_are(&cluster, &[("users", 40), ("connections", 40), ("rooms", 4000)]).await;

    cluster.add_router().await;
    cluster.whole().await;
    cluster.remove_router(0);
    cluster.whole().await;

    stats_are(&cluster, &[("users", 40), ("rooms", 4000), ("routers", 1)]).await;
    for number in 0..40 {
        let receipt = service.send(To::room(&room_of(number, number * 2))).receipt().await;
        assert_eq!(receipt.matched, 1, "{receipt:?}");
    }
}

#[tokio::test]
async fn roster_of_a_large_node_survives_a_restart_of_the_bus() {
    let mut cluster = Cluster::builder().routers(2).nats_config("max_payload: 32768").start().await;
    let clients = crowd(&cluster, 30, 100).await;

    cluster.nats_mut().restart().await;
    cluster.whole().await;

    stats_are(&cluster, &[("users", 30), ("connections", 30), ("rooms", 3000)]).await;
    assert!(clients.iter().all(Client::is_open));
}

#[tokio::test]
async fn nothing_is_left_of_clients_that_have_gone() {
    let cluster = Cluster::builder().gateways(2).setting("HOLDFAST_ROSTER__LINGER", "100ms").start().await;
    let clients = crowd(&cluster, 200, 5).await;
    stats_are(&cluster, &[("users", 200), ("connections", 200), ("rooms", 1000)]).await;

    for (number, client) in clients.into_iter().enumerate() {
        if number % 2 == 0 {
            client.close().await;
        }
        // The others drop their TCP connection without a word.
    }

    stats_are(&cluster, &[("users", 0), ("connections", 0), ("rooms", 0)]).await;
    for gateway in cluster.gateways() {
        let metrics = gateway.metrics().await;
        for gauge in ["connections", "users", "rooms"] {
            let name = format!("holdfast_gateway_{gauge}");
            assert_eq!(metrics.value(&name, &[]), Some(0.0), "{name}: {}", metrics.text());
        }
    }
}

#[tokio::test]
async fn burst_of_large_messages_to_one_node_is_split_into_packets_that_fit() {
    const USERS: usize = 40;
    let cluster = Cluster::builder().routers(1).gateways(1).start().await;
    let service = cluster.service().await;
    let clients = crowd(&cluster, USERS, 0).await;
    let text = "x".repeat(300_000);

    for number in 0..USERS {
        let send = service.send(To::user(&format!("user-{number}"))).json(&json!([number, text]));
        if number % 8 == 7 {
            send.header("Hf-Timeout", "20000").receipt().await;
        } else {
            send.publish().await;
        }
    }

    for (number, client) in clients.iter().enumerate() {
        let message = client.message().await;
        assert!(message.data == json!([number, text]), "whole, and the right one");
        client.nothing_more().await;
    }
}

#[tokio::test]
async fn all_reaches_a_thousand_connections_and_the_receipt_counts_them() {
    let cluster = Cluster::builder().routers(2).gateways(2).start().await;
    let service = cluster.service().await;
    let clients = crowd(&cluster, 1000, 0).await;

    let receipt = service.send(To::All).json(&json!("hello")).header("Hf-Timeout", "20000").receipt().await;

    assert_eq!((receipt.matched, receipt.dropped, receipt.nodes), (1000, 0, 2), "{receipt:?}");
    for client in &clients {
        assert_eq!(client.message().await.data, "hello");
    }
}

#[tokio::test]
async fn members_of_a_large_room_come_in_pages_without_loss_or_repetition() {
    const MEMBERS: usize = 450;
    let cluster = Cluster::builder().routers(2).gateways(3).start().await;
    let service = cluster.service().await;
    let clients = crowd(&cluster, MEMBERS, 0).await;
    join_all(clients.iter().map(async |client| client.join("big").await)).await;

    let (mut seen, mut after) = (std::collections::BTreeSet::new(), Value::Null);
    loop {
        let body = if after.is_null() { json!({}) } else { json!({"after": after}) };
        let page = service.query("room.big", &body.to_string()).await;
        assert_eq!(page["count"], MEMBERS, "{}", page["count"]);
        let members = page["members"].as_array().expect("a list");
        assert!(members.len() <= 100, "the default limit");
        for member in members {
            assert!(seen.insert(member["connection"].to_string()), "twice: {member}");
        }
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }

    assert_eq!(seen.len(), MEMBERS);
}
