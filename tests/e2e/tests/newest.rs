//! The device policy "newest replaces".

use holdfast_harness::{Cluster, To, eventually};

#[tokio::test]
async fn newer_connection_of_a_user_replaces_the_older_one_on_whatever_node() {
    let cluster =
        Cluster::builder().routers(2).gateways(2).setting("HOLDFAST_SESSION__DEVICES", "newest").start().await;
    let service = cluster.service().await;

    for (older, newer) in [(0, 1), (1, 1)] {
        let user = format!("ana{older}{newer}");
        let old = cluster.gateway(older).connect(&user).await;
        let new = cluster.gateway(newer).connect(&user).await;

        assert_eq!(old.ended().await.code, 4001);
        service.until_matched(&To::user(&user), 1).await;
        new.ping().await;
    }
}

#[tokio::test]
async fn of_many_at_once_one_is_left() {
    let cluster =
        Cluster::builder().routers(2).gateways(2).setting("HOLDFAST_SESSION__DEVICES", "newest").start().await;
    let service = cluster.service().await;

    let connecting = (0..20).map(|number| cluster.gateway_in_turn(number).connect("ana"));
    let clients = futures_util::future::join_all(connecting).await;

    service.until_matched(&To::user("ana"), 1).await;
    eventually("all but one are closed", async || {
        let open = clients.iter().filter(|client| client.is_open()).count();
        if open == 1 { Ok(()) } else { Err(format!("{open} are open")) }
    })
    .await;
}

#[tokio::test]
async fn all_devices_stay_by_default() {
    let cluster = holdfast_harness::cluster::shared().await;
    let service = cluster.service().await;
    let user = holdfast_harness::unique("ana");

    let clients = [cluster.gateway(0).connect(&user).await, cluster.gateway(1).connect(&user).await];

    assert_eq!(service.send(To::user(&user)).receipt().await.matched, 2);
    clients[0].ping().await;
}
