//! wss.

use holdfast_harness::{Cluster, Service, To, http};
use rustls::version::{TLS12, TLS13};
use serde_json::json;

#[tokio::test]
async fn tls_listener_speaks_1_2_and_1_3() {
    let cluster = Cluster::builder().tls().start().await;
    let service: Service = cluster.service().await;

    for version in [&TLS12, &TLS13] {
        let tls = cluster.certificate().client(&[version]);
        let client = cluster.gateway(0).client().tls(tls).user("ana").open().await;
        client.join("r").await;

        for number in 0..200 {
            service.send(To::room("r")).json(&json!([number, "x".repeat(number * 50)])).publish().await;
        }
        for number in 0..200 {
            assert_eq!(client.message().await.data, json!([number, "x".repeat(number * 50)]));
        }
        client.ping().await;
        client.close().await;
    }
}

#[tokio::test]
async fn tls_listener_says_nothing_in_the_clear() {
    let cluster = Cluster::builder().tls().start().await;
    let gateway = cluster.gateway(0);

    if let Ok(status) = gateway.client().user("ana").status().await {
        assert_eq!(status, 400, "an answer in the clear");
    }

    let tls = cluster.certificate().client(&[&TLS13]);
    gateway.client().tls(tls).user("ana").open().await;
    assert_eq!(http::get(gateway.admin(), "/livez").await.status, 200);
}

#[tokio::test]
async fn large_messages_pass_over_tls_both_ways() {
    let cluster = Cluster::builder().tls().start().await;
    let service = cluster.service().await;
    let tls = cluster.certificate().client(&[&TLS13]);
    let client = cluster.gateway(0).client().tls(tls).user("ana").open().await;
    let mut upstream = service.listen("hf.up.chat.big").await;
    let (down, up) = ("d".repeat(500_000), "u".repeat(60_000));

    service.send(To::user("ana")).json(&json!(down)).receipt().await;
    client.ok(json!({"type": "send", "to": "big", "data": up})).await;

    assert!(client.message().await.data == json!(down));
    assert!(upstream.next().await.payload == json!(up).to_string());
}
