//! How the mirror is kept true: acknowledgements, holes, digests, silence, newest.

use holdfast_protocol::wire::{Change, Command, Item, NodeState};

use super::world::{World, connection, gateway, up};
use crate::core::event::Event;

#[test]
fn applied_batches_are_acknowledged_by_each_router() {
    let mut world = World::live(2, 1);
    world.up(0, "ana");
    let ids: Vec<_> = world.members.iter().map(|member| member.router.id()).collect();
    for id in ids {
        assert_eq!(world.nodes[0].acked.get(&id), Some(&1));
    }
}

#[test]
fn a_lost_acknowledgement_is_repeated_with_the_next_beat() {
    let mut world = World::live(1, 1);
    world.up(0, "ana");
    world.nodes[0].acked.clear();
    world.run(500);
    assert_eq!(world.nodes[0].acked.len(), 1);
}

#[test]
fn a_lost_batch_is_healed_by_the_next_one() {
    let mut world = World::live(1, 1);
    world.change(0, up("ana"), true);
    assert!(world.send("hf.send.user.ana").offline);

    world.up(0, "bob");

    assert_eq!((world.nodes[0].snapshots_asked, world.nodes[0].acked.values().next()), (1, Some(&2)));
    assert_eq!(world.send("hf.send.user.ana").matched, 1);
    assert_eq!(world.send("hf.send.user.bob").matched, 1);
}

#[test]
fn a_lost_last_batch_is_healed_by_a_beat() {
    let mut world = World::live(1, 1);
    world.change(0, up("ana"), true);
    world.run(500);
    assert_eq!(world.send("hf.send.user.ana").matched, 1);
}

#[test]
fn a_silent_difference_is_healed_by_the_digests() {
    let mut world = World::live(1, 1);
    world.up(0, "ana");
    world.nodes[0].hold_silently("ghost");
    world.run(500);
    assert_eq!((world.send("hf.send.user.ghost").matched, world.nodes[0].snapshots_asked), (1, 1));
    world.run(1_000);
    assert_eq!(world.nodes[0].snapshots_asked, 1, "and is whole then");
}

#[test]
fn a_snapshot_takes_off_what_is_gone() {
    let mut world = World::live(1, 1);
    world.up(0, "ana");
    world.room(0, "r", 2);
    world.change(0, super::world::down("ana"), true);
    world.change(0, super::world::members("r", 0), true);
    world.run(500);
    assert!(world.send("hf.send.user.ana").offline && world.send("hf.send.room.r").offline);
    world.run(500);
    assert_eq!(world.nodes[0].snapshots_asked, 1, "the digests agree again");
}

#[test]
fn a_snapshot_that_does_not_come_is_asked_for_again() {
    let mut world = World::live(1, 1);
    world.change(0, up("ana"), true);
    world.nodes[0].answers_asks = false;
    world.run(3_000);
    assert!((2..=4).contains(&world.nodes[0].snapshots_asked), "{}", world.nodes[0].snapshots_asked);
    world.nodes[0].answers_asks = true;
    world.run(1_500);
    assert_eq!(world.send("hf.send.user.ana").matched, 1);
}

#[test]
fn a_node_without_a_subscriber_is_out_at_once() {
    let mut world = World::live(1, 2);
    world.up(0, "ana");
    world.nodes[0].silent = true;
    world.run(1_000);
    assert!(world.members[0].seen.pings.is_empty());
    world.run(700);
    assert!(world.members[0].seen.pings.contains(&gateway(1)));

    world.apply(0, Event::NodeMissing(gateway(1)));
    world.turn(0);

    assert!(world.send("hf.send.user.ana").offline);
    assert_eq!(world.send("hf.send.all").nodes, 1);
}

#[test]
fn a_late_no_responders_does_not_kill_a_node_that_is_back() {
    let mut world = World::live(1, 1);
    world.up(0, "ana");
    world.apply(0, Event::NodeMissing(gateway(1)));
    world.turn(0);
    assert_eq!(world.send("hf.send.user.ana").matched, 1);
}

#[test]
fn a_silent_node_is_late_and_then_lost() {
    let mut world = World::live(1, 1);
    world.up(0, "ana");
    assert_eq!(world.send("hf.send.user.ana").matched, 1);
    world.nodes[0].silent = true;
    world.run(2_500);
    let now = world.now();
    assert_eq!(world.members[0].router.gauges(now.ms).nodes, [0, 0, 1]);
    world.publish("hf.send.user.ana", &[], b"1");
    world.run(400);
    assert_eq!(world.answers().len(), 1);
    world.run(8_000);
    assert!(world.send("hf.send.user.ana").offline);
    assert_eq!(world.members[0].router.gauges(now.ms).nodes, [0, 0, 0]);

    // Thawed: it is asked for its roster, and all is as before.
    world.nodes[0].silent = false;
    world.run(500);
    assert_eq!(world.send("hf.send.user.ana").matched, 1);
    let (_, number, _) = *world.nodes[0].packets.last().expect("a packet");
    assert!(number > 1, "the numbers go on: {number}");
}

#[test]
fn a_node_that_says_it_is_gone_is_out_at_once() {
    let mut world = World::live(1, 1);
    world.up(0, "ana");
    world.nodes[0].state = NodeState::Gone;
    world.beat(0);
    assert!(world.send("hf.send.user.ana").offline);
    assert!(!world.facts().iter().any(|(subject, _)| subject.contains("node.lost")));
}

#[test]
fn the_newest_connection_replaces_the_others_until_they_are_gone() {
    let mut world = World::live(2, 2);
    let claim = |node: u8, member: u8| Change::Claim {
        user: "ana".into(),
        connection: connection(node, member),
        since_ms: u64::from(member),
    };
    let replaced = |world: &World| {
        let items = world.nodes[0]
            .items
            .iter()
            .filter(|item| matches!(item, Item::Command(command) if command.command == Command::Replace));
        items.count()
    };
    world.change(0, claim(1, 9), false);
    assert_eq!(replaced(&world), 0);

    world.change(1, claim(2, 1), false);

    assert_eq!(replaced(&world), 1, "the later one wins, whatever its clock says; one router acts");
    world.run(1_100);
    assert_eq!(replaced(&world), 2, "told again");
    world.change(0, Change::Unclaim { user: "ana".into(), connection: connection(1, 9) }, false);
    world.run(3_000);
    assert_eq!(replaced(&world), 2);
    assert!(world.nodes[1].items.is_empty());
}
