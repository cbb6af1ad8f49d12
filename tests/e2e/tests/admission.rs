//! Who is let in at all: bounds per node, address and user, and proxies that speak for others.

use futures_util::future::join_all;
use holdfast_harness::client::Payload;
use holdfast_harness::{Claims, Client, Cluster, To, eventually};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn refused(cluster: &Cluster, result: &str) -> f64 {
    let metrics = cluster.gateway(0).metrics().await;
    metrics.value("holdfast_gateway_handshakes_total", &[("result", result)]).unwrap_or_default()
}

/// Connects until this many were answered with `status`; the clients that got in.
async fn until_refused(cluster: &Cluster, attempts: usize, status: u16) -> (Vec<Client>, usize) {
    let (mut clients, mut refusals) = (Vec::new(), 0);
    for number in 0..attempts {
        match cluster.gateway(0).client().user(&format!("u{number}")).try_open().await {
            Ok(client) => clients.push(client),
            Err(answer) => {
                assert_eq!(answer.status, status, "{answer:?}");
                assert!(answer.header("retry-after").is_some_and(|value| value.parse::<u64>().is_ok()), "{answer:?}");
                refusals += 1;
            }
        }
    }
    (clients, refusals)
}

#[tokio::test]
async fn address_with_too_many_connections_is_closed_before_anything_is_done_for_it() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_LIMITS__CONNECTIONS_PER_ADDRESS", "3").start().await;
    let gateway = cluster.gateway(0);
    let clients = [gateway.connect("a").await, gateway.connect("b").await, gateway.connect("c").await];

    let refusal = gateway.client().user("d").status().await;
    assert!(refusal.is_err(), "no answer at all: {refusal:?}");
    assert!(refused(&cluster, "limit_address").await >= 1.0);

    clients[0].close().await;
    eventually("a place is free again", async || {
        gateway.client().user("d").status().await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test]
async fn address_behind_a_trusted_proxy_is_refused_with_429_and_others_are_not() {
    let cluster = Cluster::builder()
        .gateway_setting("HOLDFAST_LIMITS__CONNECTIONS_PER_ADDRESS", "1")
        .gateway_setting("HOLDFAST_LISTEN__TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")
        .start()
        .await;
    let from = |address: &str| cluster.gateway(0).client().user("ana").header("X-Forwarded-For", address);
    let first = from("198.51.100.7").open().await;

    // What is left of the right-most stranger anybody can write.
    for address in ["198.51.100.7", "203.0.113.9, 198.51.100.7", "203.0.113.9, 198.51.100.7:80, 10.1.2.3"] {
        let answer = from(address).try_open().await.expect_err(address);
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (429, true), "{answer:?}");
    }
    let second = from("198.51.100.8").open().await;
    first.ping().await;
    second.ping().await;
    assert!(refused(&cluster, "limit_address").await >= 3.0);
}

#[tokio::test]
async fn header_of_a_stranger_is_not_believed() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_LIMITS__CONNECTIONS_PER_ADDRESS", "1").start().await;
    let from = |address: &str| cluster.gateway(0).client().user("ana").header("X-Forwarded-For", address);
    let _first = from("198.51.100.7").open().await;

    assert!(from("198.51.100.8").status().await.is_err(), "both are the loopback address");
}

/// A head of the PROXY protocol, version 2, for a client of this address.
fn proxy_v2(address: [u8; 4]) -> Vec<u8> {
    let mut head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    head.extend(address);
    head.extend([10, 0, 0, 1, 0x12, 0x34, 1, 187]);
    head
}

/// The status of a handshake behind these bytes; `None` where the connection ends without one.
async fn status_behind(cluster: &Cluster, head: &[u8], user: &str) -> (Option<u16>, TcpStream) {
    let address = cluster.gateway(0).listen();
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let request = format!(
        "GET /ws/chat HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: holdfast.v1.json\r\nAuthorization: Bearer {}\r\n\r\n",
        Claims::of(user).sign()
    );
    // The peer may have ended the connection already: then there is nothing to read either.
    drop(stream.write_all(&[head, request.as_bytes()].concat()).await);
    let mut answer = [0; 12];
    let read = holdfast_harness::wait::bounded("an answer or the end", stream.read_exact(&mut answer)).await;
    let status = read.ok().map(|_| String::from_utf8_lossy(&answer[9..]).parse().expect("a status"));
    (status, stream)
}

#[tokio::test]
async fn balancer_names_its_clients_by_the_proxy_protocol() {
    let cluster = Cluster::builder()
        .gateway_setting("HOLDFAST_LISTEN__PROXY_PROTOCOL", "true")
        .gateway_setting("HOLDFAST_LIMITS__CONNECTIONS_PER_ADDRESS", "1")
        .start()
        .await;

    let (first, _open) = status_behind(&cluster, &proxy_v2([198, 51, 100, 7]), "ana").await;
    let (same, _) = status_behind(&cluster, &proxy_v2([198, 51, 100, 7]), "ben").await;
    let (other, _also_open) = status_behind(&cluster, b"PROXY TCP4 198.51.100.8 10.0.0.1 4711 443\r\n", "eve").await;
    let (none, _) = status_behind(&cluster, b"", "joe").await;

    assert_eq!((first, same, other, none), (Some(101), None, Some(101), None));
    assert!(refused(&cluster, "proxy").await >= 1.0 && refused(&cluster, "limit_address").await >= 1.0);
}

#[tokio::test]
async fn user_with_too_many_connections_gets_429_or_4429() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_LIMITS__CONNECTIONS_PER_USER", "2").start().await;
    let service = cluster.service().await;
    let gateway = cluster.gateway(0);
    let first = gateway.connect("ana").await;
    let _second = gateway.client().open_with_first_message(&Claims::of("ana").sign()).await;

    let answer = gateway.client().user("ana").try_open().await.expect_err("a third one");
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (429, true), "{answer:?}");
    let third = gateway.client().pending().await;
    third.tell(json!({"type": "auth", "id": 1, "token": Claims::of("ana").sign()})).await;
    assert_eq!(third.ended().await.code, 4429);
    gateway.connect("ben").await;

    first.close().await;
    service.until_matched(&To::user("ana"), 1).await;
    eventually("a place is free again", async || match gateway.client().user("ana").try_open().await {
        Ok(_) => Ok(()),
        Err(answer) => Err(format!("{answer:?}")),
    })
    .await;
    assert!(refused(&cluster, "limit_user").await >= 1.0);
}

#[tokio::test]
async fn more_handshakes_than_a_node_takes_in_a_second_are_answered_with_503() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_LIMITS__HANDSHAKES_PER_SECOND", "5").start().await;
    let attempts = (0..40).map(|number| cluster.gateway(0).client().user(&format!("u{number}")).try_open());

    let answers = join_all(attempts).await;

    let refusals: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(!refusals.is_empty() && refusals.len() <= 35, "5 at once, and some with time: {}", refusals.len());
    for answer in refusals {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")), "{answer:?}");
    }
    assert!(refused(&cluster, "rate_node").await > 0.0);
    eventually("the node takes handshakes again", async || {
        cluster.gateway(0).client().user("later").try_open().await.map(|_| ()).map_err(|answer| format!("{answer:?}"))
    })
    .await;
}

#[tokio::test]
async fn full_node_answers_503_and_says_when_to_come_again() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_LIMITS__CONNECTIONS", "2").start().await;

    let (clients, refusals) = until_refused(&cluster, 4, 503).await;

    assert_eq!((clients.len(), refusals), (2, 2));
    assert!(refused(&cluster, "limit_node").await >= 2.0);
}

#[tokio::test]
async fn front_ends_that_come_back_for_ever_with_an_expired_token_are_bounded_by_their_address() {
    let cluster =
        Cluster::builder().gateway_setting("HOLDFAST_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS", "1").start().await;
    let front_end = || cluster.gateway(0).client().protocols(&["v12.stomp"]);
    let client = front_end().endpoint_default().await;
    client
        .tell(&format!("CONNECT\naccept-version:1.2\ntoken:{}\n\n\0", Claims::of("ana").expires_in(-60).sign()))
        .await;
    assert!(matches!(client.payload().await, Payload::Text(frame) if frame.starts_with("ERROR\n")));
    assert_eq!(client.ended().await.code, 4003);

    let again = join_all((0..40).map(|_| front_end().status())).await;

    let through = again.iter().filter(|status| status.is_ok()).count();
    assert!(through < again.len(), "all of {through} at once were looked at");
    assert!(refused(&cluster, "rate_address").await > 0.0);
}
