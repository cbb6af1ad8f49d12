//! The roster after gateways die or freeze, and after the bus was away.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_harness::proxy::Link;
use holdfast_harness::wait::pause;
use holdfast_harness::{Client, Cluster, Service, To, eventually, http};
use serde_json::{Value, json};

use crate::routers::routers_are;

async fn nodes(service: &Service) -> Result<Vec<(String, String)>, String> {
    let answer = service.try_query("nodes", "").await?;
    let list = answer["nodes"].as_array().ok_or_else(|| answer.to_string())?;
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    Ok(list.iter().map(|node| (text(&node["node"]), text(&node["state"]))).collect())
}

/// Waits until the routers' word on a node is this; `None`: not listed.
async fn node_is(service: &Service, node: &str, state: Option<&str>) {
    eventually(&format!("{node} is {state:?}"), async || {
        let nodes = nodes(service).await?;
        let found = nodes.iter().find(|(id, _)| id == node).map(|(_, state)| state.as_str());
        if found == state { Ok(()) } else { Err(format!("{nodes:?}")) }
    })
    .await;
}

/// Waits until the roster tells the truth about a connection: the rooms it is in, where it is the only member.
async fn rooms_are(service: &Service, client: &Client, rooms: &[&str]) {
    rooms_of(service, client, rooms).await;
    for room in rooms {
        service.until_matched(&To::room(room), 1).await;
    }
}

/// Waits until a query about a connection names these rooms.
async fn rooms_of(service: &Service, client: &Client, rooms: &[&str]) {
    let (id, wanted): (_, BTreeSet<_>) = (client.id(), rooms.iter().map(|room| json!(room).to_string()).collect());
    eventually(&format!("the roster has {id} in {rooms:?}"), async || {
        let answer = service.try_query(&format!("connection.{id}"), "").await?;
        let list = answer["rooms"].as_array().ok_or_else(|| answer.to_string())?;
        let found: BTreeSet<_> = list.iter().map(ToString::to_string).collect();
        if found == wanted { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

async fn told_of_a_gap(client: &Client) {
    let gap = client.frame("a gap", 0, |frame| frame["type"] == "gap").await;
    assert_eq!(gap, json!({"type": "gap", "all": true}));
}

#[tokio::test]
async fn killed_gateway_is_off_the_roster() {
    let mut cluster =
        Cluster::builder().routers(2).gateways(2).setting("HOLDFAST_ROSTER__LINGER", "500ms").start().await;
    let service = cluster.service().await;
    let mut facts = service.facts().await;
    let stays = cluster.gateway(0).connect("stays").await;
    let gone = cluster.gateway(1).connect("gone").await;
    stays.join("both").await;
    gone.join("both").await;
    gone.join("alone").await;
    facts.until("room.occupied", "alone").await;
    let node = cluster.gateway(1).node().to_owned();

    cluster.remove_gateway(1);

    node_is(&service, &node, None).await;
    for (to, matched) in [(To::user("gone"), 0), (To::room("alone"), 0), (To::room("both"), 1), (To::user("stays"), 1)]
    {
        let receipt = service.until_matched(&to, matched).await;
        assert_eq!((receipt.nodes, receipt.late_nodes), (matched, 0), "{receipt:?}");
    }
    let lost = facts.until("node.lost", &node).await;
    assert_eq!(lost.body["node"], node.as_str(), "{lost:?}");
    assert_eq!(facts.until("user.offline", "gone").await.body["cause"], "node_lost");
    assert_eq!(facts.until("room.vacated", "alone").await.body["cause"], "node_lost");
    let counts = facts.counts(&["gone", "alone", "both", "stays", &node]).await;
    let of = |what: &str, key: &str| counts.get(&(what.to_owned(), key.to_owned())).copied().unwrap_or(0);
    assert_eq!(of("connection.closed", "gone"), 0, "nobody saw them close");
    assert_eq!(
        (of("node.lost", &node), of("room.vacated", "both"), of("user.offline", "stays")),
        (1, 0, 0),
        "{counts:?}"
    );
    assert_eq!((of("user.offline", "gone"), of("room.vacated", "alone")), (1, 1), "{counts:?}");
}

#[tokio::test]
async fn receipt_does_not_wait_for_a_node_that_has_died() {
    let mut cluster = Cluster::builder().routers(2).gateways(2).start().await;
    let service = cluster.service().await;
    let clients = [cluster.gateway(0).connect("ana").await, cluster.gateway(1).connect("ana").await];

    // Longer than the request waits: only an early answer is one.
    let send = service.send(To::user("ana")).header("Hf-Receipt", "acked").header("Hf-Timeout", "120000");
    let die = async {
        let message = clients[0].message().await;
        clients[0].ack(&[&message.id]).await;
        clients[1].message().await;
        cluster.remove_gateway(1);
    };
    let (receipt, ()) = tokio::join!(send.receipt(), die);

    assert_eq!(receipt.acked, 1, "{receipt:?}");
}

#[tokio::test]
async fn restarted_gateway_is_a_new_node_and_its_clients_come_back_anywhere() {
    let mut cluster = Cluster::builder().routers(2).gateways(2).start().await;
    let service = cluster.service().await;
    let old = cluster.gateway(1).connect("ana").await;
    let old_node = cluster.gateway(1).node().to_owned();

    cluster.remove_gateway(1);
    let here = cluster.gateway(0).connect("ana").await;
    cluster.add_gateway().await;
    cluster.whole().await;
    let there = cluster.gateway(1).connect("ana").await;

    assert_eq!(old.ended().await.code, 1006);
    assert_ne!(cluster.gateway(1).node(), old_node);
    service.until_matched(&To::user("ana"), 2).await;
    here.message().await;
    there.message().await;
}

#[tokio::test]
async fn frozen_gateway_is_late_then_live_again_with_all_its_sockets() {
    let cluster = Cluster::builder().routers(2).gateways(2).start().await;
    let service = cluster.service().await;
    let client = cluster.gateway(1).connect("ana").await;
    client.join("r").await;
    let node = cluster.gateway(1).node();

    cluster.gateway(1).freeze().await;
    node_is(&service, node, Some("late")).await;
    let send = service.send(To::room("r")).json(&json!("meanwhile")).header("Hf-Timeout", "400");
    let receipt = send.receipt().await;
    assert_eq!((receipt.matched, receipt.late_nodes, receipt.offline), (0, 1, false), "{receipt:?}");
    cluster.gateway(1).thaw();

    node_is(&service, node, Some("live")).await;
    rooms_are(&service, &client, &["r"]).await;
    assert!(client.data().contains(&json!("meanwhile")), "still sent to while it is late");
    assert!(client.is_open());
}

#[tokio::test]
async fn gateway_frozen_for_too_long_is_lost_and_comes_back_with_all_its_sockets() {
    let cluster =
        Cluster::builder().routers(2).gateways(2).setting("HOLDFAST_ROSTER__NODE_TIMEOUT", "4s").start().await;
    let service = cluster.service().await;
    let mut facts = service.facts().await;
    let client = cluster.gateway(1).connect("ana").await;
    client.join("r").await;
    let node = cluster.gateway(1).node();

    cluster.gateway(1).freeze().await;
    node_is(&service, node, None).await;
    facts.until("node.lost", node).await;
    assert!(service.send(To::user("ana")).receipt().await.offline, "out is out");
    cluster.gateway(1).thaw();

    node_is(&service, node, Some("live")).await;
    told_of_a_gap(&client).await;
    rooms_are(&service, &client, &["r"]).await;
    service.until_matched(&To::user("ana"), 1).await;
    client.join("another").await;
    assert_eq!(service.send(To::room("another")).receipt().await.matched, 1);
}

#[tokio::test]
async fn sockets_stay_while_nats_restarts_and_the_roster_is_whole_again() {
    let mut cluster = Cluster::builder().routers(2).gateways(2).start().await;
    let service = cluster.service().await;
    let clients = [cluster.gateway(0).connect("ana").await, cluster.gateway(1).connect("ben").await];
    for client in &clients {
        client.join("r").await;
    }

    cluster.nats().stop();
    let error = clients[0].refused(json!({"type": "send", "to": "x", "data": 1}), "bus_unavailable").await;
    assert_eq!(error["retry"], true, "{error}");
    clients[0].ping().await;
    eventually("the gateways are unready", async || {
        let answer = http::get(cluster.gateway(0).admin(), "/readyz").await;
        if answer.status == 503 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    assert_eq!(http::get(cluster.gateway(0).admin(), "/livez").await.status, 200);
    cluster.nats_mut().restart().await;

    cluster.whole().await;
    service.until_matched(&To::room("r"), 2).await;
    for client in &clients {
        told_of_a_gap(client).await;
        client.ok(json!({"type": "send", "to": "x", "data": 1})).await;
        client.join("later").await;
    }
    assert_eq!(service.send(To::room("later")).receipt().await.matched, 2);
}

#[tokio::test]
async fn nats_gone_for_seconds_leaves_a_roster_that_tells_the_truth() {
    let mut cluster = Cluster::builder().routers(1).gateways(2).start().await;
    let service = cluster.service().await;
    let stays = cluster.gateway(0).connect("stays").await;
    let leaves = cluster.gateway(1).connect("leaves").await;
    stays.join("kept").await;
    stays.join("left").await;
    leaves.join("kept").await;

    cluster.nats().stop();
    pause(Duration::from_secs(4)).await;
    stays.leave("left").await;
    leaves.close().await;
    let refused = cluster.gateway(0).client().user("new").refused().await;
    let join = stays.ask(json!({"type": "join", "room": "new"})).await;
    cluster.nats_mut().restart().await;

    assert!(refused.status == 503 && refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!((&join["type"], &join["retry"]), (&json!("error"), &json!(true)), "{join}");
    cluster.whole().await;
    rooms_are(&service, &stays, &["kept"]).await;
    for gone in [To::user("leaves"), To::room("left"), To::room("new"), To::user("new")] {
        service.until_matched(&gone, 0).await;
    }
}

#[tokio::test]
async fn gateway_cut_off_from_the_bus_for_seconds_heals() {
    let cluster = Cluster::builder().routers(2).gateways(2).proxied().start().await;
    let service = cluster.service().await;
    let client = cluster.gateway(1).connect("ana").await;
    let leaves = cluster.gateway(1).connect("ben").await;
    let witness = cluster.gateway(0).connect("witness").await;
    for room in ["kept", "left"] {
        client.join(room).await;
    }
    let node = cluster.gateway(1).node();

    cluster.gateway(1).proxy().set(Link::Cut);
    node_is(&service, node, None).await;
    client.refused(json!({"type": "send", "to": "x", "data": 1}), "bus_unavailable").await;
    client.leave("left").await;
    leaves.close().await;
    assert_eq!(service.send(To::user("witness")).receipt().await.matched, 1, "others are unharmed");
    cluster.gateway(1).proxy().set(Link::Open);

    node_is(&service, node, Some("live")).await;
    rooms_are(&service, &client, &["kept"]).await;
    told_of_a_gap(&client).await;
    for gone in [To::room("left"), To::user("ben")] {
        service.until_matched(&gone, 0).await;
    }
    assert!(witness.frames_of("gap").is_empty());
    client.ok(json!({"type": "send", "to": "x", "data": 1})).await;
}

#[tokio::test]
async fn gateway_whose_bus_stalls_is_late_and_recovers() {
    let cluster = Cluster::builder().routers(2).gateways(2).proxied().start().await;
    let service = cluster.service().await;
    let client = cluster.gateway(1).connect("ana").await;
    client.join("r").await;
    let node = cluster.gateway(1).node();

    cluster.gateway(1).proxy().set(Link::Stalled);
    node_is(&service, node, Some("late")).await;
    let error = client.ask(json!({"type": "send", "to": "x", "data": 1})).await;
    assert_eq!((&error["code"], &error["retry"]), (&json!("bus_unavailable"), &json!(true)), "not silence: {error}");
    cluster.gateway(1).proxy().set(Link::Open);

    node_is(&service, node, Some("live")).await;
    rooms_are(&service, &client, &["r"]).await;
    client.join("more").await;
    client.ok(json!({"type": "send", "to": "x", "data": 1})).await;
}

/// What a router's broken link must not do: lose the others' receipts, duplicate, or come back with an old roster.
async fn router_link_breaks(link: Link) {
    let cluster = Cluster::builder().routers(2).gateways(2).proxied().start().await;
    let service = cluster.service().await;
    let clients = [cluster.gateway(0).connect("ana").await, cluster.gateway(1).connect("ben").await];
    for number in 0..20 {
        for client in &clients {
            client.join(&format!("r{number}")).await;
        }
    }

    cluster.router(0).proxy().set(link);
    for number in 0..20 {
        service.until_matched(&To::room(&format!("r{number}")), 2).await;
    }
    for number in 0..10 {
        clients[0].leave(&format!("r{number}")).await;
        clients[0].join(&format!("s{number}")).await;
    }
    clients[1].ping().await;
    let mut ids = BTreeSet::new();
    for message in clients[1].messages() {
        assert!(ids.insert(message.id.clone()), "twice: {message:?}");
    }
    cluster.router(0).proxy().set(Link::Open);
    cluster.whole().await;

    // With either router's roster, whichever owns them now.
    for number in 0..10 {
        assert_eq!(service.send(To::room(&format!("r{number}"))).receipt().await.matched, 1);
        assert_eq!(service.send(To::room(&format!("s{number}"))).receipt().await.matched, 1);
    }
}

#[tokio::test]
async fn router_cut_off_from_the_bus_does_no_harm_and_comes_back() {
    router_link_breaks(Link::Cut).await;
}

#[tokio::test]
async fn router_whose_bus_stalls_does_no_harm_and_comes_back() {
    router_link_breaks(Link::Stalled).await;
}

#[tokio::test]
async fn router_that_was_given_up_serves_alone_when_nobody_is_left_who_did_it() {
    let mut cluster = Cluster::builder().routers(6).gateways(2).proxied().start().await;
    let service = cluster.service().await;
    let clients = [cluster.gateway(0).connect("ana").await, cluster.gateway(1).connect("ben").await];
    for client in &clients {
        client.join("r").await;
    }

    cluster.router(0).proxy().set(Link::Cut);
    // Who leaves raises the term before the first is given up: that one comes back below its fence.
    for number in 2..6 {
        cluster.router(number).terminate();
    }
    routers_are(&service, 1).await;
    for _ in 1..6 {
        cluster.remove_router(1);
    }
    cluster.router(0).proxy().set(Link::Open);

    service.until_matched(&To::room("r"), 2).await;
    for client in &clients {
        client.join("later").await;
    }
    assert_eq!(service.send(To::room("later")).receipt().await.matched, 2);
}

#[tokio::test]
async fn slow_bus_is_only_slow() {
    let cluster = Cluster::builder().routers(1).gateways(1).proxied().start().await;
    let service = cluster.service().await;
    let client = cluster.gateway(0).connect("ana").await;

    cluster.gateway(0).proxy().set(Link::Slow(Duration::from_millis(50)));
    for number in 0..5 {
        client.join(&format!("r{number}")).await;
        let send = service.send(To::room(&format!("r{number}"))).header("Hf-Timeout", "10000");
        assert_eq!(send.receipt().await.matched, 1);
        client.message().await;
    }
}

#[tokio::test]
async fn frozen_nats_is_no_worse_than_a_restarted_one() {
    let cluster = Cluster::builder().routers(2).gateways(2).start().await;
    let service = cluster.service().await;
    let clients = [cluster.gateway(0).connect("ana").await, cluster.gateway(1).connect("ben").await];
    for client in &clients {
        client.join("r").await;
    }

    cluster.nats().process().freeze().await;
    pause(Duration::from_secs(3)).await;
    clients[0].ping().await;
    cluster.nats().process().thaw();

    cluster.whole().await;
    for client in &clients {
        rooms_of(&service, client, &["r"]).await;
        client.join("later").await;
        client.ok(json!({"type": "send", "to": "x", "data": 1})).await;
    }
    assert_eq!(service.send(To::room("later")).receipt().await.matched, 2);
}

#[tokio::test]
async fn only_router_frozen_for_seconds_comes_back_with_the_whole_roster() {
    let cluster = Cluster::builder().routers(1).gateways(2).start().await;
    let service = cluster.service().await;
    let clients = [cluster.gateway(0).connect("ana").await, cluster.gateway(1).connect("ben").await];
    for client in &clients {
        client.join("r").await;
    }

    cluster.router(0).freeze().await;
    eventually("the gateways miss their router", async || {
        let answer = http::get(cluster.gateway(0).admin(), "/readyz").await;
        if answer.status == 503 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    clients[0].leave("r").await;
    clients[1].close().await;
    cluster.router(0).thaw();

    cluster.whole().await;
    service.until_matched(&To::room("r"), 0).await;
    service.until_matched(&To::user("ben"), 0).await;
    service.until_matched(&To::user("ana"), 1).await;
    clients[0].join("r").await;
    assert_eq!(service.send(To::room("r")).receipt().await.matched, 1);
}
