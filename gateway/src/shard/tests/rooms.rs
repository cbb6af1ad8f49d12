//! Joining and leaving rooms.

use super::*;

#[test]
fn a_rooms_messages_come_between_the_ok_to_join_and_the_ok_to_leave() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.says(&client, &json!({"type": "join", "id": 1, "room": "r"}));
    scene.hears(ToShard::Deliver(Arc::new(SharedDelivery::new(scene.delivery(vec![room("r")]), scene.router))));
    scene.hub_agrees();

    assert_eq!(scene.deliver(scene.delivery(vec![room("r")])).written, 1);
    scene.says(&client, &json!({"type": "leave", "id": 2, "room": "r"}));
    let told = scene.told();

    assert_eq!(client.types(), ["ok", "message", "ok"]);
    assert!(matches!(&told[..], [ToHub::Leave { room, .. }] if &**room == "r"), "{told:?}");
    assert_eq!(scene.deliver(scene.delivery(vec![room("r")])).matched, 0);
}

#[test]
fn what_waits_of_a_membership_that_ends_is_not_of_the_next_one() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.joined(&client, "r");
    let number = scene.shard.table.rooms.find("r").expect("joined");

    scene.says(&client, &json!({"type": "join", "id": 1, "room": "r", "since": {"epoch": "e", "seq": 1}}));
    assert_eq!(client.wire.borrow().forgotten, [number], "begins anew");
    scene.hub_agrees();
    scene.says(&client, &json!({"type": "leave", "id": 2, "room": "r"}));
    assert_eq!(client.wire.borrow().forgotten.len(), 2);
}

#[test]
fn a_join_that_comes_too_late_is_given_back() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.says(&client, &json!({"type": "join", "id": 1, "room": "r"}));
    let told = scene.told();
    let [ToHub::Join { conn, on_behalf, room, .. }] = &told[..] else { panic!("{told:?}") };
    scene.shard.closed(scene.now, client.key, ClosedBy::Network);
    scene.shard.finish_turn(scene.now);
    let told_at_end = scene.told();
    assert!(matches!(&told_at_end[..], [ToHub::Unbind { opened: true, .. }]), "{told_at_end:?}");

    scene.hears(ToShard::Joined {
        conn: *conn,
        on_behalf: *on_behalf,
        room: Arc::clone(room),
        result: Ok(Granted::default()),
    });

    assert!(matches!(&scene.told()[..], [ToHub::Leave { .. }]));
    assert!(scene.shard.is_empty());
}
