//! What others see of the node: whether it serves, and the facts it tells.

use super::*;

#[test]
fn without_bus_or_router_nobody_new_is_served() {
    let mut scene = Scene::new(&[]);
    assert_eq!(scene.hub.serving(scene.now), Serving::Soon);
    scene.passes(2000);
    assert_eq!(scene.hub.serving(scene.now), Serving::NoRouter);
    assert!(scene.told_shards().iter().any(|(_, m)| matches!(m, ToShard::Unserved)));

    scene.beats(1, RouterState::Live, &[]);
    assert_eq!(scene.hub.serving(scene.now), Serving::Yes);
    scene.hub.on_bus(scene.now, &mut scene.edge, false);

    assert_eq!(scene.hub.serving(scene.now), Serving::NoBus);
    assert!(scene.told_shards().iter().any(|(_, m)| matches!(m, ToShard::Unserved)));
    scene.hub.on_bus(scene.now, &mut scene.edge, true);
    assert!(scene.told_shards().iter().any(|(_, m)| matches!(m, ToShard::Lost)), "what came meanwhile is lost");
}

#[test]
fn connection_facts_name_the_user_and_the_cause() {
    let mut scene = Scene::new(&[1]);
    let id = scene.binds(1, "a.b", false);
    scene.says(ToHub::Opened { id, user: "a.b".into() });
    scene.says(ToHub::Unbind { id, user: "a.b".into(), shard: 0, cause: Cause::Expired, opened: true });

    let facts = scene.published("hf.event.");

    let subjects: Vec<_> = facts.iter().map(|fact| fact.subject.as_str()).collect();
    assert_eq!(subjects, ["hf.event.connection.opened.a=2Eb", "hf.event.connection.closed.a=2Eb"]);
    let body: serde_json::Value = serde_json::from_slice(&facts[1].payload).expect("JSON");
    assert_eq!((body["cause"].as_str(), body["user"].as_str()), (Some("expired"), Some("a.b")));
    assert_eq!(body["connection"], serde_json::json!(id));
}
