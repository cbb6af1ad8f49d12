//! The HTTP side of the public listener: statuses, origins, paths, sub-protocols.

use holdfast_harness::client::{BARE, JSON, RawFrame, opcode};
use holdfast_harness::{Claims, Cluster, cluster, http, unique};

/// Name and value.
type Field<'a> = (&'a str, &'a str);

const KEY: Field<'_> = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
const VERSION: Field<'_> = ("Sec-WebSocket-Version", "13");
const UPGRADE: Field<'_> = ("Upgrade", "websocket");
const CONNECTION: Field<'_> = ("Connection", "Upgrade");

#[tokio::test]
async fn handshake_answers_are_those_of_rfc_6455() {
    let cluster = cluster::shared().await;
    let listen = cluster.gateway(0).listen();
    let bearer = format!("Bearer {}", Claims::of(&unique("ana")).sign());
    let who = ("Authorization", bearer.as_str());
    let cases: [(&str, &str, &str, &[Field<'_>], u16); 12] = [
        ("HEAD", "HEAD", "/ws/chat", &[UPGRADE, CONNECTION, KEY, VERSION, who], 405),
        ("no Connection", "GET", "/ws/chat", &[UPGRADE, ("Connection", "close"), KEY, VERSION, who], 400),
        ("another upgrade", "GET", "/ws/chat", &[("Upgrade", "h2c"), CONNECTION, KEY, VERSION, who], 400),
        ("good", "GET", "/ws/chat", &[UPGRADE, CONNECTION, KEY, VERSION, who], 101),
        ("POST", "POST", "/ws/chat", &[UPGRADE, CONNECTION, KEY, VERSION, who], 405),
        ("no upgrade", "GET", "/ws/chat", &[who], 400),
        ("no key", "GET", "/ws/chat", &[UPGRADE, CONNECTION, VERSION, who], 400),
        ("short key", "GET", "/ws/chat", &[UPGRADE, CONNECTION, ("Sec-WebSocket-Key", "abc"), VERSION, who], 400),
        ("version 12", "GET", "/ws/chat", &[UPGRADE, CONNECTION, KEY, ("Sec-WebSocket-Version", "12"), who], 426),
        ("unknown path", "GET", "/nowhere", &[UPGRADE, CONNECTION, KEY, VERSION, who], 404),
        ("empty segment", "GET", "/ws//chat", &[UPGRADE, CONNECTION, KEY, VERSION, who], 400),
        ("dot segment", "GET", "/ws/../chat", &[UPGRADE, CONNECTION, KEY, VERSION, who], 400),
    ];

    for (what, method, path, headers, status) in cases {
        let answer = http::request(listen, method, path, headers).await;

        assert_eq!(answer.status, status, "{what}: {answer:?}");
        match status {
            101 => assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")),
            405 => assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET")), "{answer:?}"),
            426 => assert_eq!(answer.header("sec-websocket-version"), Some("13")),
            _ => {}
        }
    }
}

#[tokio::test]
async fn upgrade_and_connection_fields_are_lists_in_any_case() {
    let cluster = cluster::shared().await;
    let bearer = format!("Bearer {}", Claims::of(&unique("ana")).sign());
    let headers = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, UPGRADE"),
        KEY,
        VERSION,
        ("authorization", bearer.as_str()),
    ];

    let answer = http::request(cluster.gateway(0).listen(), "GET", "/ws/chat", &headers).await;

    assert_eq!(answer.status, 101, "{answer:?}");
}

#[tokio::test]
async fn extensions_are_not_accepted() {
    let cluster = cluster::shared().await;

    let offer = cluster.gateway(0).client().header("Sec-WebSocket-Extensions", "permessage-deflate");
    let client = offer.user(&unique("ana")).open().await;

    assert_eq!(client.response().header("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn requests_that_are_none_are_answered_or_dropped_and_harm_nobody() {
    let cluster = cluster::shared().await;
    let gateway = cluster.gateway(0);
    let witness = gateway.connect(&unique("witness")).await;
    let huge = format!("GET /ws/chat HTTP/1.1\r\nHost: x\r\nX-Huge: {}\r\n\r\n", "x".repeat(200_000));
    let many = format!("GET /ws/chat HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: 1\r\n".repeat(2_000));
    let long = format!("GET /ws/{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));

    for request in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"hello\r\n\r\n",
        huge.as_bytes(),
        many.as_bytes(),
        long.as_bytes(),
    ] {
        if let Ok(answer) = http::try_exchange(gateway.listen(), request).await {
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
    }

    witness.ping().await;
}

#[tokio::test]
async fn client_that_never_finishes_its_request_is_let_go() {
    let cluster = cluster::shared().await;

    let answer = http::try_exchange(cluster.gateway(0).listen(), b"GET /ws/chat HTTP/1.1\r\nHost:").await;

    if let Ok(answer) = answer {
        assert_eq!(answer.status, 408, "{answer:?}");
    }
}

#[tokio::test]
async fn frames_sent_right_behind_the_handshake_are_read() {
    let cluster = cluster::shared().await;
    let frame = RawFrame::new(opcode::TEXT, br#"{"type":"ping","id":"early"}"#);

    let mut client = cluster.gateway(0).client().user(&unique("ana")).pipelined(&frame.bytes()).raw().await;

    assert_eq!(client.json("welcome").await["type"], "welcome");
    assert_eq!(client.json("pong").await["id"], "early");
}

#[tokio::test]
async fn endpoint_is_the_path_whatever_way_it_is_written() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");

    for (path, endpoint) in [
        ("/ws/chat", "chat"),
        ("/ws/chat/", "chat"),
        ("/ws/ch%61t", "chat"),
        ("/ws", "default"),
        ("/ws/crowd/location", "crowd/location"),
    ] {
        let client = cluster.gateway(0).client().path(path).user(&user).open().await;
        let query = service.query(&format!("user.{user}"), "").await;
        let found =
            query["connections"].as_array().expect("a list").iter().any(|connection| {
                connection["connection"] == client.id().as_str() && connection["endpoint"] == endpoint
            });
        assert!(found, "{path} is endpoint {endpoint}: {query}");
        client.close().await;
    }
}

#[tokio::test]
async fn sub_protocol_is_chosen_among_those_offered() {
    let cluster = cluster::shared().await;
    let token = Claims::of(&unique("ana")).sign();
    let bearer = format!("base64url.bearer.holdfast.{token}");
    let offers: [(&[&str], Option<&str>); 4] =
        [(&[], None), (&[JSON], Some(JSON)), (&["other", BARE], Some(BARE)), (&[JSON, &bearer], Some(JSON))];
    let refused: [&[&str]; 2] = [&["mqtt"], &[&bearer]];

    for (offer, chosen) in offers {
        let client = cluster.gateway(0).client().bearer(&token).protocols(offer).endpoint_default().await;
        assert_eq!(client.response().header("sec-websocket-protocol"), chosen, "{offer:?}");
    }
    for offer in refused {
        let answer = cluster.gateway(0).client().protocols(offer).refused().await;
        assert_eq!(answer.status, 400, "{offer:?}: {answer:?}");
    }
}

#[tokio::test]
async fn only_the_same_origin_is_let_in_by_default() {
    let cluster = cluster::shared().await;
    let gateway = cluster.gateway(0);
    let listen = gateway.listen();
    let origins = [
        (format!("http://{listen}"), true),
        ("https://evil.example".to_owned(), false),
        (format!("http://{listen}.evil.example"), false),
        (format!("http://evil.example/{listen}"), false),
        ("null".to_owned(), false),
    ];

    for (origin, allowed) in origins {
        let opened = gateway.client().user(&unique("ana")).header("Origin", &origin).try_open().await;
        match opened {
            Ok(_) => assert!(allowed, "{origin} was let in"),
            Err(answer) => assert_eq!((allowed, answer.status), (false, 403), "{origin}"),
        }
    }
    gateway.client().user(&unique("no browser")).open().await;
}

#[tokio::test]
async fn origin_list_is_exact() {
    let list = "https://app.example.com,https://b.example.com";
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_ORIGINS", list).start().await;

    for (origin, allowed) in [
        ("https://app.example.com", true),
        ("https://b.example.com", true),
        ("http://app.example.com", false),
        ("https://app.example.com:8443", false),
        ("https://app.example.com.evil.example", false),
        ("https://xapp.example.com", false),
    ] {
        match cluster.gateway(0).client().user("ana").header("Origin", origin).try_open().await {
            Ok(_) => assert!(allowed, "{origin} was let in"),
            Err(answer) => assert_eq!((allowed, answer.status), (false, 403), "{origin}"),
        }
    }
}
