//! SockJS: its URLs, and its framing over WebSocket.

use holdfast_harness::client::{HttpSession, Payload};
use holdfast_harness::http::Response;
use holdfast_harness::{Claims, Cluster, To, http, unique};
use serde_json::{Value, json};

const NEVER_CACHED: &str = "no-store, no-cache, no-transform, must-revalidate, max-age=0";

async fn cluster(gateways: usize) -> Cluster {
    let builder = Cluster::builder().gateways(gateways).gateway_setting("HOLDFAST_SOCKJS__PATHS", "/ws,/ws/chat");
    builder.gateway_setting("HOLDFAST_ORIGINS", "*").start().await
}

#[track_caller]
fn check_cors(response: &Response, origin: &str) {
    assert_eq!(response.header("access-control-allow-origin"), Some(origin), "{response:?}");
    assert_eq!(response.header("access-control-allow-credentials"), Some("true"), "{response:?}");
    assert_eq!(response.header("set-cookie"), None);
}

#[tokio::test]
async fn what_is_no_websocket_is_answered_as_sockjs_says() {
    let cluster = cluster(1).await;
    let address = cluster.gateway(0).listen();

    for path in ["/ws", "/ws/", "/ws/chat"] {
        let greeting = http::get(address, path).await;
        assert_eq!((greeting.status, greeting.body.as_str()), (200, "Welcome to SockJS!\n"), "{path}");
        assert_eq!(greeting.header("content-type"), Some("text/plain; charset=UTF-8"));
    }
    for (origin, told) in [(None, "*"), (Some("https://app.example"), "https://app.example"), (Some("null"), "null")] {
        let headers: Vec<_> = origin.map(|origin| ("Origin", origin)).into_iter().collect();
        let first = http::request(address, "GET", "/ws/info?token=x", &headers).await;
        let second = http::request(address, "GET", "/ws/info", &headers).await;
        check_cors(&first, told);
        assert_eq!(first.header("content-type"), Some("application/json; charset=UTF-8"));
        assert_eq!(first.header("cache-control"), Some(NEVER_CACHED));
        let [first, second]: [Value; 2] = [&first, &second].map(|info| serde_json::from_str(&info.body).expect("JSON"));
        assert_eq!((&first["websocket"], &first["cookie_needed"]), (&json!(true), &json!(false)));
        assert_eq!(first["origins"], json!(["*:*"]));
        assert_ne!(first["entropy"], second["entropy"], "new each time");
    }
    let asked = [("Origin", "https://app.example"), ("Access-Control-Request-Headers", "a, b")];
    let preflight = http::request(address, "OPTIONS", "/ws/info", &asked).await;
    assert_eq!(preflight.status, 204);
    check_cors(&preflight, "https://app.example");
    assert_eq!(preflight.header("access-control-allow-methods"), Some("OPTIONS, GET"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("a, b"));
    assert_eq!(preflight.header("cache-control"), Some("public, max-age=31536000"));
    assert_eq!(preflight.header("access-control-max-age"), Some("31536000"));
    assert!(preflight.header("expires").is_some_and(|expires| expires.ends_with(" GMT")), "{preflight:?}");

    for path in
        ["/ws/a", "/ws/a/b/jsonp", "/ws//", "/ws/a//", "/ws/a.b/c/websocket", "/ws/a/b.c/websocket", "/ws/iframe.html"]
    {
        assert_eq!(http::get(address, path).await.status, 404, "{path}");
    }
    let posted = http::request(address, "POST", "/ws/000/abcdefgh/websocket", &[("Content-Length", "0")]).await;
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET")));
    assert_eq!(http::get(address, "/ws/000/abcdefgh/websocket").await.status, 400, "no upgrade");
    assert_eq!(http::request(address, "PUT", "/ws/info", &[]).await.status, 405);
}

#[tokio::test]
async fn a_stranger_s_page_is_told_nothing() {
    let builder = Cluster::builder().gateway_setting("HOLDFAST_SOCKJS__PATHS", "/ws");
    let cluster = builder.gateway_setting("HOLDFAST_ORIGINS", "https://app.example").start().await;
    let origin = |origin| [("Origin", origin)];
    let address = cluster.gateway(0).listen();

    let ours = http::request(address, "GET", "/ws/info", &origin("https://app.example")).await;
    let other = http::request(address, "GET", "/ws/info", &origin("https://evil.example")).await;

    assert_eq!((ours.status, other.status), (200, 403));
    assert_eq!(other.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn without_the_setting_its_urls_are_endpoints() {
    let cluster = holdfast_harness::cluster::shared().await;

    assert_eq!(http::get(cluster.gateway(0).listen(), "/ws/info").await.status, 400);
    cluster.gateway(0).client().path("/ws/info").user("ana").open().await;
}

#[tokio::test]
async fn framed_and_plain_clients_of_each_dialect_are_in_one_room() {
    let cluster = cluster(2).await;
    let service = cluster.service().await;
    let token = Claims::of("ana").sign();
    let native = cluster.gateway(0).client().path("/ws").user("ana").sockjs().await;
    assert_eq!(native.json().await["type"], "welcome");
    native.tell(r#"{"type":"join","id":1,"room":"r"}"#).await;
    assert_eq!(native.json().await["type"], "ok");
    let stomp = cluster.gateway(1).client().path("/ws/chat").sockjs().await;
    stomp.tell(&format!("CONNECT\naccept-version:1.2\nAuthorization:Bearer {token}\n\n\0")).await;
    assert!(stomp.message().await.starts_with("CONNECTED\nversion:1.2\n"));
    stomp.tell_raw(r#"["SUBSCRIBE\nid:0\ndestination:/topic/r\n","receipt:7\n\n\u0000"]"#).await;
    assert!(stomp.message().await.starts_with("RECEIPT\nreceipt-id:7\n"));
    let raw = cluster.gateway(1).client().path("/ws/websocket").user("bob").open().await;
    let plain = cluster.gateway(1).client().path("/ws").user("eve").open().await;
    raw.join("r").await;
    plain.join("r").await;

    for number in 0..20 {
        let text = format!("{number} 안녕 😀 \u{2028} \u{200c} \0 \"");
        let receipt =
            service.send(To::room("r")).payload(text.clone()).header("Content-Type", "text/plain").receipt().await;
        assert_eq!((receipt.matched, receipt.written), (4, 4), "{receipt:?}");
        assert_eq!(native.json().await["data"], json!(text));
        let message = stomp.message().await;
        assert!(message.ends_with(&format!("\n\n{text}\0")), "{message:?}");
        assert_eq!(raw.message_in("r").await.data, json!(text));
        assert_eq!(plain.message_in("r").await.data, json!(text));
    }
    let binary = service.send(To::room("r")).payload(vec![0xff, 0xfe]).receipt().await;
    assert_eq!((binary.matched, binary.filtered), (3, 1), "no binary STOMP frame fits SockJS: {binary:?}");
    assert_eq!(native.json().await["base64"], "//4=");
}

#[tokio::test]
async fn frames_are_what_the_protocol_says() {
    let cluster = cluster(1).await;
    let service = cluster.service().await;
    let user = unique("ana");
    let open = || cluster.gateway(0).client().path("/ws/chat").user(&user).sockjs();
    let client = open().await;
    assert!(client.frame().await.starts_with(r#"a["{\"type\":\"welcome\""#));

    for nothing in ["", "[]", " [ ] "] {
        client.tell_raw(nothing).await;
    }
    client.tell_raw(r#""{\"type\":\"ping\",\"id\":1}""#).await;
    client.tell_raw(r#"["{\"type\":\"ping\",\"id\":2}","{\"type\":\"ping\",\"id\":\"\ud83d\ude00\"}"]"#).await;
    assert_eq!(client.frame().await, r#"a["{\"type\":\"pong\",\"id\":1}"]"#);
    assert_eq!(client.json().await, json!({"type": "pong", "id": 2}));
    assert_eq!(client.frame().await, r#"a["{\"type\":\"pong\",\"id\":\"\ud83d\ude00\"}"]"#);
    client.tell_raw(r#"["{\"type\":\"ping\",\"id\":\"\ud83d\"}"]"#).await;
    assert_eq!(client.frame().await, r#"a["{\"type\":\"pong\",\"id\":\"\ufffd\"}"]"#, "half a pair");

    let away = json!({"do": "disconnect", "code": 3000, "reason": "Go away!"});
    service.ctl(To::user(&user), &away).receipt().await;
    assert_eq!(client.frame().await, r#"c[3000,"Go away!"]"#);
    let ended = client.ended().await;
    assert_eq!((ended.code, ended.reason.as_str()), (3000, "Go away!"));

    for broken in [r#"["x"#, "{}", "[1]", "x"] {
        let client = open().await;
        client.message().await;
        client.tell_raw(broken).await;
        assert_eq!(client.frame().await, r#"c[1002,"protocol error"]"#, "{broken}");
        assert_eq!(client.ended().await.code, 1002);
    }
    let client = open().await;
    client.message().await;
    client.tell(&"x".repeat(65 * 1024)).await;
    assert_eq!(client.ended().await.code, 1009, "the limit is that of the message");
}

#[tokio::test]
async fn stomp_comes_with_its_credential_in_the_handshake_wherever_it_stands_among_the_dialects() {
    let cluster = cluster(2).await;
    let service = cluster.service().await;
    let room = unique("room");
    let stomp = cluster.gateway(0).client().path("/ws").user("ana").sockjs().await;
    let http = HttpSession::new("/ws").user("eve");
    let polled = async || http.frame(cluster.gateway(0).listen()).await;
    assert_eq!(polled().await, "o");

    stomp.tell("CONNECT\naccept-version:1.1,1.0\nheart-beat:10000,10000\n\n\0").await;
    http.send(cluster.gateway(1).listen(), &["CONNECT\naccept-version:1.2\n\n\0"]).await;

    let connected = stomp.message().await;
    assert!(
        connected.starts_with("CONNECTED\nversion:1.1\n") && connected.contains("\nuser-name:ana\n"),
        "{connected}"
    );
    let connected = polled().await;
    assert!(
        connected.starts_with(r#"a["CONNECTED\nversion:1.2\n"#) && connected.contains(r"\nuser-name:eve\n"),
        "{connected}"
    );
    let subscribe = format!("SUBSCRIBE\nid:0\ndestination:/topic/{room}\nreceipt:1\n\n\0");
    stomp.tell(&subscribe).await;
    http.send(cluster.gateway(1).listen(), &[&subscribe]).await;
    assert!(stomp.message().await.starts_with("RECEIPT\n"));
    assert!(polled().await.starts_with(r#"a["RECEIPT\n"#));
    let receipt = service.send(To::room(&room)).payload("hello").receipt().await;
    assert_eq!((receipt.matched, receipt.dropped), (2, 0), "{receipt:?}");
    assert!(stomp.message().await.ends_with("\n\nhello\0"));
    assert!(polled().await.ends_with(r#"\n\nhello\u0000"]"#));
}

#[tokio::test]
async fn a_session_hears_heart_beats() {
    let builder = Cluster::builder().gateway_setting("HOLDFAST_SOCKJS__PATHS", "/ws");
    let cluster = builder.gateway_setting("HOLDFAST_SESSION__HEARTBEAT", "1s").start().await;
    let client = cluster.gateway(0).client().path("/ws").user("ana").sockjs().await;
    client.message().await;

    assert_eq!(client.frame().await, "h");
    assert_eq!(client.frame().await, "h");
}

#[tokio::test]
async fn dialect_bare_travels_in_frames_too() {
    let builder = Cluster::builder().dev().gateway_setting("HOLDFAST_SOCKJS__PATHS", "/notifications");
    let cluster = builder.start().await;
    let service = cluster.service().await;
    let client = cluster.gateway(0).client().path("/notifications?userId=7").sockjs().await;
    holdfast_harness::eventually("the user is there", async || {
        let receipt = service.send(To::user("7")).payload("hello").receipt().await;
        if receipt.matched == 1 { Ok(()) } else { Err(format!("{receipt:?}")) }
    })
    .await;

    assert_eq!(client.message().await, "hello");
    let raw = cluster.gateway(0).client().path("/notifications/websocket?userId=8").protocols(&[]).endpoint_default();
    let raw = raw.await;
    holdfast_harness::eventually("the other user is there", async || {
        let receipt = service.send(To::user("8")).payload("hello").receipt().await;
        if receipt.matched == 1 { Ok(()) } else { Err(format!("{receipt:?}")) }
    })
    .await;
    assert_eq!(raw.payload().await, Payload::text("hello"));
}
