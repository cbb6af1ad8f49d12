//! Headers of sends: filters, content types, time to live, conflation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_harness::client::RawClient;
use holdfast_harness::{Claims, Client, Cluster, Service, To, cluster, unique};
use serde_json::{Value, json};

async fn member(cluster: &Cluster, gateway: usize, room: &str, claims: &Claims) -> Client {
    let client = cluster.gateway(gateway).client().claims(claims).open().await;
    client.join(room).await;
    client
}

/// Name and value.
type Header<'a> = (&'a str, &'a str);

#[tokio::test]
async fn only_and_except_choose_among_the_target() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (room, ana, ben, dan) = (unique("r"), unique("ana"), unique("ben"), unique("dan, =x"));
    let claims = |user: &str, role: &str, device: &str| {
        Claims::of(user).device(device).attributes(json!({"role": role, "level": 7, "paid": true, "tags": ["x", "y"]}))
    };
    let members = [
        member(&cluster, 0, &room, &claims(&ana, "admin", "ios")).await,
        member(&cluster, 1, &room, &claims(&ben, "user", "ios")).await,
        member(&cluster, 1, &room, &claims(&dan, "admin", "web")).await,
    ];
    let (dan_id, dan_token) = (members[2].id(), holdfast_protocol::token::encode(&dan));
    let only_dan = format!("user={dan_token}");
    let except_two = format!("{ana}, {dan_token}");
    let cases: [(&[Header<'_>], [bool; 3]); 15] = [
        (&[("Hf-Only", "role=admin")], [true, false, true]),
        (&[("Hf-Only", "device=ios")], [true, true, false]),
        (&[("Hf-Only", "role=admin, device=ios")], [true, false, false]),
        (&[("Hf-Only", "role=king")], [false, false, false]),
        (&[("Hf-Only", "role=Admin")], [false, false, false]),
        (&[("Hf-Only", "level=7")], [true, true, true]),
        (&[("Hf-Only", "paid=true,tags=y")], [true, true, true]),
        (&[("Hf-Only", "tags=z")], [false, false, false]),
        (&[("Hf-Only", "missing=")], [false, false, false]),
        (&[("Hf-Only", "endpoint=chat")], [true, true, true]),
        (&[("Hf-Only", &only_dan)], [false, false, true]),
        (&[("Hf-Except-User", &ana)], [false, true, true]),
        (&[("Hf-Except-User", &except_two)], [false, true, false]),
        (&[("Hf-Except-Connection", &dan_id)], [true, true, false]),
        (&[("Hf-Only", "role=admin"), ("Hf-Except-User", &dan_token)], [true, false, false]),
    ];

    for (headers, wanted) in cases {
        let mut send = service.send(To::room(&room)).json(&json!(headers));
        for (name, value) in headers {
            send = send.header(name, value);
        }
        let receipt = send.receipt().await;

        let matched = wanted.iter().filter(|&&wanted| wanted).count() as u64;
        assert_eq!((receipt.matched, receipt.filtered), (matched, 3 - matched), "{headers:?}: {receipt:?}");
        assert!(!receipt.offline, "filtered is not offline: {receipt:?}");
        for (member, wanted) in members.iter().zip(wanted) {
            if wanted {
                assert_eq!(member.message().await.data, json!(headers));
            }
            member.nothing_more().await;
        }
    }
}

#[tokio::test]
async fn payload_is_json_if_it_parses_text_if_utf8_else_binary() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let room = unique("r");
    let client = member(&cluster, 0, &room, &Claims::of(&unique("ana"))).await;
    let bytes: Vec<u8> = (0..=255).collect();
    let binary = |bytes: &[u8]| json!({"base64": STANDARD.encode(bytes)});
    let cases: [(&[u8], Option<&str>, Value); 14] = [
        (b"{\"a\":1}", None, json!({"a": 1})),
        (b" 7 ", None, json!(7)),
        (b"hello", None, json!("hello")),
        (b"NaN", None, json!("NaN")),
        (&bytes, None, binary(&bytes)),
        ("한글 \u{2028}".as_bytes(), None, json!("한글 \u{2028}")),
        (b"", None, json!("")),
        (b"{\"a\":1}", Some("text/plain"), json!("{\"a\":1}")),
        (b"{\"a\":1}", Some("application/octet-stream"), binary(b"{\"a\":1}")),
        (b"[1]", Some("application/json; charset=utf-8"), json!([1])),
        (b"[1]", Some("application/geo+json"), json!([1])),
        (b"{\"a\":", Some("application/json"), json!("{\"a\":")),
        (b"\"\xff\"", Some("text/plain"), binary(b"\"\xff\"")),
        (b"1 2", Some("application/json"), json!("1 2")),
    ];

    for (payload, kind, data) in cases {
        let mut send = service.send(To::room(&room)).payload(payload.to_vec());
        if let Some(kind) = kind {
            send = send.header("Content-Type", kind);
        }
        send.receipt().await;
        assert_eq!(client.message().await.data, data, "{:?} as {kind:?}", String::from_utf8_lossy(payload));
    }
}

#[tokio::test]
async fn json_is_passed_on_byte_for_byte() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let client = cluster.gateway(0).connect(&user).await;
    let exact = "{\"n\":12345678901234567890.1200, \"d\":1,\"d\":2,\n \"u\":\"\\u00e9\\/\"}";

    service.send(To::user(&user)).payload(exact).receipt().await;

    let raw = client.message().await.raw;
    assert!(raw.contains(exact), "{raw}");
}

#[tokio::test]
async fn declared_json_that_is_none_leaves_a_readable_frame() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let client = cluster.gateway(0).connect(&user).await;

    for payload in [&b"{\"a\":"[..], &[b'['; 5000], b"\"\xff\"", b"1 2", b"\"\x01\""] {
        service
            .send(To::user(&user))
            .payload(payload.to_vec())
            .header("Content-Type", "application/json")
            .receipt()
            .await;
        client.message().await;
    }
}

#[tokio::test]
async fn bad_headers_are_answered_with_400() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("ana");
    let client = cluster.gateway(0).connect(&user).await;
    let (long, empty) = ("x".repeat(129), "");

    for (name, value) in [
        ("Hf-Ttl", "soon"),
        ("Hf-Ttl", "-5"),
        ("Hf-Ttl", "1.5"),
        ("Hf-Timeout", "soon"),
        ("Hf-Receipt", "maybe"),
        ("Hf-Only", "role"),
        ("Hf-Except-User", "a=zz"),
        ("Hf-Id", &long),
        ("Hf-Id", empty),
        ("Hf-Key", &long),
    ] {
        let error = service.send(To::user(&user)).header(name, value).refused().await;
        assert_eq!(error.code, "400", "{name}: {value}: {error:?}");
    }
    client.nothing_more().await;
}

/// A client that reads nothing, filled until the gateway has to queue for it.
async fn clogged(cluster: &Cluster, service: &Service, user: &str) -> RawClient {
    let client = cluster.gateway(0).client().user(user).receive_buffer(4096).raw_welcomed().await;
    let filler = json!("f".repeat(16_000));
    for _ in 0..1500 {
        let receipt = service.send(To::user(user)).json(&filler).receipt().await;
        assert_eq!(receipt.dropped, 0, "dropped while filling: {receipt:?}");
        if receipt.queued > 0 {
            return client;
        }
    }
    panic!("24 MB to a client that does not read, and nothing is queued");
}

/// Reads until a message whose data is `last`; the data of all of them but the filler.
async fn unclog(client: &mut RawClient, last: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    loop {
        let data = client.json("message").await["data"].take();
        if data.as_str().is_some_and(|text| text.len() == 16_000) {
            continue;
        }
        let ends = data == last;
        seen.push(data);
        if ends {
            return seen;
        }
    }
}

#[tokio::test]
async fn expired_message_is_not_written_any_more() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("slow");
    let mut client = clogged(&cluster, &service, &user).await;

    let send = |data: &str, ttl: &str| service.send(To::user(&user)).json(&json!(data)).header("Hf-Ttl", ttl).receipt();
    let stale = send("stale", "1").await;
    let at_once = send("at once or never", "0").await;
    let fresh = send("fresh", "60000").await;
    // Each further send is a round trip, so the millisecond is over.
    service.send(To::user(&user)).json(&json!("last")).receipt().await;

    assert_eq!((stale.matched, at_once.written, fresh.queued), (1, 0, 1), "{stale:?} {at_once:?} {fresh:?}");
    assert_eq!(unclog(&mut client, "last").await, [json!("fresh"), json!("last")]);
}

#[tokio::test]
async fn message_without_time_to_live_is_written_where_it_can_be_at_once() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("quick");
    let client = cluster.gateway(0).connect(&user).await;

    let receipt = service.send(To::user(&user)).header("Hf-Ttl", "0").receipt().await;

    assert_eq!((receipt.matched, receipt.written), (1, 1), "{receipt:?}");
    client.message().await;
}

#[tokio::test]
async fn newer_message_with_the_same_key_replaces_the_unsent_older_one() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("slow");
    let mut client = clogged(&cluster, &service, &user).await;

    for price in 0..50 {
        service.send(To::user(&user)).json(&json!(price)).header("Hf-Key", "price/a").publish().await;
    }
    service.send(To::user(&user)).json(&json!("other")).header("Hf-Key", "price/b").publish().await;
    service.send(To::user(&user)).json(&json!("last")).receipt().await;

    assert_eq!(unclog(&mut client, "last").await, [json!(49), json!("other"), json!("last")]);
}

#[tokio::test]
async fn conflation_is_per_target() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("slow");
    let mut client = clogged(&cluster, &service, &user).await;
    let room = unique("prices");
    let joined = service.ctl(To::user(&user), &json!({"do": "join", "room": room})).receipt().await;
    assert_eq!(joined.matched, 1);

    service.send(To::user(&user)).json(&json!("mine")).header("Hf-Key", "price").receipt().await;
    service.send(To::room(&room)).json(&json!("ours")).header("Hf-Key", "price").receipt().await;
    service.send(To::user(&user)).json(&json!("last")).receipt().await;

    assert_eq!(unclog(&mut client, "last").await, [json!("mine"), json!("ours"), json!("last")]);
}
