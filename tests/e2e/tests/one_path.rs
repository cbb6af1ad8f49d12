//! One publish, every kind of client: who listens to a room gets each message once and in order, however it speaks and
//! whichever node holds it.

use holdfast_harness::client::{BareClient, HttpSession, Payload, messages};
use holdfast_harness::wait::bounded;
use holdfast_harness::{Claims, Cluster, To, unique};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

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

/// A SockJS client that polls, each time at the next gateway, and never stops: a session that nobody asks for ends.
struct Polling {
    messages: mpsc::Receiver<String>,
    _task: JoinSet<()>,
}

impl Polling {
    async fn new(cluster: &Cluster, room: &str) -> Self {
        let gateways: Vec<_> = cluster.gateways().iter().map(|gateway| gateway.listen()).collect();
        let session = HttpSession::new("/ws/chat").user(&unique("polling"));
        assert_eq!(session.frame(gateways[0]).await, "o");
        for (frame, gateway) in [
            ("CONNECT\naccept-version:1.1,1.0\nheart-beat:0,0\n\n\0".to_owned(), gateways[1]),
            (format!("SUBSCRIBE\nid:sub-0\ndestination:/topic/{room}\nreceipt:r\n\n\0"), gateways[2]),
        ] {
            assert_eq!(session.send(gateway, &[&frame]).await.status, 204);
        }
        let (heard, messages) = mpsc::channel(2 * MESSAGES);
        let mut task = JoinSet::new();
        task.spawn(async move {
            for gateway in gateways.iter().cycle() {
                let frame = session.frame(*gateway).await;
                for message in polled(&frame).unwrap_or_else(|| panic!("no messages: {frame}")) {
                    if heard.send(message).await.is_err() {
                        return;
                    }
                }
            }
        });
        let mut polling = Self { messages, _task: task };
        assert!(polling.message().await.starts_with("CONNECTED\nversion:1.1\n"));
        assert!(polling.message().await.starts_with("RECEIPT\nreceipt-id:r\n"));
        polling
    }

    async fn message(&mut self) -> String {
        bounded("a message to the client that polls", self.messages.recv()).await.expect("it goes on polling")
    }
}

/// The messages of a frame; none in a heart-beat.
fn polled(frame: &str) -> Option<Vec<String>> {
    if frame == "h" { Some(Vec::new()) } else { messages(frame) }
}

fn body(frame: &str) -> &str {
    let body = frame.rsplit_once("\n\n").unwrap_or_else(|| panic!("no frame: {frame:?}")).1;
    body.trim_end_matches('\0')
}

#[tokio::test]
async fn ten_thousand_messages_reach_every_dialect_once_and_in_order() {
    let builder = Cluster::builder().routers(2).gateways(3);
    let cluster = builder.gateway_setting("HOLDFAST_SOCKJS__PATHS", "/ws/chat").start().await;
    let service = cluster.service().await;
    let room = unique("room");
    let stomps = [stomp(cluster.gateway(0), "1.1", &room).await, stomp(cluster.gateway(1), "1.2", &room).await];
    let natives =
        [cluster.gateway(0).connect(&unique("json")).await, cluster.gateway(2).connect(&unique("json")).await];
    for native in &natives {
        native.join(&room).await;
    }
    let bare = cluster.gateway(1).client().user(&unique("bare")).path(&format!("/ws/chat?room={room}")).bare().await;
    let mut polling = Polling::new(&cluster, &room).await;
    service.until_matched(&To::room(&room), 6).await;
    // Told apart from the messages before it: how many of those came is nobody's business.
    service.send(To::room(&room)).payload("\"begin\"").receipt().await;
    for client in stomps.iter().chain([&bare]) {
        while !text(client).await.contains("\"begin\"") {}
    }
    for native in &natives {
        while native.message_in(&room).await.data != json!("begin") {}
    }
    while body(&polling.message().await) != "\"begin\"" {}

    for round in (0..MESSAGES).step_by(ROUND) {
        for number in round..round + ROUND {
            service.send(To::room(&room)).payload(number.to_string()).publish().await;
        }
        for number in round..round + ROUND {
            for client in &stomps {
                let frame = text(client).await;
                assert_eq!(body(&frame), number.to_string(), "{frame}");
            }
            for native in &natives {
                assert_eq!(native.message_in(&room).await.data, json!(number));
            }
            assert_eq!(text(&bare).await, number.to_string());
            assert_eq!(body(&polling.message().await), number.to_string());
        }
    }

    let receipt = service.send(To::room(&room)).payload("\"end\"").receipt().await;
    assert_eq!((receipt.matched, receipt.dropped), (6, 0), "{receipt:?}");
    for client in stomps.iter().chain([&bare]) {
        assert!(text(client).await.contains("\"end\""), "something came twice");
    }
    assert_eq!(body(&polling.message().await), "\"end\"", "something came twice");
    for native in &natives {
        assert_eq!(native.message_in(&room).await.data, json!("end"), "something came twice");
    }
}
