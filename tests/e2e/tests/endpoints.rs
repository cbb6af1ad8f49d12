//! Endpoints of one's own: paths, dialects, callouts, bounds.

use async_nats::HeaderMap;
use bytes::Bytes;
use holdfast_harness::client::Payload;
use holdfast_harness::service::{Responder, header};
use holdfast_harness::{Claims, Cluster, Service, To, eventually};
use serde_json::{Value, json};

/// Answers a callout by what it is asked.
async fn callout(
    service: &Service,
    subject: &str,
    decide: impl Fn(&Value) -> Value + Send + Sync + 'static,
) -> Responder {
    let decide = std::sync::Arc::new(decide);
    service
        .serve(subject, move |message| {
            let decide = std::sync::Arc::clone(&decide);
            async move {
                let question: Value = serde_json::from_slice(&message.payload).expect("a callout is JSON");
                Some((HeaderMap::new(), Bytes::from(decide(&question).to_string())))
            }
        })
        .await
}

async fn with_callouts() -> Cluster {
    Cluster::builder()
        .gateway_setting("HOLDFAST_ENDPOINTS__DOOR__PATH", "/door")
        .gateway_setting("HOLDFAST_ENDPOINTS__DOOR__DIALECTS", "json")
        .gateway_setting("HOLDFAST_ENDPOINTS__DOOR__CONNECT_CALLOUT", "true")
        .gateway_setting("HOLDFAST_ENDPOINTS__DOOR__JOIN_CALLOUT", "true")
        .start()
        .await
}

#[tokio::test]
async fn connect_callout_says_who_somebody_is() {
    let cluster = with_callouts().await;
    let service = cluster.service().await;
    let _door = callout(&service, "hf.auth.connect.door", |question| match question["token"].as_str() {
        Some("open sesame") => json!({"ok": true, "user": "ali", "device": "lamp", "attributes": {"role": "guest"},
            "rooms": ["cave/*"], "expires": null}),
        _ => json!({"ok": false, "code": "no", "reason": "who are you"}),
    })
    .await;
    let connect = |token: &str| cluster.gateway(0).client().path("/door").bearer(token);

    let client = connect("open sesame").open().await;
    let refused = connect("open barley").refused().await;

    assert_eq!((client.welcome("user"), client.welcome("device")), ("ali".to_owned(), "lamp".to_owned()));
    assert!([401, 403].contains(&refused.status), "{refused:?}");
    let guests = service.send(To::user("ali")).header("Hf-Only", "role=guest").receipt().await;
    assert_eq!(guests.matched, 1, "{guests:?}");
}

#[tokio::test]
async fn callout_that_nobody_answers_never_allows() {
    let cluster = with_callouts().await;
    let service = cluster.service().await;
    let connect = || cluster.gateway(0).client().path("/door").bearer("x");

    let nobody = connect().refused().await;
    let mute = service.serve("hf.auth.connect.door", |_| async { None }).await;
    let silence = connect().refused().await;
    drop(mute);
    let _nonsense = callout(&service, "hf.auth.connect.door", |_| json!({"fine": "yes"})).await;
    let nonsense = connect().refused().await;

    for refused in [nobody, silence] {
        assert!(refused.status == 503 && refused.header("retry-after").is_some(), "{refused:?}");
    }
    assert!([401, 403, 503].contains(&nonsense.status), "{nonsense:?}");
}

#[tokio::test]
async fn join_callout_decides_in_place_of_the_tokens_patterns() {
    let cluster = with_callouts().await;
    let service = cluster.service().await;
    let _door = callout(&service, "hf.auth.connect.door", |_| json!({"ok": true, "user": "ali"})).await;
    let client = cluster.gateway(0).client().path("/door").bearer("x").open().await;

    let unavailable = client.refused(json!({"type": "join", "room": "cave"}), "unavailable").await;
    assert_eq!(unavailable["retry"], true, "{unavailable}");
    let _join = callout(&service, "hf.auth.join.door", |question| {
        assert_eq!((&question["user"], &question["endpoint"]), (&json!("ali"), &json!("door")), "{question}");
        json!({"ok": question["room"] == "cave", "code": "no", "reason": "not there"})
    })
    .await;

    client.join("cave").await;
    client.refused(json!({"type": "join", "room": "palace"}), "forbidden").await;
    assert_eq!(service.send(To::room("cave")).receipt().await.matched, 1);
}

#[tokio::test]
async fn endpoint_of_ones_own_has_its_path_dialect_and_name() {
    let cluster = Cluster::builder()
        .gateway_setting("HOLDFAST_ENDPOINTS__TICKER__PATH", "/prices/**")
        .gateway_setting("HOLDFAST_ENDPOINTS__TICKER__TYPE_FIELD", "kind")
        .start()
        .await;
    let service = cluster.service().await;
    let mut upstream = service.listen("hf.up.>").await;
    let client =
        cluster.gateway(0).client().path("/prices/eur/usd").protocols(&[]).user("ana").endpoint_default().await;
    service.until_matched(&To::user("ana"), 1).await;
    client.payload().await;

    client.tell(r#"{"kind":"order.new","n":1}"#).await;
    client.tell("no field").await;

    let (typed, plain) = (upstream.next().await, upstream.next().await);
    assert_eq!((typed.subject.as_str(), plain.subject.as_str()), ("hf.up.ticker.order.new", "hf.up.ticker.message"));
    assert_eq!((header(&typed, "Hf-Endpoint"), header(&typed, "Hf-User")), (Some("ticker"), Some("ana")));
    assert_eq!(&typed.payload[..], br#"{"kind":"order.new","n":1}"#);
}

#[tokio::test]
async fn only_the_configured_sources_of_credentials_are_looked_at() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_AUTH__SOURCES", "query,authorization").start().await;
    let (ana, ben) = (Claims::of("ana").sign(), Claims::of("ben").sign());
    let connect = || cluster.gateway(0).client();

    let first = connect().path(&format!("/ws/chat?token={ana}")).bearer(&ben).open().await;
    let cookie = connect().header("Cookie", &format!("holdfast_token={ana}")).refused().await;

    assert_eq!(first.welcome("user"), "ana", "in the configured order");
    assert_eq!(cookie.status, 401, "and there is no first message to wait for");
}

#[tokio::test]
async fn client_that_does_not_read_loses_the_oldest_and_is_told_where_so_configured() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_OUTBOX_POLICY", "drop_oldest").start().await;
    let service = cluster.service().await;
    let mut client = cluster.gateway(0).client().user("slow").receive_buffer(4096).raw_welcomed().await;
    service.ctl(To::user("slow"), &json!({"do": "join", "room": "busy"})).receipt().await;
    let filler = "f".repeat(60_000);

    for number in 0..300 {
        let receipt = service.send(To::room("busy")).json(&json!([number, filler])).receipt().await;
        assert_eq!(receipt.matched, 1, "it stays: {receipt:?}");
    }
    service.send(To::room("busy")).json(&json!(["last"])).receipt().await;

    let (mut numbers, mut gaps) = (Vec::new(), 0);
    loop {
        let frame = client.frame().await.expect("the connection stays");
        let frame: Value = serde_json::from_slice(&frame.1).expect("JSON");
        match frame["type"].as_str() {
            Some("gap") => {
                assert_eq!(frame["room"], "busy", "{frame}");
                gaps += 1;
            }
            Some("message") if frame["data"][0] == "last" => break,
            Some("message") => numbers.push(frame["data"][0].as_u64().expect("a number")),
            _ => {}
        }
    }
    assert!(numbers.is_sorted() && numbers.last() == Some(&299), "the newest are kept, in order: {numbers:?}");
    assert!(numbers.len() < 300 && gaps == 1, "{} of 300, {gaps} gaps", numbers.len());
}

#[tokio::test]
async fn silent_client_is_pinged_and_one_that_does_not_answer_is_let_go() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_SESSION__HEARTBEAT", "500ms").start().await;
    let service = cluster.service().await;
    let alive = cluster.gateway(0).connect("alive").await;
    let mut deaf = cluster.gateway(0).client().user("deaf").raw_welcomed().await;

    service.until_matched(&To::user("deaf"), 0).await;

    assert_eq!(deaf.close_code().await, 4009);
    assert!(alive.pings() > 0);
    alive.ping().await;
}

#[tokio::test]
async fn plaintext_and_tls_can_be_had_side_by_side() {
    let cluster = Cluster::builder().tls().gateway_setting("HOLDFAST_LISTEN__TLS_ADDRESS", "127.0.0.1:0").start().await;

    let client = cluster.gateway(0).connect("ana").await;

    client.ping().await;
}

#[tokio::test]
async fn bare_client_of_dev_gets_what_was_sent_to_its_rooms_after_init() {
    let cluster = Cluster::builder().dev().start().await;
    let service = cluster.service().await;
    let client = cluster.gateway(0).client().protocols(&[]).path("/map?room=tiles").endpoint_default().await;

    client.tell(r#"{"type":"INIT","userId":"u1"}"#).await;
    eventually("the room from the URL is joined", async || {
        let receipt = service.send(To::room("tiles")).payload("tile").receipt().await;
        if receipt.matched == 1 { Ok(()) } else { Err(format!("{receipt:?}")) }
    })
    .await;

    assert_eq!(client.payload().await, Payload::text("tile"));
}
