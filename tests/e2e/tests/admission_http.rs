//! Sessions over HTTP pass the same door as WebSockets, once, when they begin.

use std::net::SocketAddr;

use holdfast_harness::client::HttpSession;
use holdfast_harness::cluster::Builder;
use holdfast_harness::http::Response;
use holdfast_harness::{Cluster, To, eventually};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const NATIVE: &str = "/ws/chat/_http";

async fn cluster(settings: &[(&str, &str)]) -> Cluster {
    let on = [("HOLDFAST_SOCKJS__PATHS", "/ws"), ("HOLDFAST_FALLBACK__PATHS", "/ws/chat")];
    let with = |builder: Builder, (name, value): &(&str, &str)| builder.gateway_setting(name, value);
    on.iter().chain(settings).fold(Cluster::builder(), with).start().await
}

async fn refused(cluster: &Cluster, result: &str) -> f64 {
    let metrics = cluster.gateway(0).metrics().await;
    metrics.value("holdfast_gateway_handshakes_total", &[("result", result)]).unwrap_or_default()
}

/// The status of a refusal that says when to come again.
fn status(answer: &Response) -> u16 {
    assert!(answer.header("retry-after").is_some_and(|value| value.parse::<u64>().is_ok()), "{answer:?}");
    answer.status
}

async fn until_begun(session: impl Fn() -> HttpSession, gateway: SocketAddr) {
    eventually("a place is free again", async || {
        let answer = session().poll(gateway).await;
        if answer.body == "o\n" { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

#[tokio::test]
async fn user_has_so_many_sessions_of_either_kind_and_connections_together() {
    let cluster = cluster(&[("HOLDFAST_LIMITS__CONNECTIONS_PER_USER", "2")]).await;
    let service = cluster.service().await;
    let gateway = cluster.gateway(0);
    let address = gateway.listen();
    let ana = || HttpSession::new("/ws").user("ana");
    let first = ana();
    assert_eq!(first.frame(address).await, "o");
    assert!(first.frame(address).await.starts_with("a["), "the welcome");
    let _socket = gateway.connect("ana").await;

    assert_eq!(status(&ana().poll(address).await), 429);
    assert_eq!(status(&ana().request(address, "GET", "eventsource", "").await), 429);
    assert_eq!(status(&HttpSession::at(NATIVE).user("ana").request(address, "POST", "open", "").await), 429);
    assert_eq!(HttpSession::new("/ws").user("ben").frame(address).await, "o");
    assert!(refused(&cluster, "limit_user").await >= 3.0);

    service.ctl(To::user("ana"), &json!({"do": "disconnect", "code": 4000})).receipt().await;
    until_begun(ana, address).await;
}

#[tokio::test]
async fn node_takes_so_many_new_sessions_a_second_and_requests_of_old_ones_do_not_count() {
    let cluster = cluster(&[("HOLDFAST_LIMITS__HANDSHAKES_PER_SECOND", "4")]).await;
    let address = cluster.gateway(0).listen();
    let session = HttpSession::new("/ws").user("ana");
    assert_eq!(session.frame(address).await, "o");
    assert!(session.frame(address).await.starts_with("a["), "the welcome");

    for number in 0..20 {
        let ping = json!({"type": "ping", "id": number}).to_string();
        assert_eq!(session.send(address, &[&ping]).await.status, 204);
        assert!(session.frame(address).await.contains("pong"), "request {number}");
    }
    let attempts = (0..40).map(|number| async move {
        let user = format!("u{number}");
        if number % 2 == 0 {
            HttpSession::new("/ws").user(&user).poll(address).await
        } else {
            HttpSession::at(NATIVE).user(&user).request(address, "POST", "open", "").await
        }
    });
    let answers = futures_util::future::join_all(attempts).await;

    let refusals: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(!refusals.is_empty(), "4 at once, and some with time");
    assert!(refusals.iter().all(|answer| status(answer) == 503), "{refusals:?}");
    assert!(refused(&cluster, "rate_node").await > 0.0);
}

#[tokio::test]
async fn full_node_begins_no_session() {
    let cluster = cluster(&[("HOLDFAST_LIMITS__CONNECTIONS", "1")]).await;
    let address = cluster.gateway(0).listen();
    assert_eq!(HttpSession::new("/ws").user("ana").frame(address).await, "o");

    assert_eq!(status(&HttpSession::new("/ws").user("ben").poll(address).await), 503);
    assert_eq!(status(&HttpSession::at(NATIVE).user("ben").request(address, "POST", "open", "").await), 503);
    assert!(refused(&cluster, "limit_node").await >= 2.0);
}

#[tokio::test]
async fn address_behind_a_proxy_keeps_its_place_from_a_session_s_first_request_to_its_end() {
    let cluster = cluster(&[
        ("HOLDFAST_LIMITS__CONNECTIONS_PER_ADDRESS", "1"),
        ("HOLDFAST_LISTEN__TRUSTED_PROXIES", "127.0.0.0/8"),
    ])
    .await;
    let service = cluster.service().await;
    let address = cluster.gateway(0).listen();
    let from = |peer: &str| HttpSession::new("/ws").user("ana").header("X-Forwarded-For", peer);
    let first = from("198.51.100.7");
    assert_eq!(first.frame(address).await, "o");

    assert_eq!(status(&from("198.51.100.7").poll(address).await), 429);
    let native = HttpSession::at(NATIVE).user("ana").header("X-Forwarded-For", "198.51.100.7");
    assert_eq!(status(&native.request(address, "POST", "open", "").await), 429);
    assert!(first.frame(address).await.starts_with("a["), "the session that has the place goes on");
    assert_eq!(from("198.51.100.8").frame(address).await, "o");
    assert!(refused(&cluster, "limit_address").await >= 2.0);

    service.ctl(To::user("ana"), &json!({"do": "disconnect", "code": 4000})).receipt().await;
    until_begun(|| from("198.51.100.7"), address).await;
}

/// One request on a connection that stays: the answer's head and body.
async fn keep_alive(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    while !answer.contains("\r\n\r\n") || answer.ends_with("\r\n\r\n") {
        let mut bytes = [0; 1024];
        let read = holdfast_harness::wait::bounded("an answer", stream.read(&mut bytes)).await.expect("an answer");
        assert!(read > 0, "the connection ended: {answer}");
        answer.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    answer
}

#[tokio::test]
async fn connection_that_begins_many_sessions_needs_a_place_for_each() {
    let cluster = cluster(&[("HOLDFAST_LIMITS__CONNECTIONS_PER_ADDRESS", "2")]).await;
    let mut stream = TcpStream::connect(cluster.gateway(0).listen()).await.expect("connect");

    // What is refused for another reason takes no place.
    for _ in 0..3 {
        let answer = keep_alive(&mut stream, "/ws/0/wrong/xhr?token=none").await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    assert!(keep_alive(&mut stream, "/ws/0/first/xhr").await.ends_with("\r\n\r\no\n"));
    assert!(keep_alive(&mut stream, "/ws/0/second/xhr").await.ends_with("\r\n\r\no\n"));
    let third = keep_alive(&mut stream, "/ws/0/third/xhr").await;

    assert!(third.starts_with("HTTP/1.1 429") && third.contains("retry-after: "), "{third}");
}
