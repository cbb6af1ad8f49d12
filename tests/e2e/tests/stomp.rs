//! Dialect `stomp`: versions, destinations, receipts, and one room with clients of other dialects.

use holdfast_harness::client::{BareClient, Connect, Payload};
use holdfast_harness::{Claims, To, cluster, unique};
use serde_json::json;

/// All that a client of this version says first.
async fn connected(connect: Connect, version: &str, user: &str) -> BareClient {
    let client = connect.protocols(&["v10.stomp", "v11.stomp", "v12.stomp"]).endpoint_default().await;
    let token = Claims::of(user).sign();
    client.tell(&format!("CONNECT\naccept-version:{version}\nAuthorization:Bearer {token}\n\n\0")).await;
    let connected = frame(&client).await;
    assert!(connected.starts_with(&format!("CONNECTED\nversion:{version}\nheart-beat:")), "{connected}");
    assert!(connected.contains(&format!("\nuser-name:{user}\n")), "{connected}");
    client
}

async fn frame(client: &BareClient) -> String {
    match client.payload().await {
        Payload::Text(text) => text,
        Payload::Binary(bytes) => panic!("binary: {bytes:?}"),
    }
}

async fn subscribed(client: &BareClient, id: &str, destination: &str) {
    client.tell(&format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\nreceipt:{id}\n\n\0")).await;
    // With the position, where that is a room.
    let receipt = frame(client).await;
    assert!(receipt.starts_with(&format!("RECEIPT\nreceipt-id:{id}\n")), "{receipt}");
}

fn message(subscription: &str, destination: &str, id: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "MESSAGE\nsubscription:{subscription}\ndestination:{destination}\nmessage-id:{id}\n\
         content-type:text/plain;charset=UTF-8\ncontent-length:{length}\n\n{body}\0"
    )
}

#[tokio::test]
async fn one_publish_reaches_every_dialect_and_version_in_order() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let room = unique("room");
    let topic = format!("/topic/{room}");
    let old = connected(cluster.gateway(0).client(), "1.1", &unique("ana")).await;
    let new = connected(cluster.gateway(1).client(), "1.2", &unique("bob")).await;
    let native = cluster.gateway(0).connect(&unique("eve")).await;
    subscribed(&old, "sub-0", &topic).await;
    subscribed(&new, "a", &topic).await;
    subscribed(&new, "b", &format!("/sub/{room}")).await;
    native.join(&room).await;

    for number in 0..10 {
        let id = format!("m-{number}");
        let sent = service.send(To::room(&room)).payload(format!("hello {number}")).header("Hf-Id", &id);
        let receipt = sent.header("Content-Type", "text/plain").receipt().await;
        assert_eq!((receipt.matched, receipt.written), (3, 3), "{receipt:?}");
    }

    for number in 0..10 {
        let (id, body) = (format!("m-{number}"), format!("hello {number}"));
        assert_eq!(frame(&old).await, message("sub-0", &topic, &id, &body));
        assert_eq!(frame(&new).await, message("a", &topic, &id, &body));
        assert_eq!(frame(&new).await, message("b", &format!("/sub/{room}"), &id, &body));
        assert_eq!(native.message_in(&room).await.data, json!(body));
    }
}

#[tokio::test]
async fn user_queues_get_what_names_them() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let client = connected(cluster.gateway(0).client(), "1.2", &user).await;
    subscribed(&client, "own", "/user/queue/messages").await;
    subscribed(&client, "x", "/user/queue/x").await;

    let send = |id: &'static str| service.send(To::user(&user)).payload("hi").header("Hf-Id", id);
    let unheard = send("0").header("Hf-Destination", "/queue/nobody").receipt().await;
    send("1").receipt().await;
    send("2").header("Hf-Destination", "/queue/x").receipt().await;

    assert_eq!((unheard.matched, unheard.filtered), (0, 1), "{unheard:?}");
    assert_eq!(frame(&client).await, message("own", "/user/queue/messages", "1", "hi"));
    assert_eq!(frame(&client).await, message("x", "/user/queue/x", "2", "hi"));
}

#[tokio::test]
async fn messages_go_up_and_a_disconnect_ends_in_order() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let to = unique("new");
    let mut upstream = service.listen(&format!("hf.up.chat.message.{to}")).await;
    let client = connected(cluster.gateway(0).client(), "1.2", &unique("ana")).await;

    client.tell(&format!("SEND\ndestination:/app/message/{to}\nreceipt:1\n\none\0")).await;
    client
        .tell_binary(format!("SEND\ndestination:/app/message/{to}\n\ntwo\0DISCONNECT\nreceipt:2\n\n\0").as_bytes())
        .await;

    assert_eq!(&upstream.next().await.payload[..], b"one");
    assert_eq!(&upstream.next().await.payload[..], b"two");
    assert_eq!(frame(&client).await, "RECEIPT\nreceipt-id:1\n\n\0");
    assert_eq!(frame(&client).await, "RECEIPT\nreceipt-id:2\n\n\0");
    assert_eq!(client.ended().await.code, 1000, "a client that does not close is closed");
}

#[tokio::test]
async fn what_is_not_allowed_is_an_error_frame_and_the_end() {
    let cluster = cluster::shared().await;
    for (said, message, code) in [
        ("SEND\ndestination:/topic/x\n\nx\0", "nobody may send to this destination", 1008),
        ("SUBSCRIBE\nid:0\ndestination:/nowhere/x\n\n\0", "there is nothing to subscribe to at this destination", 1008),
        ("NONSENSE\n\n\0", "unknown command", 1002),
    ] {
        let client = connected(cluster.gateway(0).client(), "1.2", &unique("ana")).await;
        client.tell(said).await;
        let error = frame(&client).await;
        assert!(error.starts_with(&format!("ERROR\nmessage:{message}\n")), "{error}");
        assert_eq!(client.ended().await.code, code, "{said}");
    }
}
