//! Handshakes and credentials: who gets in, as whom, for how long.

use std::collections::BTreeSet;

use holdfast_harness::client::JSON;
use holdfast_harness::credentials::unix_now;
use holdfast_harness::{Claims, Client, Service, To, cluster, unique};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

fn well_formed(welcome: &Value, user: &str, node: &str) {
    assert_eq!((&welcome["user"], &welcome["node"]), (&json!(user), &json!(node)), "{welcome}");
    assert!(welcome["connection"].as_str().is_some_and(|id| id.len() >= 22), "an id of 128 bits: {welcome}");
    assert!(welcome["heartbeat"].is_number() && welcome.get("expires").is_some(), "{welcome}");
}

#[tokio::test]
async fn each_credential_source_leads_to_a_complete_welcome() {
    let cluster = cluster::shared().await;
    let gateway = cluster.gateway(0);
    let (user, expires) = (unique("ana"), unix_now() + 600);
    let token = Claims::of(&user).with("exp", expires).sign();

    let clients = [
        gateway.client().bearer(&token).open().await,
        gateway.client().path(&format!("/ws/chat?token={token}")).open().await,
        gateway.client().protocols(&[JSON, &format!("base64url.bearer.holdfast.{token}")]).open().await,
        gateway.client().header("Cookie", &format!("a=b; holdfast_token={token}; c=d")).open().await,
        gateway.client().open_with_first_message(&token).await,
    ];

    let mut ids = BTreeSet::new();
    for client in &clients {
        let welcome = client.welcomed().await;
        well_formed(&welcome, &user, gateway.node());
        assert_eq!(welcome["expires"], expires);
        assert_eq!(client.response().header("sec-websocket-protocol"), Some(JSON), "the token is not echoed");
        ids.insert(client.id());
    }
    assert_eq!(ids.len(), clients.len(), "each connection has an id of its own");
    assert_eq!(clients[4].welcomed().await["id"], "first", "the welcome answers the auth");
}

#[tokio::test]
async fn numeric_subject_becomes_the_same_text() {
    let cluster = cluster::shared().await;

    let client = cluster.gateway(0).client().claims(&Claims::of("").with("sub", 4711)).open().await;

    assert_eq!(client.welcome("user"), "4711");
}

#[tokio::test]
async fn token_without_a_usable_subject_is_401() {
    let cluster = cluster::shared().await;
    let subjects =
        [json!(""), json!({"a": 1}), json!(true), json!("tab\there"), json!(" edge"), json!("x".repeat(201))];
    let mut bad: Vec<_> = subjects.into_iter().map(|subject| Claims::of("").with("sub", subject)).collect();
    bad.push(Claims::of("").without("sub"));

    for claims in bad {
        let refused = cluster.gateway(0).client().claims(&claims).refused().await;

        assert_eq!(refused.status, 401, "{claims:?}");
    }
}

#[tokio::test]
async fn credential_refused_in_the_handshake_is_401() {
    let cluster = cluster::shared().await;
    let user = unique("ana");
    let good = Claims::of(&user).sign();
    let other_key = EncodingKey::from_secret(b"another secret, another secret, another");
    let bad = [
        ("signature", Claims::of(&user).sign_with(&Header::new(Algorithm::HS256), &other_key)),
        ("expired", Claims::of(&user).expires_in(-3600).sign()),
        ("not yet", Claims::of(&user).with("nbf", unix_now() + 3600).sign()),
        ("algorithm none", Claims::of(&user).unsigned()),
        ("stripped", format!("{}.", good.rsplit_once('.').expect("three parts").0)),
        ("no token", "abc".to_owned()),
        ("two dots", "a.b.c".to_owned()),
        ("device", Claims::of(&user).device("a\r\nb").sign()),
        ("role", Claims::of(&user).with("roles", json!(["a,b"])).sign()),
    ];

    for (what, token) in bad {
        assert_eq!(cluster.gateway(0).client().bearer(&token).refused().await.status, 401, "{what}, in the header");
        let path = format!("/ws/chat?token={token}");
        if !token.contains(['\r', '\n']) {
            assert_eq!(cluster.gateway(0).client().path(&path).refused().await.status, 401, "{what}, in the query");
        }
    }
}

#[tokio::test]
async fn expiry_may_be_absent_or_far_away_and_must_be_a_number() {
    let cluster = cluster::shared().await;
    let claims = Claims::of(&unique("ana"));
    let connect = |claims: &Claims| cluster.gateway(0).client().claims(claims);

    let unbounded = connect(&claims.clone().without("exp")).open().await;
    let fraction = connect(&claims.clone().with("exp", json!(4_000_000_000.5))).open().await;
    let far = connect(&claims.clone().with("exp", json!(9_000_000_000_000_000_u64))).open().await;

    assert!(unbounded.welcomed().await["expires"].is_null());
    assert_eq!(fraction.welcomed().await["expires"].as_f64().map(f64::floor), Some(4_000_000_000.0));
    far.ping().await;
    for wrong in [json!("tomorrow"), json!({}), json!(-1), json!(0)] {
        assert_eq!(connect(&claims.clone().with("exp", wrong.clone())).refused().await.status, 401, "{wrong}");
    }
}

#[tokio::test]
async fn first_credential_source_present_decides() {
    let cluster = cluster::shared().await;
    let (ana, ben) = (unique("ana"), unique("ben"));
    let path = format!("/ws/chat?token={}", Claims::of(&ben).sign());
    let connect = || cluster.gateway(0).client().path(&path);

    let client = connect().user(&ana).open().await;
    let refused = connect().bearer("nonsense").refused().await;

    assert_eq!(client.welcome("user"), ana, "the header comes first");
    assert_eq!(refused.status, 401, "no falling through to the next source");
}

#[tokio::test]
async fn wrong_first_message_closes_with_4401_and_an_expired_one_with_4003() {
    let cluster = cluster::shared().await;
    let other_key = EncodingKey::from_secret(b"another secret, another secret, another");
    let wrong = Claims::of("ana").sign_with(&Header::new(Algorithm::HS256), &other_key);
    let expired = Claims::of("ana").expires_in(-60).sign();

    for (token, code) in [(wrong, 4401), (expired, 4003)] {
        let client = cluster.gateway(0).client().pending().await;
        client.tell(json!({"type": "auth", "id": 1, "token": token})).await;

        assert_eq!(client.ended().await.code, code);
        assert!(client.frames_of("welcome").is_empty());
    }
}

#[tokio::test]
async fn nothing_but_auth_works_before_auth() {
    let cluster = cluster::shared().await;
    let (room, user) = (unique("chat/5"), unique("ana"));
    let client = cluster.gateway(0).client().pending().await;

    client.refused(json!({"type": "join", "room": room}), "unauthenticated").await;
    client.refused(json!({"type": "send", "to": "x", "data": 1}), "unauthenticated").await;
    client.tell(json!({"type": "auth", "id": 7, "token": Claims::of(&user).sign(), "device": "ios"})).await;

    let welcome = client.welcomed().await;
    assert_eq!((&welcome["id"], &welcome["device"]), (&json!(7), &json!("ios")));
    client.join(&room).await;
}

#[tokio::test]
async fn unusable_device_in_the_first_message_is_an_error_and_the_connection_stays_pending() {
    let cluster = cluster::shared().await;
    let token = Claims::of(&unique("ana")).sign();
    let client = cluster.gateway(0).client().pending().await;

    for device in [json!("x\r\nHf-User: root"), json!("x".repeat(65)), json!(7)] {
        client.refused(json!({"type": "auth", "token": token, "device": device}), "bad_message").await;
    }
    client.tell(json!({"type": "auth", "token": token, "device": "ios"})).await;

    client.welcomed().await;
}

#[tokio::test]
async fn connection_without_a_credential_in_time_is_closed_with_4408() {
    let cluster = cluster::shared().await;

    let client = cluster.gateway(0).client().pending().await;

    assert_eq!(client.ended().await.code, 4408);
}

#[tokio::test]
async fn device_comes_from_the_claim_then_auth_then_the_query() {
    let cluster = cluster::shared().await;
    let user = unique("ana");
    let device = |client: &Client| client.welcome("device");

    let claim = Claims::of(&user).device("claim");
    let both = cluster.gateway(0).client().path("/ws/chat?device=query").claims(&claim).open().await;
    let query = cluster.gateway(0).client().path("/ws/chat?device=query").user(&user).open().await;
    let auth = cluster.gateway(0).client().path("/ws/chat?device=query").pending().await;
    auth.tell(json!({"type": "auth", "token": Claims::of(&user).sign(), "device": "auth"})).await;
    auth.welcomed().await;

    assert_eq!((device(&both), device(&query), device(&auth)), ("claim".into(), "query".into(), "auth".into()));
}

#[tokio::test]
async fn expiry_closes_a_live_socket_and_a_refresh_keeps_it_open() {
    let cluster = cluster::shared().await;
    let user = unique("ana");
    let short = Claims::of(&user).expires_in(3);
    let left = cluster.gateway(0).client().claims(&short).open().await;
    let kept = cluster.gateway(0).client().claims(&short).open().await;
    let expires = unix_now() + 600;

    let answer = kept.ok(json!({"type": "auth", "token": Claims::of(&user).with("exp", expires).sign()})).await;

    assert_eq!(answer["expires"], expires);
    assert_eq!(left.ended().await.code, 4003);
    assert!(unix_now() >= expires - 600 + 2, "not before its time");
    kept.ping().await;
}

#[tokio::test]
async fn refresh_that_fails_changes_nothing() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (ana, ben) = (unique("ana"), unique("ben"));
    let client = cluster.gateway(0).connect(&ana).await;

    for token in [json!(Claims::of(&ben).sign()), json!(Claims::of(&ana).expires_in(-60).sign()), json!("x"), json!(7)]
    {
        let answer = client.ask(json!({"type": "auth", "token": token})).await;
        assert_eq!(answer["type"], "error", "{answer}");
    }

    assert!(service.send(To::user(&ben)).receipt().await.offline);
    assert_eq!(service.send(To::user(&ana)).receipt().await.matched, 1);
}

#[tokio::test]
async fn refresh_with_fewer_rights_leaves_rooms_and_tells() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (ana, kept, lost) = (unique("ana"), unique("kept"), unique("lost"));
    let client = cluster.gateway(0).connect(&ana).await;
    client.join(&kept).await;
    client.join(&lost).await;

    client.ok(json!({"type": "auth", "token": Claims::of(&ana).rooms(&[&kept]).sign()})).await;

    client.frame("left", 0, |frame| frame["type"] == "left" && frame["room"] == json!(lost)).await;
    no_member(&service, &lost).await;
    assert_eq!(service.send(To::room(&kept)).receipt().await.matched, 1);
    client.refused(json!({"type": "join", "room": lost}), "forbidden").await;
}

async fn no_member(service: &Service, room: &str) {
    service.until_matched(&To::room(room), 0).await;
}
