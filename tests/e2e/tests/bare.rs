//! Dialect `bare`, and profile `dev` as the seed article uses it.

use holdfast_harness::client::Payload;
use holdfast_harness::service::header;
use holdfast_harness::{Claims, Service, To, cluster, eventually, unique};
use serde_json::json;

/// A bare client has no welcome: it is there once the roster says so.
async fn online(service: &Service, user: &str, connections: usize) {
    eventually(&format!("{user} has {connections} connections"), async || {
        let answer = service.try_query(&format!("user.{}", holdfast_protocol::token::encode(user)), "").await?;
        match answer["connections"].as_array().map(Vec::len) {
            Some(count) if count == connections => Ok(()),
            _ => Err(answer.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn browser_snippet_of_the_seed_and_its_init_message_run_unchanged() {
    let cluster = cluster::shared_dev().await;
    let service = cluster.service().await;
    let number = 1_000_000 + std::process::id();
    let user = number.to_string();

    // new WebSocket("ws://localhost:8080/notifications?userId=123")
    let url = cluster.gateway(0).client().protocols(&[]).path(&format!("/notifications?userId={user}"));
    let by_url = url.header("Origin", "null").endpoint_default().await;
    // ws.send(JSON.stringify({type: "INIT", userId: 123, device: "android"}))
    let by_init = cluster.gateway(1).client().protocols(&[]).path("/notifications").endpoint_default().await;
    by_init.tell(&json!({"type": "INIT", "userId": number, "device": "android"}).to_string()).await;
    online(&service, &user, 2).await;

    let alarm = r#"{"type":"alarm", "message":"hi"}"#;
    service.send(To::user(&user)).payload(alarm).header("Hf-Type", "ignored").receipt().await;
    service.send(To::user(&user)).payload(&b"\x00\xff\x01"[..]).receipt().await;
    let android = service.send(To::user(&user)).payload("only").header("Hf-Only", "device=android").receipt().await;

    for client in [&by_url, &by_init] {
        assert_eq!(client.payload().await, Payload::text(alarm));
        assert_eq!(client.payload().await, Payload::Binary(vec![0, 255, 1]));
    }
    assert_eq!((android.matched, android.filtered), (1, 1), "{android:?}");
    assert_eq!(by_init.payload().await, Payload::text("only"));
    assert_eq!(by_url.left(), 0);
}

#[tokio::test]
async fn bare_messages_go_up_as_they_are() {
    let cluster = cluster::shared_dev().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let mut upstream = service.listen("hf.up.notifications.message").await;
    let path = format!("/notifications?userId={user}");
    let client = cluster.gateway(0).client().protocols(&[]).path(&path).endpoint_default().await;

    client.tell("plain words").await;
    client.tell("{\"x\": 1}").await;
    client.tell_binary(&[1, 2, 0]).await;

    for payload in [&b"plain words"[..], b"{\"x\": 1}", &[1, 2, 0]] {
        let message = upstream.next_where(|message| header(message, "Hf-User") == Some(&user)).await;
        assert_eq!(&message.payload[..], payload);
    }
}

#[tokio::test]
async fn rooms_come_from_the_url() {
    let cluster = cluster::shared_dev().await;
    let service = cluster.service().await;
    let (one, two) = (unique("r1"), unique("r2"));
    let path = format!("/notifications?userId={}&room={one}&room={two}", unique("ana"));
    let client = cluster.gateway(0).client().protocols(&[]).path(&path).endpoint_default().await;

    for room in [&one, &two] {
        service.until_matched(&To::room(room), 1).await;
        client.payload().await;
    }
}

#[tokio::test]
async fn init_is_neither_answered_nor_forwarded() {
    let cluster = cluster::shared_dev().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let mut upstream = service.listen("hf.up.notifications.>").await;
    let client = cluster.gateway(0).client().protocols(&[]).path("/notifications").endpoint_default().await;

    client.tell(&json!({"type": "INIT", "userId": user, "device": "x"}).to_string()).await;
    client.tell("after").await;

    let first = upstream.next_where(|message| header(message, "Hf-User") == Some(&user)).await;
    assert_eq!((&first.payload[..], header(&first, "Hf-Device")), (&b"after"[..], Some("x")));
    assert_eq!(client.left(), 0);
}

#[tokio::test]
async fn init_after_a_user_sets_the_device_and_another_user_is_1008() {
    let cluster = cluster::shared_dev().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let path = format!("/notifications?userId={user}");
    let connect = || cluster.gateway(0).client().protocols(&[]).path(&path).endpoint_default();

    let (same, other) = (connect().await, connect().await);
    same.tell(&json!({"type": "INIT", "userId": user, "device": "tablet"}).to_string()).await;
    other.tell(&json!({"type": "INIT", "userId": unique("ben")}).to_string()).await;

    assert_eq!(other.ended().await.code, 1008);
    eventually("the device is known", async || {
        let receipt = service.send(To::user(&user)).header("Hf-Only", "device=tablet").receipt().await;
        if receipt.matched == 1 { Ok(()) } else { Err(format!("{receipt:?}")) }
    })
    .await;
}

#[tokio::test]
async fn message_before_init_is_1008() {
    let cluster = cluster::shared_dev().await;

    let client = cluster.gateway(0).client().protocols(&[]).path("/notifications").endpoint_default().await;
    client.tell("hello").await;

    assert_eq!(client.ended().await.code, 1008);
}

#[tokio::test]
async fn token_is_verified_in_dev_too_when_given() {
    let cluster = cluster::shared_dev().await;
    let user = unique("ana");

    let refused = cluster.gateway(0).client().path("/ws/chat?userId=root").bearer("nonsense").refused().await;
    let client = cluster.gateway(0).client().path("/ws/chat").user(&user).open().await;

    assert_eq!((refused.status, client.welcome("user")), (401, user));
}

#[tokio::test]
async fn json_dialect_takes_an_unsigned_user_in_dev() {
    let cluster = cluster::shared_dev().await;
    let user = unique("ana");

    let client = cluster.gateway(0).client().path(&format!("/ws/chat?userId={user}")).open().await;
    client.join(&unique("any room")).await;

    assert_eq!(client.welcome("user"), user);
}

#[tokio::test]
async fn unsigned_users_are_nobody_in_production() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("999");

    let by_url = cluster.gateway(0).client().protocols(&[]).path(&format!("/ws/chat?userId={user}"));
    if let Ok(client) = by_url.try_pending().await {
        client.tell(json!({"type": "ping"})).await;
        client.frame("an error", 0, |frame| frame["type"] == "error").await;
    }
    let by_init = cluster.gateway(0).client().path("/ws/chat").try_bare().await;
    if let Ok(client) = by_init {
        client.tell(&json!({"type": "INIT", "userId": user, "device": "x"}).to_string()).await;
        client.ended().await;
    }

    assert!(service.send(To::user(&user)).receipt().await.offline);
}

#[tokio::test]
async fn bare_with_a_token_works_in_production() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (user, room) = (unique("ana"), unique("r"));
    let claims = Claims::of(&user).rooms(&[&room]);

    let path = format!("/ws/chat?room={room}");
    let client = cluster.gateway(0).client().path(&path).claims(&claims).bare().await;
    service.until_matched(&To::room(&room), 1).await;

    client.payload().await;
    let forbidden = cluster.gateway(0).client().path("/ws/chat?room=other").claims(&claims);
    assert_eq!(forbidden.protocols(&[holdfast_harness::client::BARE]).refused().await.status, 403);
}
