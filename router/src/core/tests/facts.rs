//! Facts: each once in a steady state, by whoever owns the key; again with the same id where the owner may have failed.

use std::collections::HashMap;

use holdfast_protocol::fact::{Transition, fact_id};
use holdfast_protocol::wire::RosterBatch;

use super::world::{UNIX, World, down, gateway, members, up};
use crate::core::announce::Pattern;
use crate::core::event::Event;
use crate::core::settings::Settings;

fn counts(facts: &[(String, serde_json::Value)]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for (subject, _) in facts {
        *counts.entry(&**subject).or_default() += 1;
    }
    counts
}

#[test]
fn each_transition_is_told_once_however_many_routers_there_are() {
    let mut world = World::live(3, 2);
    for n in 0..30 {
        world.up(0, &format!("u{n}"));
        world.up(1, &format!("u{n}"));
        world.room(0, &format!("r{n}"), 1);
        world.room(1, &format!("r{n}"), 1);
        world.room(0, &format!("r{n}"), 0);
        world.room(1, &format!("r{n}"), 0);
        world.down(0, &format!("u{n}"));
        world.down(1, &format!("u{n}"));
    }
    world.run(4_500);
    let early = world.facts();
    assert!(counts(&early).keys().all(|subject| !subject.contains("offline")), "the linger is 5 s");
    world.run(1_000);
    let late = world.facts();

    let all: Vec<_> = early.into_iter().chain(late).collect();
    let counts = counts(&all);
    assert_eq!(counts.len(), 30 * 4, "online, offline, occupied, vacated");
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    let ids: std::collections::HashSet<_> = all.iter().map(|(_, body)| body["id"].to_string()).collect();
    assert_eq!(ids.len(), all.len());
}

#[test]
fn a_body_tells_who_where_when_and_why() {
    let mut world = World::live(1, 1);
    world.up(0, "ana");
    let facts = world.facts();
    let [(subject, body)] = &facts[..] else { panic!("{facts:?}") };
    assert_eq!(subject, "hf.event.user.online.ana");
    assert_eq!((&body["user"], &body["cause"]), (&"ana".into(), &"connect".into()));
    assert_eq!(body["node"], gateway(1).as_str());
    assert!(body["time"].as_str().is_some_and(|time| time.ends_with('Z')));
}

#[test]
fn a_lost_node_is_told_with_all_that_was_on_it() {
    let mut world = World::live(2, 2);
    world.up(0, "ana");
    world.up(0, "both");
    world.up(1, "both");
    world.room(0, "r", 2);
    world.nodes[0].silent = true;
    world.facts();
    world.run(1_500);
    for at in 0..2 {
        world.apply(at, Event::NodeMissing(gateway(1)));
        world.turn(at);
    }
    world.run(5_500);

    let facts = world.facts();
    let lost = format!("hf.event.node.lost.{}", gateway(1));
    let wanted = ["hf.event.room.vacated.r", &lost, "hf.event.user.offline.ana"];
    assert_eq!(counts(&facts), wanted.into_iter().map(|subject| (subject, 1)).collect());
    assert!(facts.iter().all(|(_, body)| body["cause"] == "node_lost"));
}

#[test]
fn what_a_crashed_owner_may_not_have_told_is_told_again_with_the_same_id() {
    let mut world = World::live(2, 1);
    // Frozen before it takes what follows: half of it is its own.
    world.members[0].frozen = true;
    for n in 0..40 {
        world.room(0, &format!("r{n}"), 1);
    }
    let survivor = world.facts().len();
    assert!((1..40).contains(&survivor), "{survivor}");

    world.run(1_000);

    assert_eq!(survivor + world.facts().len(), 40);
}

#[test]
fn changes_during_an_outage_of_the_only_router_are_told_afterwards() {
    let mut world = World::live(1, 1);
    world.up(0, "ana");
    world.facts();
    world.apply(0, Event::BusDown);
    world.turn(0);
    world.change(0, down("ana"), true);
    world.change(0, up("bob"), true);
    world.run(3_000);
    assert!(world.facts().is_empty());

    world.apply(0, Event::BusUp { max_payload: 1 << 20 });
    world.turn(0);
    world.run(6_000);

    let facts = world.facts();
    let wanted = ["hf.event.user.online.bob", "hf.event.user.offline.ana"];
    assert_eq!(counts(&facts), wanted.into_iter().map(|subject| (subject, 1)).collect());
}

/// Two nodes whose only router dies, and what happened before and after, as their snapshots tell it.
fn without_a_router() -> (World, Vec<(String, serde_json::Value)>) {
    let mut world = World::live(1, 2);
    world.up(0, "ana");
    world.room(0, "held", 1);
    world.room(1, "held", 1);
    world.room(0, "left", 1);
    let told = world.facts();
    world.members[0].frozen = true;
    for (change, node) in [(members("left", 0), 0), (up("bob"), 1), (members("held", 0), 1), (down("ana"), 0)] {
        world.change(node, change.clone(), true);
        let seq = world.nodes[node].seq;
        world.nodes[node].lately.push((change, seq));
    }
    world.nodes[0].lately.insert(0, (up("ana"), 1));
    (world, told)
}

#[test]
fn a_router_that_begins_alone_tells_what_no_router_saw_and_again_what_may_not_have_been_told() {
    let (mut world, told) = without_a_router();
    world.add_router(2, Settings::default());
    world.run(1_500);
    let at_once = world.facts();
    world.run(1_500);
    let doubted = world.facts();
    world.run(3_000);
    let late = world.facts();

    let wanted = ["hf.event.user.online.ana", "hf.event.user.online.bob"];
    assert_eq!(counts(&at_once), wanted.into_iter().map(|subject| (subject, 1)).collect());
    assert_eq!(counts(&doubted)["hf.event.room.vacated.left"], 1, "as no node has said otherwise");
    let held = doubted.iter().chain(&late).filter(|(subject, _)| subject == "hf.event.room.occupied.held");
    assert_eq!(held.count(), 1, "of what changed meanwhile, how it stands");
    assert_eq!(doubted.len() + late.len(), 3, "and nobody else's but ana's");
    let offline = doubted.iter().chain(&late).filter(|(subject, _)| subject == "hf.event.user.offline.ana");
    assert_eq!(offline.count(), 1, "after the rest of its linger");
    let id = |facts: &[(String, serde_json::Value)]| {
        let ana = facts.iter().find(|(subject, _)| subject.ends_with("online.ana"));
        ana.map(|(_, body)| body["id"].to_string())
    };
    assert!(id(&told).is_some() && id(&told) == id(&at_once));
}

#[test]
fn a_router_that_begins_alone_doubts_that_a_room_is_gone_from_nodes_it_has_not_heard() {
    let (mut world, _) = without_a_router();
    world.room(1, "left", 1);
    world.nodes[1].silent = true;
    world.add_router(2, Settings::default());
    world.run(1_500);
    world.nodes[1].silent = false;
    world.run(3_000);

    let facts = world.facts();
    assert!(facts.iter().all(|(subject, _)| subject != "hf.event.room.vacated.left"), "{facts:?}");
}

#[test]
fn a_router_that_joins_another_leaves_the_past_to_it() {
    let mut world = World::live(1, 1);
    world.up(0, "ana");
    world.facts();
    world.nodes[0].lately.push((up("ana"), 1));
    world.add_router(2, Settings::default());
    world.run(6_000);
    assert!(world.facts().is_empty());

    world.members[0].frozen = true;
    world.run(6_000);
    assert!(world.facts().is_empty(), "its owner has told it long before it went");
}

/// Two routers that both see a room and a user; then the owner of the room gives up their node, alone, and tells so.
/// Returns that owner.
fn told_wrongly_of_a_node() -> (World, usize) {
    let mut world = World::live(2, 1);
    world.room(0, "r", 1);
    let owner = world.members.iter().position(|it| !it.seen.facts.is_empty()).expect("somebody told of it");
    world.facts();
    world.nodes[0].silent = true;
    world.run(1_500);
    world.apply(owner, Event::NodeMissing(gateway(1)));
    world.turn(owner);
    assert_eq!(counts(&world.facts())["hf.event.room.vacated.r"], 1);
    (world, owner)
}

#[test]
fn what_a_dead_owner_told_wrongly_its_heir_corrects() {
    let (mut world, owner) = told_wrongly_of_a_node();
    world.members[owner].frozen = true;
    world.nodes[0].silent = false;
    world.run(3_000);

    let facts = world.facts();
    let told: Vec<_> = facts.iter().filter(|(subject, _)| subject.contains(".room.")).collect();
    let [(subject, body)] = told[..] else { panic!("{facts:?}") };
    assert_eq!((&**subject, &body["room"]), ("hf.event.room.occupied.r", &"r".into()));
    assert_eq!((&body["node"], &body["cause"]), (&gateway(1).as_str().into(), &"connect".into()));
}

#[test]
fn what_a_dead_owner_never_saw_its_heir_tells_however_long_ago_it_was() {
    let mut world = World::live(2, 1);
    world.room(0, "r", 1);
    let owner = world.members.iter().position(|it| !it.seen.facts.is_empty()).expect("somebody told of it");
    world.room(0, "r", 0);
    world.facts();
    // The owner misses a batch, and is not sent a snapshot.
    world.nodes[0].answers_asks = false;
    world.change(0, members("r", 1), true);
    let (node, seq) = (world.nodes[0].id, world.nodes[0].seq);
    let batch = RosterBatch { node, seq, since_ms: UNIX, changes: vec![members("r", 1)] };
    world.apply(1 - owner, Event::Roster(batch));
    world.turn(1 - owner);
    world.run(4_000);
    assert_eq!(counts(&world.facts()), HashMap::new(), "it is the owner's to tell");

    world.members[owner].frozen = true;
    world.run(3_000);

    let facts = world.facts();
    let [(subject, body)] = &facts[..] else { panic!("{facts:?}") };
    let id = fact_id(Transition::RoomOccupied, "r", node, seq);
    assert_eq!((&**subject, &body["id"]), ("hf.event.room.occupied.r", &id.into()));
}

#[test]
fn an_heir_leaves_what_was_told_truly_alone() {
    let mut world = World::live(2, 1);
    for n in 0..40 {
        world.room(0, &format!("r{n}"), 1);
        world.up(0, &format!("u{n}"));
        world.up(0, &format!("v{n}"));
        world.down(0, &format!("v{n}"));
    }
    world.run(7_000);
    world.facts();
    world.members[0].frozen = true;
    world.run(5_000);
    assert_eq!(counts(&world.facts()), HashMap::new());
}

#[test]
fn what_a_dead_router_told_wrongly_that_was_alone_the_next_one_corrects() {
    let mut world = World::new(0, 2);
    world.room(0, "r", 1);
    world.room(1, "r", 1);
    world.nodes[1].silent = true;
    world.add_router(1, Settings::default());
    world.run(4_000);
    world.room(0, "r", 0);
    assert_eq!(counts(&world.facts())["hf.event.room.vacated.r"], 1, "as far as it can see");

    world.members[0].frozen = true;
    world.nodes[1].silent = false;
    let seq = world.nodes[0].seq;
    world.nodes[0].lately.push((members("r", 0), seq));
    world.add_router(2, Settings::default());
    world.run(1_500);
    // It hears that facts can be heard.
    world.up(0, "ana");
    world.run(3_000);

    assert_eq!(counts(&world.facts())["hf.event.room.occupied.r"], 1);
}

#[test]
fn who_was_said_to_be_offline_while_we_were_away_is_told_when_they_are_back() {
    let mut world = World::live(2, 2);
    world.up(0, "u");
    let owner = world.members.iter().position(|it| !it.seen.facts.is_empty()).expect("somebody told of it");
    let other = 1 - owner;
    world.nodes[0].silent = true;
    world.members[other].deaf = true;
    world.apply(other, Event::BusDown);
    world.run(1_500);
    world.apply(owner, Event::NodeMissing(gateway(1)));
    world.turn(owner);
    world.run(5_500);
    assert_eq!(counts(&world.facts())["hf.event.user.offline.u"], 1);

    world.members[other].deaf = false;
    world.apply(other, Event::BusUp { max_payload: 1 << 20 });
    world.turn(other);
    world.run(1_000);
    assert!(world.members[other].router.is_live(), "and still holds what it knew of the node");
    world.members[owner].frozen = true;
    world.run(1_500);
    world.apply(other, Event::NodeMissing(gateway(1)));
    world.turn(other);
    world.up(1, "u");
    world.run(4_000);

    assert_eq!(counts(&world.facts())["hf.event.user.online.u"], 1);
}

/// A router that was away while the other one, alone, told that a room is vacated; that one dies before the room is
/// occupied again. Returns who was away.
fn told_rightly_while_we_were_away() -> (World, usize) {
    let mut world = World::live(2, 1);
    world.up(0, "first");
    world.room(0, "r", 1);
    world.facts();
    let away = 0;
    world.members[away].deaf = true;
    world.apply(away, Event::BusDown);
    world.run(1_000);
    world.room(0, "r", 0);
    assert_eq!(counts(&world.facts())["hf.event.room.vacated.r"], 1);
    world.members[1].frozen = true;
    world.room(0, "r", 1);
    (world, away)
}

#[test]
fn who_comes_back_when_all_are_gone_who_were_there_tells_how_it_stands() {
    for changed_lately in [true, false] {
        let (mut world, away) = told_rightly_while_we_were_away();
        let seq = world.nodes[0].seq;
        if changed_lately {
            world.nodes[0].lately = vec![(members("r", 0), seq - 1), (members("r", 1), seq)];
        }
        world.members[away].deaf = false;
        world.apply(away, Event::BusUp { max_payload: 1 << 20 });
        world.turn(away);
        // It takes the other for alive at first.
        world.run(2_000);
        // It hears that facts can be heard.
        world.up(0, "ana");
        world.run(3_000);

        let occupied = world.facts().iter().filter(|(subject, _)| subject == "hf.event.room.occupied.r").count();
        assert_eq!(occupied, usize::from(changed_lately));
    }
}

#[test]
fn what_the_owner_never_heard_is_corrected_by_who_did() {
    let mut world = World::live(2, 1);
    world.room(0, "r", 1);
    let owner = world.members.iter().position(|it| !it.seen.facts.is_empty()).expect("somebody told of it");
    world.facts();
    let body = br#"{"node":"gone"}"#;
    world.apply(1 - owner, Event::Fact { subject: "hf.event.room.vacated.r", body });
    world.run(4_500);
    assert_eq!(counts(&world.facts()), HashMap::new(), "it is the owner's to tell");
    world.run(2_000);

    assert_eq!(counts(&world.facts()), HashMap::from([("hf.event.room.occupied.r", 1)]));
    world.run(20_000);
    assert!(world.facts().is_empty(), "once");
}

#[test]
fn announced_rooms_tell_each_change_with_the_count() {
    let mut world = World::new(0, 2);
    let announce = vec![Pattern::parse("game/**").expect("a pattern")];
    world.add_router(1, Settings { announce, ..Settings::default() });
    world.run(1_000);
    world.room(0, "game/1", 2);
    world.room(1, "game/1", 1);
    world.room(0, "game/1", 0);
    world.room(0, "chat/1", 2);

    let facts: Vec<(String, u64)> = world
        .facts()
        .into_iter()
        .filter(|(subject, _)| subject.contains("joined") || subject.contains("left"))
        .map(|(subject, body)| (subject, body["count"].as_u64().expect("a count")))
        .collect();
    let joined = "hf.event.room.joined.game=2F1".to_owned();
    assert_eq!(facts, [(joined.clone(), 2), (joined, 3), ("hf.event.room.left.game=2F1".to_owned(), 1)]);
}
