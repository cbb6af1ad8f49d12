//! Fleets on a NATS of several servers.

use holdfast_harness::{Cluster, To};
use serde_json::json;

#[tokio::test]
async fn one_of_two_nats_servers_may_die() {
    let cluster = Cluster::builder().routers(2).gateways(3).nats_pair().start().await;
    let service = cluster.service().await;
    let mut clients = Vec::new();
    for number in 0..6 {
        let client = cluster.gateway_in_turn(number).connect(&format!("u{number}")).await;
        client.join("r").await;
        clients.push(client);
    }

    cluster.second_nats().stop();

    cluster.whole().await;
    service.until_matched(&To::room("r"), 6).await;
    for (number, client) in clients.iter().enumerate() {
        client.join(&format!("new{number}")).await;
        assert_eq!(service.send(To::room(&format!("new{number}"))).receipt().await.matched, 1);
        client.ok(json!({"type": "send", "to": "x", "data": 1})).await;
    }
}
