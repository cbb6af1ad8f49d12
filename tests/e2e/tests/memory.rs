//! A node that is short of memory: nobody new, the slowest clients first to go, and back to normal after.

use std::time::Duration;

use holdfast_harness::wait::within;
use holdfast_harness::{Cluster, To, http};
use serde_json::json;

#[tokio::test]
async fn node_short_of_memory_closes_its_slowest_clients_lets_nobody_in_and_recovers() {
    let cluster = Cluster::builder()
        .gateway_setting("HOLDFAST_LIMITS__MEMORY_MAX", "160MiB")
        .gateway_setting("HOLDFAST_OUTBOX_BYTES_MAX", "64MiB")
        .start()
        .await;
    let (service, gateway) = (cluster.service().await, cluster.gateway(0));
    let reader = gateway.connect("reader").await;
    let mut slow = Vec::new();
    for number in 0..6 {
        slow.push(gateway.client().user(&format!("slow{number}")).receive_buffer(4096).raw_welcomed().await);
    }
    // Each message is another one: copies of the same would cost nothing.
    let filler = "f".repeat(500_000);
    let mut refused = None;
    within(Duration::from_secs(90), "nobody new is let in", async || {
        for number in 0..6 {
            service.send(To::user(&format!("slow{number}"))).payload(filler.clone()).attempt().await;
        }
        match gateway.client().user("new").try_open().await {
            Ok(_) => Err("they are".to_owned()),
            Err(answer) => {
                refused = Some(answer);
                Ok(())
            }
        }
    })
    .await;
    let refused = refused.expect("an answer");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")), "{refused:?}");

    within(Duration::from_secs(30), "the node recovers", async || {
        let answer = http::get(gateway.admin(), "/readyz").await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    gateway.connect("newcomer").await;
    reader.ping().await;
    assert_eq!(http::get(gateway.admin(), "/livez").await.status, 200);
    let metrics = gateway.metrics().await;
    let count = |name: &str| metrics.value(name, &[]).unwrap_or_default();
    assert!(count("holdfast_gateway_memory_closed_total") >= 1.0, "{}", metrics.text());
    assert!(count("holdfast_gateway_memory_pressed").abs() < 0.5);
    let closed = [("reason", "slow_consumer")];
    assert!(metrics.value("holdfast_gateway_connections_closed_total", &closed).is_some());
    assert_eq!(service.send(To::user("reader")).json(&json!(1)).receipt().await.written, 1);
}
