//! One publish, every kind of client: who listens to a room gets each message once and in order, however it speaks and
//! whichever node holds it.

use holdfast_harness::client::{BareClient, Payload};
use holdfast_harness::{Claims, To, cluster, unique};
use serde_json::json;

const MESSAGES: usize = 10_000;
/// What a client's queue holds is bounded: this many are under way at most.
const ROUND: usize = 500;

async fn stomp(gateway: &holdfast_harness::Gateway, version: &str, room: &str) -> BareClient {
    let client = gateway.client().protocols(&["v12.stomp"]).endpoint_default().await;
    let token = Claims::of(&unique("stomp")).sign();
    client.tell(&format!("CONNECT\naccept-version:{version}\nAuthorization:{token}\n\n\0")).await;
    client.payload().await;
    client.tell(&format!("SUBSCRIBE\nid:s\ndestination:/topic/{room}\nreceipt:r\n\n\0")).await;
    assert!(text(&client).await.starts_with("RECEIPT\nreceipt-id:r\n"));
    client
}

async fn text(client: &BareClient) -> String {
    match client.payload().await {
        Payload::Text(text) => text,
        Payload::Binary(bytes) => panic!("binary: {bytes:?}"),
    }
}

#[tokio::test]
async fn ten_thousand_messages_reach_every_dialect_once_and_in_order() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let room = unique("room");
    let stomps = [stomp(cluster.gateway(0), "1.1", &room).await, stomp(cluster.gateway(1), "1.2", &room).await];
    let natives =
        [cluster.gateway(0).connect(&unique("json")).await, cluster.gateway(1).connect(&unique("json")).await];
    for native in &natives {
        native.join(&room).await;
    }
    let bare = cluster.gateway(1).client().user(&unique("bare")).path(&format!("/ws/chat?room={room}")).bare().await;
    service.until_matched(&To::room(&room), 5).await;
    // Told apart from the messages before it: how many of those came is nobody's business.
    service.send(To::room(&room)).payload("\"begin\"").receipt().await;
    for client in stomps.iter().chain([&bare]) {
        while !text(client).await.contains("\"begin\"") {}
    }
    for native in &natives {
        while native.message_in(&room).await.data != json!("begin") {}
    }

    for round in (0..MESSAGES).step_by(ROUND) {
        for number in round..round + ROUND {
            service.send(To::room(&room)).payload(number.to_string()).publish().await;
        }
        for number in round..round + ROUND {
            for client in &stomps {
                let frame = text(client).await;
                let body = frame.rsplit_once("\n\n").map(|(_, body)| body.trim_end_matches('\0'));
                assert_eq!(body, Some(number.to_string().as_str()), "{frame}");
            }
            for native in &natives {
                assert_eq!(native.message_in(&room).await.data, json!(number));
            }
            assert_eq!(text(&bare).await, number.to_string());
        }
    }

    let receipt = service.send(To::room(&room)).payload("\"end\"").receipt().await;
    assert_eq!((receipt.matched, receipt.dropped), (5, 0), "{receipt:?}");
    for client in stomps.iter().chain([&bare]) {
        assert!(text(client).await.contains("\"end\""), "something came twice");
    }
    for native in &natives {
        assert_eq!(native.message_in(&room).await.data, json!("end"), "something came twice");
    }
}
