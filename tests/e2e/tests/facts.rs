//! Facts: connection, user and room transitions, each told once.

use std::collections::BTreeMap;

use holdfast_harness::{Claims, Cluster, To, unique};
use serde_json::json;

#[tokio::test]
async fn each_transition_is_told_once_and_the_user_is_offline_after_the_linger() {
    let cluster = Cluster::builder().routers(2).gateways(2).setting("HOLDFAST_ROSTER__LINGER", "500ms").start().await;
    let service = cluster.service().await;
    let (user, room) = (unique("ana.x"), unique("chat/7"));
    let mut facts = service.facts().await;

    let (one, two) = (cluster.gateway(0).connect(&user).await, cluster.gateway(1).connect(&user).await);
    let (first, second) = (one.id(), two.id());
    one.join(&room).await;
    two.join(&room).await;
    facts.until("room.occupied", &room).await;
    one.leave(&room).await;
    two.leave(&room).await;
    facts.until("room.vacated", &room).await;
    one.close().await;
    two.close().await;
    facts.until("user.offline", &user).await;

    let mut told = BTreeMap::new();
    for (what, count) in [("connection.opened", 2), ("connection.closed", 2), ("user.online", 1), ("user.offline", 1)] {
        told.insert((what.to_owned(), user.clone()), count);
    }
    for what in ["room.occupied", "room.vacated"] {
        told.insert((what.to_owned(), room.clone()), 1);
    }
    assert_eq!(facts.counts(&[&user, &room]).await, told);

    let about = facts.about(&user).await;
    let ids: std::collections::BTreeSet<_> = about.iter().map(|fact| fact.body["id"].to_string()).collect();
    assert_eq!(ids.len(), about.len(), "distinct ids: {about:?}");
    for fact in about.iter().filter(|fact| fact.what.starts_with("connection.")) {
        let connection = fact.body["connection"].as_str().expect("a connection fact names it");
        assert!([first.as_str(), second.as_str()].contains(&connection), "{fact:?}");
        assert_eq!(fact.body["user"], user.as_str(), "{fact:?}");
    }
}

#[tokio::test]
async fn user_who_comes_back_within_the_linger_was_never_offline() {
    let cluster = Cluster::builder().setting("HOLDFAST_ROSTER__LINGER", "10s").start().await;
    let service = cluster.service().await;
    let mut facts = service.facts().await;
    let client = cluster.gateway(0).connect("ana").await;
    facts.until("user.online", "ana").await;
    client.close().await;
    facts.until("connection.closed", "ana").await;

    let query = service.query("user.ana", "").await;
    let _back = cluster.gateway(0).connect("ana").await;
    // Another user's facts come behind whatever would have been told of her.
    let _other = cluster.gateway(0).connect("ben").await;
    facts.until("user.online", "ben").await;

    assert_eq!((&query["online"], &query["lingering"]), (&false.into(), &true.into()), "{query}");
    let counts = facts.counts(&["ana"]).await;
    let of = |what: &str| counts.get(&(what.to_owned(), "ana".to_owned())).copied();
    assert_eq!(
        (of("user.online"), of("user.offline"), of("connection.opened")),
        (Some(1), None, Some(2)),
        "{counts:?}"
    );
}

#[tokio::test]
async fn what_happens_while_there_is_no_router_is_told_by_the_next() {
    let mut cluster = Cluster::builder().routers(1).setting("HOLDFAST_ROSTER__LINGER", "500ms").start().await;
    let service = cluster.service().await;
    let mut facts = service.facts().await;
    let (goes, stays) = (cluster.gateway(0).connect("goes").await, cluster.gateway(0).connect("stays").await);
    goes.join("left").await;
    stays.join("held").await;
    facts.until("room.occupied", "left").await;
    facts.until("room.occupied", "held").await;

    cluster.remove_router(0);
    goes.close().await;
    facts.until("connection.closed", "goes").await;
    cluster.add_router().await;

    facts.until("room.vacated", "left").await;
    facts.until("user.offline", "goes").await;
    // Another user's facts come behind whatever would have been told of these.
    let _other = cluster.gateway(0).connect("other").await;
    facts.until("user.online", "other").await;
    let counts = facts.counts(&["stays", "held"]).await;
    let gone = counts.keys().find(|(what, _)| ["user.offline", "room.vacated"].contains(&&**what));
    assert!(gone.is_none(), "{counts:?}");
}

#[tokio::test]
async fn fact_of_a_close_names_its_cause() {
    let cluster = Cluster::builder()
        .gateways(2)
        .gateway_setting("HOLDFAST_DRAIN__DELAY", "100ms")
        .gateway_setting("HOLDFAST_DRAIN__WINDOW", "500ms")
        .start()
        .await;
    let service = cluster.service().await;
    let mut facts = service.facts().await;
    let gateway = cluster.gateway(1);
    let closes = gateway.connect("closes").await;
    let vanishes = gateway.connect("vanishes").await;
    let _kicked = gateway.connect("kicked").await;
    let _expires = gateway.client().claims(&Claims::of("expires").expires_in(2)).open().await;
    let _drained = gateway.connect("drained").await;

    closes.close().await;
    drop(vanishes);
    service.ctl(To::user("kicked"), &json!({"do": "disconnect"})).receipt().await;
    for (user, cause) in [("closes", "close"), ("vanishes", "close"), ("kicked", "ctl"), ("expires", "expired")] {
        let fact = facts.until("connection.closed", user).await;
        assert_eq!((&fact.body["cause"], &fact.body["node"]), (&json!(cause), &json!(gateway.node())), "{fact:?}");
    }
    gateway.terminate();

    assert_eq!(facts.until("connection.closed", "drained").await.body["cause"], "drain");
}

#[tokio::test]
async fn joins_are_told_of_rooms_that_ask_for_it() {
    let cluster = Cluster::builder().setting("HOLDFAST_ROOMS__ANNOUNCE", "party/*").start().await;
    let service = cluster.service().await;
    let mut facts = service.facts().await;
    let client = cluster.gateway(0).connect("ana").await;

    client.join("quiet").await;
    client.join("party/1").await;
    client.leave("party/1").await;

    let joined = facts.until("room.joined", "party/1").await;
    let left = facts.until("room.left", "party/1").await;
    assert_eq!(
        (&joined.body["room"], &left.body["room"]),
        (&"party/1".into(), &"party/1".into()),
        "{joined:?} {left:?}"
    );
    facts.until("room.vacated", "party/1").await;
    let counts = facts.counts(&["quiet"]).await;
    assert!(!counts.contains_key(&("room.joined".to_owned(), "quiet".to_owned())), "{counts:?}");
}
