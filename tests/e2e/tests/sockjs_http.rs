//! SockJS without WebSocket: sessions over plain HTTP, at any gateway.

use holdfast_harness::client::{HttpSession, messages};
use holdfast_harness::{Cluster, To, eventually, unique};
use serde_json::{Value, json};

const NEVER_CACHED: &str = "no-store, no-cache, no-transform, must-revalidate, max-age=0";

async fn cluster(gateways: usize) -> Cluster {
    let builder = Cluster::builder().gateways(gateways).gateway_setting("HOLDFAST_SOCKJS__PATHS", "/ws,/ws/chat");
    builder.gateway_setting("HOLDFAST_ORIGINS", "*").start().await
}

/// The messages of a frame, as JSON.
fn parsed(frame: &str) -> Vec<Value> {
    let texts = messages(frame).unwrap_or_else(|| panic!("no messages: {frame}"));
    texts.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

#[tokio::test]
async fn polls_and_sends_are_what_the_protocol_says() {
    let cluster = cluster(1).await;
    let address = cluster.gateway(0).listen();
    let session = HttpSession::new("/ws").user("ana").header("Origin", "https://app.example");

    let unknown = session.send(address, &["x"]).await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
    let first = session.poll(address).await;
    assert_eq!((first.status, first.body.as_str()), (200, "o\n"));
    assert_eq!(first.header("content-type"), Some("application/javascript; charset=UTF-8"));
    assert_eq!(first.header("cache-control"), Some(NEVER_CACHED));
    assert_eq!(first.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(first.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(parsed(&session.frame(address).await)[0]["type"], "welcome");

    let sent = session.send(address, &[r#"{"type":"ping","id":1}"#, r#"{"type":"ping","id":"😀\u2028"}"#]).await;
    assert_eq!((sent.status, sent.body.as_str()), (204, ""));
    assert_eq!(sent.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(sent.header("cache-control"), Some(NEVER_CACHED));
    let pongs = session.frame(address).await;
    assert_eq!(parsed(&pongs), [json!({"type":"pong","id":1}), json!({"type":"pong","id":"😀\u{2028}"})]);
    assert!(pongs.contains(r"\u2028") && pongs.contains(r"\ud83d\ude00"), "escaped for old browsers: {pongs}");

    for (body, status, text) in [
        ("", 500, "Payload expected."),
        ("[\"x", 500, "Broken JSON encoding."),
        ("{}", 500, "Broken JSON encoding."),
        ("[]", 204, ""),
    ] {
        let answer = session.request(address, "POST", "xhr_send", body).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, text), "{body}");
    }
    let huge = format!("[\"{}\"]", "x".repeat(256 * 1024));
    assert_eq!(session.request(address, "POST", "xhr_send", &huge).await.status, 413);
    for (what, methods) in [
        ("xhr", "OPTIONS, POST"),
        ("xhr_send", "OPTIONS, POST"),
        ("xhr_streaming", "OPTIONS, POST"),
        ("eventsource", "OPTIONS, GET"),
    ] {
        let preflight = session.request(address, "OPTIONS", what, "").await;
        assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (204, Some(methods)));
        assert_eq!(session.request(address, "PUT", what, "").await.status, 405, "{what}");
    }
    let stranger = HttpSession::new("/ws").user("bob");
    assert_eq!(stranger.frame(address).await, "o");
}

#[tokio::test]
async fn another_s_session_does_not_exist() {
    let cluster = cluster(2).await;
    let [first, second] = [0, 1].map(|number| cluster.gateway(number).listen());
    let path = format!("/ws/000/{}", unique("session"));
    let session = HttpSession::at(&path).user("ana");
    assert_eq!(session.frame(first).await, "o");

    for address in [first, second] {
        for stranger in [HttpSession::at(&path).user("bob"), HttpSession::at(&path)] {
            assert_eq!(stranger.send(address, &["x"]).await.status, 404);
        }
    }
    assert_eq!(HttpSession::at(&path).user("ana").send(second, &[r#"{"type":"ping","id":1}"#]).await.status, 204);
}

#[tokio::test]
async fn streams_have_a_prelude_and_end_after_128_kib() {
    let cluster = cluster(1).await;
    let service = cluster.service().await;
    let address = cluster.gateway(0).listen();

    let session = HttpSession::new("/ws").user("ana");
    let mut stream = session.stream(address, "POST", "xhr_streaming").await;
    assert_eq!(stream.response.header("content-type"), Some("application/javascript; charset=UTF-8"));
    assert_eq!(stream.response.header("cache-control"), Some(NEVER_CACHED));
    assert_eq!(stream.words().await, "h".repeat(2048));
    assert_eq!(stream.words().await, "o");
    assert_eq!(parsed(&stream.words().await)[0]["type"], "welcome");
    let open = session.poll(address).await;
    assert_eq!(open.body, "c[2010,\"Another connection still open\"]\n");

    let mut seen = Vec::new();
    let mut streams = 1;
    for number in 0..20 {
        service.send(To::user("ana")).json(&json!([number, "x".repeat(20_000)])).receipt().await;
    }
    while seen.len() < 20 {
        match stream.line().await {
            Some(line) if line == "h".repeat(2048) || line.is_empty() => {}
            Some(line) => seen.extend(parsed(&line).iter().map(|message| message["data"][0].clone())),
            None => {
                stream = session.stream(address, "POST", "xhr_streaming").await;
                streams += 1;
            }
        }
    }
    assert_eq!(seen, (0..20).map(Value::from).collect::<Vec<_>>());
    assert!((3..=6).contains(&streams), "{streams} streams for 400 kB");

    let session = HttpSession::new("/ws").user("bob");
    let mut events = session.stream(address, "GET", "eventsource").await;
    assert_eq!(events.response.header("content-type"), Some("text/event-stream; charset=UTF-8"));
    assert_eq!(events.line().await.as_deref(), Some(""), "the prelude");
    assert_eq!(events.words().await, "data: o");
    assert!(events.words().await.starts_with("data: a[\"{\\\"type\\\":\\\"welcome\\\""));
}

#[tokio::test]
async fn every_request_may_go_to_another_gateway() {
    let cluster = cluster(3).await;
    let service = cluster.service().await;
    let room = unique("room");
    let session = HttpSession::new("/ws").user("ana");
    let mut turn = 0;
    let mut next = || {
        turn += 1;
        cluster.gateway_in_turn(turn).listen()
    };

    assert_eq!(session.frame(next()).await, "o");
    assert_eq!(parsed(&session.frame(next()).await)[0]["type"], "welcome");
    let join = json!({"type": "join", "id": 1, "room": room}).to_string();
    assert_eq!(session.send(next(), &[&join]).await.status, 204);
    assert_eq!(parsed(&session.frame(next()).await)[0]["type"], "ok");
    for number in 0..30 {
        let receipt = service.send(To::room(&room)).json(&json!(number)).receipt().await;
        assert_eq!(receipt.matched, 1, "{receipt:?}");
    }
    let mut seen = Vec::new();
    while seen.len() < 30 {
        seen.extend(parsed(&session.frame(next()).await).iter().map(|message| message["data"].clone()));
    }
    assert_eq!(seen, (0..30).map(Value::from).collect::<Vec<_>>());

    let mut upstream = service.listen("hf.up.default.note").await;
    for number in 0..10 {
        let note = json!({"type": "send", "to": "note", "data": number}).to_string();
        assert_eq!(session.send(next(), &[&note]).await.status, 204);
    }
    for number in 0..10 {
        assert_eq!(&upstream.next().await.payload[..], number.to_string().as_bytes());
    }
    let everybody = service.send(To::raw("all")).json(&json!("all")).receipt().await;
    assert_eq!(everybody.matched, 1, "{everybody:?}");
    assert_eq!(parsed(&session.frame(next()).await)[0]["data"], "all");
}

#[tokio::test]
async fn where_sessions_are_is_nobody_s_business() {
    let cluster = cluster(2).await;
    let service = cluster.service().await;
    let mut facts = service.facts().await;
    let name = unique("session");
    let session = HttpSession::at(&format!("/ws/000/{name}")).user("ana");
    assert_eq!(session.frame(cluster.gateway(0).listen()).await, "o");
    assert_eq!(parsed(&session.frame(cluster.gateway(1).listen()).await)[0]["type"], "welcome");

    let stats = service.query("stats", "").await;
    assert_eq!((&stats["rooms"], &stats["users"], &stats["connections"]), (&json!(0), &json!(1), &json!(1)), "{stats}");
    let user = service.query("user.ana", "").await;
    assert_eq!(user["connections"][0]["rooms"], 0, "{user}");
    let reserved = "=F4=8F=BF=BFsockjs=2Fws=2Fx";
    for subject in [format!("room.{reserved}"), format!("user.{reserved}")] {
        assert_eq!(service.send(To::raw(&subject)).refused().await.code, "400", "{subject}");
    }
    assert!(service.try_query(&format!("room.{reserved}"), "").await.is_err());
    let seen = facts.about(&format!("\u{10ffff}sockjs/ws/{name}")).await;
    assert!(seen.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn a_client_that_goes_ends_its_session() {
    let cluster = cluster(2).await;
    let service = cluster.service().await;
    let session = HttpSession::new("/ws").user("ana");
    let mut stream = session.stream(cluster.gateway(0).listen(), "POST", "xhr_streaming").await;
    stream.words().await;
    assert_eq!(stream.words().await, "o");
    service.until_matched(&To::user("ana"), 1).await;

    drop(stream);

    eventually("the user is gone", async || {
        let user = service.try_query("user.ana", "").await?;
        if user["connections"] == json!([]) { Ok(()) } else { Err(user.to_string()) }
    })
    .await;
    let frame = session.frame(cluster.gateway(1).listen()).await;
    assert!(frame == r#"c[1002,"Connection interrupted"]"# || frame == "o", "{frame}");
}

#[tokio::test]
async fn the_session_s_gateway_may_die() {
    let mut cluster = cluster(2).await;
    let session = HttpSession::new("/ws").user("ana");
    let other = cluster.gateway(1).listen();
    assert_eq!(session.frame(cluster.gateway(0).listen()).await, "o");
    let mut stream = session.stream(other, "POST", "xhr_streaming").await;
    stream.words().await;
    assert_eq!(parsed(&stream.words().await)[0]["type"], "welcome");

    cluster.remove_gateway(0);

    assert_eq!(stream.words().await, r#"c[1012,"Service restart"]"#);
    assert_eq!(stream.line().await, None);
    eventually("sends are told that the session is gone", async || match session.send(other, &["x"]).await.status {
        404 => Ok(()),
        status => Err(status.to_string()),
    })
    .await;
    let again = HttpSession::new("/ws").user("ana");
    assert_eq!(again.frame(other).await, "o");
}

#[tokio::test]
async fn a_gateway_that_leaves_says_goodbye() {
    let builder = Cluster::builder().gateways(2).gateway_setting("HOLDFAST_SOCKJS__PATHS", "/ws");
    let builder = builder.gateway_setting("HOLDFAST_DRAIN__DELAY", "100ms");
    let cluster = builder.gateway_setting("HOLDFAST_DRAIN__WINDOW", "1s").start().await;
    let session = HttpSession::new("/ws").user("ana");
    assert_eq!(session.frame(cluster.gateway(0).listen()).await, "o");
    let mut stream = session.stream(cluster.gateway(1).listen(), "POST", "xhr_streaming").await;
    stream.words().await;
    assert_eq!(parsed(&stream.words().await)[0]["type"], "welcome");

    cluster.gateway(0).terminate();

    assert_eq!(parsed(&stream.words().await)[0]["type"], "goaway");
    assert_eq!(stream.words().await, r#"c[1001,"Going away"]"#);
    assert_eq!(stream.line().await, None);
}
