//! Deliveries in a row for the same receivers: who gets them in one piece, and that the order is the same for all.

use std::cell::RefMut;
use std::ops::Range;

use holdfast_protocol::wire::Text;

use super::stomp::stomp_client;
use super::*;
use crate::metrics::Reach;

/// Two members of room `r`.
fn two_members() -> (Scene, [Client; 2]) {
    let mut scene = Scene::new();
    let clients = ["ana", "bob"].map(|user| scene.client(user, None));
    clients.iter().for_each(|client| scene.joined(client, "r"));
    (scene, clients)
}

impl Scene {
    /// A message without a receipt, as one of several of a turn.
    fn next(&mut self, target: Target, number: u32, change: impl FnOnce(&mut Delivery)) {
        let mut delivery = self.delivery(vec![target]);
        delivery.receipt = None;
        delivery.payload = number.to_string().into();
        change(&mut delivery);
        self.shard.handle(self.now, ToShard::Deliver(Arc::new(SharedDelivery::new(delivery, self.router))));
    }

    fn row(&mut self, numbers: Range<u32>) {
        numbers.for_each(|number| self.next(room("r"), number, |_| {}));
    }

    fn ends_turn(&mut self) {
        self.shard.finish_turn(self.now);
    }
}

fn numbers(client: &Client) -> Vec<u64> {
    client.seen().iter().filter_map(|frame| frame["data"].as_u64()).collect()
}

fn wire(client: &Client) -> RefMut<'_, Wire> {
    client.wire.borrow_mut()
}

fn runs(client: &Client) -> usize {
    wire(client).runs
}

#[test]
fn messages_in_a_row_for_one_room_leave_in_one_write() {
    let (mut scene, [a, b]) = two_members();
    let flushes = wire(&a).flushes;

    scene.row(1..6);
    scene.ends_turn();

    assert_eq!((runs(&a), runs(&b), wire(&a).flushes - flushes), (1, 1, 0));
    assert_eq!((numbers(&a), numbers(&b)), (vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4, 5]));
    assert_eq!(scene.shard.cells().deliveries[Reach::Room as usize].value(), 10);
}

#[test]
fn what_is_not_taken_of_a_row_follows_from_the_queue() {
    let (mut scene, [part, clogged]) = two_members();
    wire(&part).run_max = Some(2);
    wire(&clogged).clogged = true;

    scene.row(1..6);
    scene.ends_turn();

    assert_eq!(numbers(&part), [1, 2, 3, 4, 5]);
    assert_eq!(scene.shard.cells().deliveries[Reach::Room as usize].value(), 10);
    wire(&clogged).clogged = false;
    scene.row(6..8);
    scene.ends_turn();
    assert_eq!(numbers(&clogged), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_row_comes_behind_what_the_turn_has_queued_already() {
    let (mut scene, [a, _]) = two_members();
    scene.shard.receive(scene.now, a.key, Incoming::Text(r#"{"type":"ping","id":1}"#));

    scene.row(1..4);
    scene.ends_turn();

    assert_eq!(runs(&a), 0);
    assert_eq!(a.types(), ["pong", "message", "message", "message"]);
}

#[test]
fn the_order_is_kept_across_rows_and_what_stands_between_them() {
    let (mut scene, [a, b]) = two_members();
    scene.row(1..20);
    scene.next(user("ana"), 20, |_| {});
    scene.next(room("r"), 21, |delivery| delivery.except_users = vec![Text::from("bob")]);
    scene.row(22..24);
    scene.next(room("r"), 24, |delivery| delivery.key = Some(Text::from("k")));
    scene.row(25..50);
    scene.ends_turn();

    assert_eq!(numbers(&a), (1..50).collect::<Vec<_>>());
    assert_eq!(numbers(&b), (1..50).filter(|number| ![20, 21].contains(number)).collect::<Vec<_>>());
    assert_eq!(runs(&a), 1, "the first is worth a write; the others find something queued");
}

#[test]
fn who_cannot_take_a_row_is_closed_for_it_once() {
    let (mut scene, [a, slow]) = two_members();
    *wire(&slow) = Wire { clogged: true, queue_max: 2, ..Wire::default() };

    scene.row(1..6);
    scene.ends_turn();

    assert_eq!(slow.closed_with(), Some(Close::SlowConsumer.code()));
    assert_eq!(scene.shard.cells().dropped(DropReason::Overflow).value(), 1);
    assert_eq!(numbers(&a), [1, 2, 3, 4, 5]);
}

#[test]
fn dialects_get_a_row_each_in_its_own_form() {
    let (mut scene, [a, _]) = two_members();
    let plain = scene.pending_in(Dialect::Bare, Some(Identity::unsigned("ana", None)));
    scene.hub_agrees();

    for number in 1..4 {
        scene.next(user("ana"), number, |_| {});
    }
    scene.ends_turn();

    assert_eq!(numbers(&a), [1, 2, 3]);
    assert_eq!((runs(&a), runs(&plain)), (1, 1));
    assert_eq!(plain.seen(), [json!(1), json!(2), json!(3)]);
}

#[test]
fn a_row_is_framed_as_the_connection_wants_it_where_all_of_it_can_be() {
    let (mut scene, [_, framed]) = two_members();
    wire(&framed).framing = Framing::SockJs;
    let plain = scene.pending_in(Dialect::Bare, Some(Identity::unsigned("eve", None)));
    scene.hub_agrees();
    wire(&plain).framing = Framing::SockJs;
    let texts = |client: &Client| {
        let frames = std::mem::take(&mut wire(client).written);
        frames.iter().map(|frame| String::from_utf8_lossy(payload(frame)).into_owned()).collect::<Vec<_>>()
    };

    scene.row(1..4);
    scene.ends_turn();
    for number in 1..4 {
        scene.next(user("eve"), number, |delivery| {
            delivery.content = if number == 2 { Content::Binary } else { Content::Json };
        });
    }
    scene.ends_turn();

    assert_eq!(runs(&framed), 1);
    let texts_of_framed = texts(&framed);
    assert!(texts_of_framed.len() == 3 && texts_of_framed.iter().all(|text| text.starts_with("a[\"{")));
    assert_eq!((runs(&plain), texts(&plain)), (0, vec![r#"a["1"]"#.to_owned(), r#"a["3"]"#.to_owned()]));
}

/// Subscription and body of each MESSAGE.
fn messages(client: &Client) -> Vec<String> {
    let frames = wire(client).written.clone();
    let text = |frame: &Bytes| String::from_utf8(payload(frame).to_vec()).expect("text");
    let shown = |frame: String| {
        let (head, body) = frame.split_once("\n\n").expect("a frame");
        let id = head.lines().find_map(|line| line.strip_prefix("subscription:")).expect("a subscription");
        format!("{id} {}", body.trim_end_matches('\0'))
    };
    frames.iter().map(|frame| shown(text(frame))).collect()
}

#[test]
fn stomp_clients_get_a_row_as_their_subscriptions_say() {
    let mut scene = Scene::new();
    let subscribe = |id: &str| format!("SUBSCRIBE\nid:{id}\ndestination:/topic/r\n\n\0");
    let one = ["x", "x", "y"].map(|id| stomp_client(&mut scene, &subscribe(id)));
    let twice = stomp_client(&mut scene, &(subscribe("x") + &subscribe("y")));
    let deaf = stomp_client(&mut scene, "");
    scene.command(vec![Target::Connection(scene.id(&deaf))], Command::Join { room: "r".into() });
    scene.receipt();
    let filtered = scene.shard.cells().filtered.value();

    scene.row(1..4);
    scene.ends_turn();

    assert_eq!(one.each_ref().map(runs), [1, 1, 1]);
    assert_eq!(one.each_ref().map(messages), [["x 1", "x 2", "x 3"], ["x 1", "x 2", "x 3"], ["y 1", "y 2", "y 3"]]);
    assert_eq!(wire(&one[0]).written[0].as_ptr(), wire(&one[1]).written[0].as_ptr(), "encoded once");
    assert_eq!(
        (runs(&twice), messages(&twice)),
        (0, ["x 1", "y 1", "x 2", "y 2", "x 3", "y 3"].map(String::from).to_vec())
    );
    assert_eq!((runs(&deaf), wire(&deaf).written.len()), (0, 0));
    assert_eq!(scene.shard.cells().filtered.value() - filtered, 3);
    assert_eq!(scene.shard.cells().deliveries[Reach::Room as usize].value(), 12);
}

#[test]
fn more_kinds_of_stomp_subscriptions_than_are_kept_get_all_the_same() {
    let mut scene = Scene::new();
    let ids: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
    let subscribe = |id: &String| format!("SUBSCRIBE\nid:{id}\ndestination:/topic/r\n\n\0");
    let clients: Vec<Client> = ids.iter().map(|id| stomp_client(&mut scene, &subscribe(id))).collect();

    scene.row(1..4);
    scene.ends_turn();

    for (id, client) in ids.iter().zip(&clients) {
        assert_eq!(messages(client), [1, 2, 3].map(|number| format!("{id} {number}")));
    }
    assert_eq!(clients.iter().map(runs).sum::<usize>(), 8);
}
