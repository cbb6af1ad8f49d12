//! A node that is short: of memory, or of places for a user.

use super::*;

impl Scene {
    /// A client behind by so many messages of 8 KiB.
    fn slow(&mut self, name: &str, messages: usize) -> Client {
        let client = self.client(name, None);
        client.wire.borrow_mut().clogged = true;
        for _ in 0..messages {
            let text = format!("\"{}\"", "x".repeat(8192));
            let delivery = Delivery { payload: Bytes::from(text), ..self.delivery(vec![user(name)]) };
            self.deliver(delivery);
        }
        client
    }

    fn sweeps(&mut self) {
        for _ in 0..3 {
            self.now.ms += 1000;
            self.shard.tick(self.now);
            self.shard.finish_turn(self.now);
        }
    }
}

#[test]
fn the_fullest_queues_go_first_and_no_more_of_them_than_it_takes() {
    let mut scene = Scene::new();
    let clients = [scene.slow("little", 3), scene.slow("most", 20), scene.slow("much", 10), scene.client("none", None)];
    let pending = scene.pending(None);
    scene.sweeps();
    let queued = scene.shard.cells().outbox_bytes.value();
    assert!((33 * 8192..40 * 8192).contains(&queued), "{queued}");

    scene.hears(ToShard::Relieve { bytes: 8192 });
    let closed = |clients: &[Client]| clients.iter().map(Client::closed_with).collect::<Vec<_>>();
    assert_eq!(closed(&clients), [None, Some(4008), None, None]);
    assert_eq!(pending.closed_with(), Some(Close::Overload.code()), "nobody's yet");

    scene.sweeps();
    scene.hears(ToShard::Relieve { bytes: 1 << 40 });
    assert_eq!(closed(&clients), [Some(4008), Some(4008), Some(4008), None], "who is not behind is not to blame");
    assert_eq!(scene.shard.cells().relieved.value(), 3);
}

#[test]
fn nobody_becomes_somebody_while_the_node_is_short_of_memory() {
    let mut scene = Scene::new();
    let before = scene.client("ana", None);
    scene.shard.door.press(true);

    let client = scene.pending(Some(Identity::unsigned("ben", None)));

    assert_eq!((client.closed_with(), before.closed_with()), (Some(1013), None));
    assert!(!scene.told().iter().any(|message| matches!(message, ToHub::Bind { .. })));
    scene.shard.door.press(false);
    scene.client("ben", None);
}

#[test]
fn a_users_place_is_given_back_however_the_connection_ends() {
    let mut scene = Scene::behind(DoorSettings { connections_per_user: 1, ..DoorSettings::default() });
    let ana = || Some(Identity::unsigned("ana", None));

    // Closed in service.
    let first = scene.client("ana", None);
    let second = scene.pending(ana());
    assert_eq!(second.closed_with(), Some(Close::TooMany.code()));
    scene.shard.closed(scene.now, second.key, ClosedBy::Server(4429));
    scene.shard.closed(scene.now, first.key, ClosedBy::Client(1000));
    // Refused by the hub.
    scene.told();
    let third = scene.pending(ana());
    let told = scene.told();
    let Some(ToHub::Bind { conn, id, user, .. }) = told.last() else { panic!("{told:?}") };
    let (conn, id, name) = (*conn, *id, Arc::clone(user));
    scene.hears(ToShard::Bound { conn, id, user: name, result: Err(crate::session::Failure::Unavailable) });
    assert!(third.closed_with().is_some());
    // Gone before the hub's answer.
    let fourth = scene.pending(ana());
    assert_eq!(fourth.closed_with(), None);
    scene.shard.closed(scene.now, fourth.key, ClosedBy::Network);
    assert_eq!(scene.shard.door.has_place_for("ana"), Err(crate::admission::Turned::UserConnections));
    scene.hub_agrees();

    scene.client("ana", None);
}
