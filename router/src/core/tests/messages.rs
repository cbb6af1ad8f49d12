//! What becomes of sends, commands and queries.

use holdfast_protocol::wire::{Command, Content, Item, Target};

use super::world::{World, connection, gateway};
use crate::core::event::Event;
use crate::core::tally::{Dropped, Kind, Routed};

fn deliveries(items: &[Item]) -> Vec<&holdfast_protocol::wire::Delivery> {
    items.iter().filter_map(|item| if let Item::Deliver(delivery) = item { Some(delivery) } else { None }).collect()
}

#[test]
fn a_send_reaches_the_nodes_of_its_target_and_is_answered() {
    let mut world = World::live(1, 3);
    world.up(0, "ana");
    world.up(2, "ana");
    world.room(1, "chat/5", 3);

    let user = world.send_with("hf.send.user.ana", &[("Hf-Id", "m1"), ("Hf-Type", "t"), ("Hf-Ttl", "5")]);
    let room = world.send("hf.send.room.chat=2F5");

    assert_eq!((&*user.id, user.matched, user.nodes, user.offline), ("m1", 2, 2, false));
    assert_eq!((room.matched, room.nodes), (1, 1));
    let first = deliveries(&world.nodes[0].items);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].targets, [Target::User("ana".into())]);
    assert_eq!((first[0].event.as_deref(), first[0].content), (Some("t"), Content::Json));
    assert_eq!(first[0].expires_ms, Some(first[0].received_ms + 5));
    assert_eq!(deliveries(&world.nodes[1].items)[0].targets, [Target::Room("chat/5".into())]);
    assert_eq!(deliveries(&world.nodes[2].items).len(), 1);
}

#[test]
fn nobody_is_offline_at_once() {
    let mut world = World::live(1, 1);
    for subject in ["hf.send.user.nobody", "hf.send.room.none", "hf.send.connection.stranger", "hf.ctl.node.stranger"] {
        let payload: &[u8] = if subject.contains("ctl") { br#"{"do":"drain"}"# } else { b"1" };
        world.publish(subject, &[], payload);
        let answers = world.answers();
        let [Ok(body)] = &answers[..] else { panic!("{subject}: {answers:?}") };
        let receipt: holdfast_protocol::receipt::Receipt = serde_json::from_slice(body).expect("a receipt");
        assert_eq!((receipt.offline, receipt.nodes), (true, 0), "{subject}");
    }
    assert!(world.nodes[0].items.is_empty());
}

#[test]
fn a_connection_is_found_by_its_id_alone() {
    let mut world = World::live(1, 2);
    let id = connection(2, 7);

    assert_eq!(world.send(&format!("hf.send.connection.{id}")).nodes, 1);
    assert_eq!(deliveries(&world.nodes[1].items)[0].targets, [Target::Connection(id)]);
    assert!(world.send(&format!("hf.send.connection.{}", connection(9, 7))).offline);
}

#[test]
fn many_is_one_item_per_node_with_the_targets_that_concern_it() {
    let mut world = World::live(2, 3);
    world.up(0, "ana");
    world.up(1, "ana");
    world.up(1, "bob");
    let to = format!("user:ana, user:nobody, user:bob, connection:{}", connection(2, 1));

    let receipt = world.send_with("hf.send.many", &[("Hf-To", &to)]);

    assert_eq!(receipt.nodes, 2);
    assert_eq!(deliveries(&world.nodes[0].items)[0].targets, [Target::User("ana".into())]);
    let second = deliveries(&world.nodes[1].items);
    assert_eq!(second.len(), 1);
    let wanted = [Target::User("ana".into()), Target::User("bob".into()), Target::Connection(connection(2, 1))];
    assert_eq!(second[0].targets, wanted);
    assert!(world.nodes[2].items.is_empty());
}

#[test]
fn all_goes_to_each_node() {
    let mut world = World::live(2, 3);
    assert_eq!(world.send("hf.send.all").nodes, 3);
}

#[test]
fn one_router_handles_and_answers_each_message() {
    let mut world = World::live(3, 1);
    for n in 0..200 {
        world.up(0, &format!("u{n}"));
    }
    for n in 0..200 {
        assert_eq!(world.send(&format!("hf.send.user.u{n}")).matched, 1);
        assert!(world.send(&format!("hf.send.room.nobody{n}")).offline);
    }
    assert_eq!(deliveries(&world.nodes[0].items).len(), 200);
    for (subject, code) in [("hf.send.bogus.x", 404), ("hf.send.user.a=zz", 400), ("hf.ctl.bogus", 404)] {
        assert_eq!(world.error(subject, &[], b"1").0, code, "{subject}");
    }
    assert_eq!(world.error("hf.send.many", &[], b"1"), (400, "Hf-To is missing".to_owned()));
    assert_eq!(world.error("hf.send.many", &[("Hf-To", "user:a"), ("Hf-Ttl", "x")], b"1").0, 400);
}

#[test]
fn messages_of_one_turn_share_a_packet_and_keep_their_order() {
    let mut world = World::live(1, 1);
    world.up(0, "ana");
    let before = world.nodes[0].packets.len();
    let now = world.now();
    for n in 0..100 {
        let payload = n.to_string();
        let headers: &[(&str, &str)] = &[];
        let request = crate::core::event::Request {
            subject: "hf.send.user.ana",
            reply: None,
            headers: &headers,
            payload: payload.as_bytes(),
        };
        world.router_mut(0).router.apply(now, Event::Send(request));
    }
    world.turn(0);

    assert_eq!(world.nodes[0].packets.len(), before + 1);
    let payloads: Vec<_> = deliveries(&world.nodes[0].items).iter().map(|d| d.payload.clone()).collect();
    assert!(payloads.iter().enumerate().all(|(n, payload)| payload == n.to_string().as_bytes()));
    assert!(deliveries(&world.nodes[0].items).iter().all(|delivery| delivery.receipt.is_none()));
}

#[test]
fn what_is_too_large_for_one_packet_goes_in_several_and_too_large_for_any_is_refused() {
    let mut world = World::live(1, 1);
    world.up(0, "ana");
    let large = vec![b'x'; 700_000];
    let now = world.now();
    let headers: &[(&str, &str)] = &[];
    let before = world.nodes[0].packets.len() as u64;
    for _ in 0..3 {
        let request = crate::core::event::Request {
            subject: "hf.send.user.ana",
            reply: None,
            headers: &headers,
            payload: &large,
        };
        world.router_mut(0).router.apply(now, Event::Send(request));
    }
    world.turn(0);
    let numbers: Vec<u64> = world.nodes[0].packets.iter().map(|(_, number, _)| *number).collect();
    assert_eq!(numbers, (1..=before + 3).collect::<Vec<_>>());

    let (code, _) = world.error("hf.send.user.ana", &[], &vec![b'x'; (1 << 20) - 50]);

    assert_eq!(code, 413);
    assert_eq!(world.members[0].router.tally().routed[Kind::User as usize][Routed::TooLarge as usize], 1);
    assert_eq!(world.send("hf.send.user.ana").matched, 1, "others are unharmed");
}

#[test]
fn a_silent_node_is_late_in_the_receipt() {
    let mut world = World::live(1, 1);
    world.up(0, "ana");
    world.nodes[0].reports = false;
    world.publish("hf.send.user.ana", &[("Hf-Timeout", "100")], b"1");
    world.run(90);
    assert!(world.answers().is_empty());
    world.run(10);
    let answers = world.answers();
    let [Ok(body)] = &answers[..] else { panic!("{answers:?}") };
    let receipt: holdfast_protocol::receipt::Receipt = serde_json::from_slice(body).expect("a receipt");
    assert_eq!((receipt.nodes, receipt.late_nodes, receipt.offline), (1, 1, false));
}

#[test]
fn commands_are_checked_and_carried() {
    let mut world = World::live(2, 2);
    world.up(1, "ana");
    world.publish("hf.ctl.user.ana", &[], br#"{"do":"join","room":"r"}"#);
    assert_eq!(world.answers().len(), 1);
    let Some(Item::Command(item)) = world.nodes[1].items.first() else { panic!("no command") };
    assert_eq!(
        (&item.targets[..], &item.command),
        (&[Target::User("ana".into())][..], &Command::Join { room: "r".into() })
    );

    let node = format!("hf.ctl.node.{}", gateway(1));
    world.publish(&node, &[], br#"{"do":"drain"}"#);
    assert_eq!(world.answers().len(), 1);
    let Some(Item::Command(item)) = world.nodes[0].items.last() else { panic!("no command") };
    assert!(item.targets.is_empty() && item.command == Command::Drain);

    for (subject, headers, body) in [
        ("hf.ctl.user.ana", &[][..], &b"{"[..]),
        ("hf.ctl.user.ana", &[], br#"{"do":"fly"}"#),
        ("hf.ctl.user.ana", &[], br#"{"do":"drain"}"#),
        ("hf.ctl.all", &[("Hf-Only", "role=admin")], br#"{"do":"disconnect"}"#),
        (&*node, &[], br#"{"do":"pause"}"#),
    ] {
        assert_eq!(world.error(subject, headers, body).0, 400, "{subject}");
    }
}

#[test]
fn queries_are_answered_from_the_mirror_or_the_nodes() {
    let mut world = World::live(1, 2);
    world.up(0, "ana");
    world.publish("hf.query.nodes", &[], b"");
    let answers = world.answers();
    let [Ok(body)] = &answers[..] else { panic!("{answers:?}") };
    let body: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    assert_eq!((body["nodes"].as_array().map(Vec::len), &body["nodes"][0]["state"]), (Some(2), &"live".into()));

    world.publish("hf.query.user.nobody", &[], b"");
    assert!(matches!(&world.answers()[..], [Ok(_)]));
    assert_eq!(world.error("hf.query.connection.stranger", &[], b"").0, 404);
    assert_eq!(world.error("hf.query.user.a=zz", &[], b"").0, 400);
    assert_eq!(world.error("hf.query.bogus", &[], b"").0, 404);
    assert_eq!(world.error("hf.query.room.r", &[], br#"{"limit":0}"#).0, 400);

    world.publish("hf.query.user.ana", &[], b"");
    assert!(world.answers().is_empty(), "asks the node");
    assert!(matches!(world.nodes[0].items.last(), Some(Item::Ask { .. })));
    world.run(500);
    assert!(matches!(&world.answers()[..], [Ok(_)]), "with what is known by then");
}

#[test]
fn nothing_is_handled_before_a_router_is_live() {
    let mut world = World::new(1, 1);
    let now = world.now();
    let headers: &[(&str, &str)] = &[];
    let request = crate::core::event::Request {
        subject: "hf.send.user.ana",
        reply: Some("inbox"),
        headers: &headers,
        payload: b"1",
    };
    world.router_mut(0).router.apply(now, Event::Send(request));
    world.turn(0);
    assert!(world.answers().is_empty());
    assert_eq!(world.members[0].router.tally().dropped[Dropped::NotLive as usize], 1);
}
