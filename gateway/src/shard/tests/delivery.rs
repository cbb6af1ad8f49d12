//! What becomes of a delivery: copies, receipts, acknowledgements.

use super::*;

#[test]
fn deliveries_begin_with_the_welcome_and_not_before() {
    let mut scene = Scene::new();
    let client = scene.pending(Some(Identity::unsigned("ana", None)));
    scene.hears(ToShard::Deliver(Arc::new(SharedDelivery::new(scene.delivery(vec![user("ana")]), scene.router))));
    assert!(client.seen().is_empty());

    scene.hub_agrees();
    let part = scene.deliver(scene.delivery(vec![user("ana")]));

    assert_eq!(client.types(), ["welcome", "message"]);
    assert_eq!((part.number, part.matched, part.written), (5, 1, 1));
}

#[test]
fn many_gives_each_connection_one_copy_of_the_same_frame() {
    let mut scene = Scene::new();
    let (a, b) = (scene.client("ana", None), scene.client("bob", None));
    scene.joined(&a, "r");
    scene.joined(&b, "r");
    let id = scene.id(&a);

    let part = scene.deliver(scene.delivery(vec![user("ana"), room("r"), Target::Connection(id), user("nobody")]));

    assert_eq!((part.matched, part.written), (2, 2));
    assert_eq!((a.seen().len(), b.seen().len()), (1, 1));
    scene.deliver(scene.delivery(vec![room("r")]));
    let frame = |client: &Client| client.wire.borrow().written[0].as_ptr();
    assert_eq!(frame(&a), frame(&b), "encoded once");
}

#[test]
fn a_receipt_tells_written_queued_dropped_and_filtered_apart() {
    let mut scene = Scene::new();
    let [fine, clogged, full, other] =
        [Some("ios"), Some("ios"), Some("ios"), Some("web")].map(|device| scene.client("ana", device));
    clogged.wire.borrow_mut().clogged = true;
    *full.wire.borrow_mut() = Wire { clogged: true, queue_max: 0, ..Wire::default() };
    let mut delivery = scene.delivery(vec![user("ana")]);
    delivery.only = vec![Condition { name: "device".into(), value: "ios".into() }];

    let part = scene.deliver(delivery);

    let wanted = ReceiptPart { number: 5, matched: 3, written: 1, queued: 1, filtered: 1, dropped: 1, ackable: 0 };
    assert_eq!(part, wanted);
    assert_eq!(full.closed_with(), Some(Close::SlowConsumer.code()));
    assert_eq!(scene.shard.cells().dropped(DropReason::Overflow).value(), 1);
    assert_eq!((fine.seen().len(), other.seen().len()), (1, 0));
}

#[test]
fn a_copy_that_was_taken_back_in_its_turn_is_not_called_written() {
    let mut scene = Scene::new();
    let (replaced, _fine) = (scene.client("ana", None), scene.client("ana", None));
    let delivery = SharedDelivery::new(scene.delivery(vec![user("ana")]), scene.router);
    scene.shard.handle(scene.now, ToShard::Deliver(Arc::new(delivery)));
    {
        let mut wire = replaced.wire.borrow_mut();
        wire.withdrawn = vec![wire.passed + wire.queued.len() as u64];
    }

    scene.shard.finish_turn(scene.now);

    let part = scene.receipt();
    assert_eq!((part.matched, part.written, part.dropped), (2, 1, 1));
}

#[test]
fn one_turn_writes_each_socket_once() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    let before = client.wire.borrow().flushes;

    for _ in 0..10 {
        let delivery = SharedDelivery::new(scene.delivery(vec![user("ana")]), scene.router);
        scene.shard.handle(scene.now, ToShard::Deliver(Arc::new(delivery)));
    }
    scene.shard.finish_turn(scene.now);

    assert_eq!(client.wire.borrow().flushes - before, 1);
    assert_eq!(client.seen().len(), 10);
}

#[test]
fn acknowledgements_are_counted_once_each() {
    let mut scene = Scene::new();
    let (a, b) = (scene.client("ana", None), scene.client("ana", None));
    let mut delivery = scene.delivery(vec![user("ana")]);
    delivery.receipt = Some(ReceiptAsk { number: 5, acked: true, timeout_ms: 5000 });
    assert_eq!(scene.deliver(delivery).ackable, 2);
    assert_eq!(a.seen()[0]["ack"], json!(true));

    for _ in 0..2 {
        scene.says(&a, &json!({"type": "ack", "ids": ["m1", "unknown"]}));
    }
    scene.says(&b, &json!({"type": "ack", "ids": ["m1"]}));

    let acked: Vec<_> = scene
        .told()
        .iter()
        .filter_map(|m| if let ToHub::Acked { acked, .. } = m { Some(*acked) } else { None })
        .collect();
    assert_eq!(acked, [1, 1]);
}

#[test]
fn a_connection_that_ends_is_no_longer_waited_for() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    let mut delivery = scene.delivery(vec![user("ana")]);
    delivery.receipt = Some(ReceiptAsk { number: 5, acked: true, timeout_ms: 5000 });
    assert_eq!(scene.deliver(delivery).ackable, 1);

    scene.shard.closed(scene.now, client.key, ClosedBy::Network);
    scene.shard.finish_turn(scene.now);

    assert!(scene.told().iter().any(|m| matches!(m, ToHub::Acked { acked: 0, gone: 1, .. })));
}

#[test]
fn the_only_message_of_a_turn_is_written_past_the_queue_where_nothing_waits() {
    let mut scene = Scene::new();
    let [fine, clogged] = ["ana", "bob"].map(|user| scene.client(user, None));
    scene.joined(&fine, "r");
    scene.joined(&clogged, "r");
    clogged.wire.borrow_mut().clogged = true;
    let flushes = fine.wire.borrow().flushes;

    let delivery = SharedDelivery::new(scene.delivery(vec![room("r")]), scene.router);
    scene.shard.handle_lone(scene.now, ToShard::Deliver(Arc::new(delivery)));
    assert_eq!(fine.types(), ["message"], "before the turn ends");
    scene.shard.finish_turn(scene.now);

    let part = scene.receipt();
    assert_eq!((part.matched, part.written, part.queued), (2, 1, 1));
    assert_eq!(fine.wire.borrow().flushes, flushes, "nothing was left to write");
    assert_eq!(clogged.wire.borrow().queued.len(), 1);
}

#[test]
fn the_only_message_of_a_turn_waits_behind_what_the_turn_has_queued() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.shard.receive(scene.now, client.key, Incoming::Text(r#"{"type":"ping","id":1}"#));

    let delivery = SharedDelivery::new(scene.delivery(vec![user("ana")]), scene.router);
    scene.shard.handle_lone(scene.now, ToShard::Deliver(Arc::new(delivery)));
    scene.shard.finish_turn(scene.now);

    assert_eq!(client.types(), ["pong", "message"]);
    assert_eq!(scene.receipt().written, 1);
}
