//! "ok to a join means that no later message is missed", ten thousand times.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use holdfast_harness::client::Payload;
use holdfast_harness::{Claims, Cluster, Service, To, cluster, unique};
use serde_json::json;

const CLIENTS: usize = 50;
const ROUNDS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_published_at_once_after_ok_to_a_join_is_never_missed() {
    let cluster = Cluster::builder().routers(2).gateways(3).start().await;
    let mut services: Vec<Service> = Vec::new();
    for _ in 0..4 {
        services.push(cluster.service().await);
    }
    let races = AtomicUsize::new(0);

    let client = async |number: usize| {
        let client = cluster.gateway_in_turn(number).connect(&format!("u{number}")).await;
        let service = &services[number % services.len()];
        for round in 0..ROUNDS {
            let room = format!("race/{number}/{round}");
            client.join(&room).await;
            let receipt =
                service.send(To::room(&room)).json(&json!(round)).header("Hf-Timeout", "10000").receipt().await;
            assert_eq!(receipt.matched, 1, "{room}: {receipt:?}");
            assert_eq!(client.message_in(&room).await.data, json!(round));
            client.leave(&room).await;
            races.fetch_add(1, Ordering::Relaxed);
        }
    };
    join_all((0..CLIENTS).map(client)).await;

    assert_eq!(races.into_inner(), CLIENTS * ROUNDS);
}

#[tokio::test]
async fn message_published_at_once_after_the_receipt_of_a_subscription_is_never_missed() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;

    let client = async |number: usize| {
        let client = cluster.gateway_in_turn(number).client().protocols(&["v12.stomp"]).endpoint_default().await;
        let frame = async || match client.payload().await {
            Payload::Text(frame) => frame,
            Payload::Binary(bytes) => panic!("binary: {bytes:?}"),
        };
        let token = Claims::of(&unique("ana")).sign();
        client.tell(&format!("CONNECT\naccept-version:1.2\ntoken:{token}\n\n\0")).await;
        assert!(frame().await.starts_with("CONNECTED\n"));
        for round in 0..ROUNDS {
            let room = unique("race");
            client.tell(&format!("SUBSCRIBE\nid:{round}\ndestination:/topic/{room}\nreceipt:{round}\n\n\0")).await;
            let receipt = frame().await;
            assert!(receipt.starts_with(&format!("RECEIPT\nreceipt-id:{round}\n")), "{receipt}");
            service.send(To::room(&room)).payload(room.clone()).publish().await;
            assert!(frame().await.ends_with(&format!("\n\n{room}\0")));
            client.tell(&format!("UNSUBSCRIBE\nid:{round}\n\n\0")).await;
        }
    };
    join_all((0..CLIENTS).map(client)).await;
}

#[tokio::test]
async fn message_sent_at_once_after_welcome_is_never_missed() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;

    let arrive = async |number: usize| {
        let user = unique("newcomer");
        let client = cluster.gateway_in_turn(number).connect(&user).await;
        let receipt = service.send(To::user(&user)).receipt().await;
        assert_eq!(receipt.matched, 1, "{receipt:?}");
        client.message().await;
        client.close().await;
    };
    for wave in 0..20 {
        join_all((0..25).map(|number| arrive(wave * 25 + number))).await;
    }
}

#[tokio::test]
async fn room_that_is_left_and_joined_again_and_again_misses_nothing() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;

    let flap = async |number: usize| {
        let room = unique("flap");
        let client = cluster.gateway_in_turn(number).connect(&unique("u")).await;
        for round in 0..50 {
            client.join(&room).await;
            let receipt = service.send(To::room(&room)).json(&json!(round)).receipt().await;
            assert_eq!(receipt.matched, 1, "{room}, round {round}: {receipt:?}");
            assert_eq!(client.message_in(&room).await.data, json!(round));
            client.leave(&room).await;
            let receipt = service.send(To::room(&room)).receipt().await;
            assert!(receipt.offline, "{room}, round {round}: {receipt:?}");
        }
    };
    join_all((0..10).map(flap)).await;
}
