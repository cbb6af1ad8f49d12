//! Lives of routers: joining cold, side by side, crashed, cut off, leaving in order.

use holdfast_protocol::id::NodeId;
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::wire::RouterBound;

use super::world::{STEP, World, connection, up};
use crate::core::event::Event;
use crate::core::settings::Settings;
use crate::core::tally::Dropped;

fn users(world: &mut World, count: usize) {
    for n in 0..count {
        world.up(0, &format!("u{n}"));
    }
}

/// Sends to each user; returns who was not answered for.
fn unanswered(world: &mut World, count: usize) -> usize {
    let mut silent = 0;
    for n in 0..count {
        world.publish(&format!("hf.send.user.u{n}"), &[], b"1");
        silent += usize::from(world.answers().is_empty());
    }
    silent
}

#[test]
fn a_cold_router_is_live_when_each_node_that_was_heard_has_told_its_roster() {
    let mut world = World::new(0, 2);
    world.change(0, up("ana"), true);
    world.change(1, up("bob"), true);
    world.nodes[1].answers_asks = false;
    world.add_router(1, Settings::default());
    world.run(1_500);
    assert!(!world.members[0].router.is_live(), "one node beats, but does not tell");

    world.nodes[1].answers_asks = true;
    world.run(1_000);

    assert!(world.members[0].router.is_live());
    assert_eq!(world.send("hf.send.user.ana").matched, 1);
    assert!(world.facts().is_empty(), "who was there before is no news");
}

#[test]
fn a_cold_router_waits_for_answers_even_if_nobody_is_there() {
    let mut world = World::new(1, 0);
    world.run(590);
    assert!(!world.members[0].router.is_live());
    world.run(20);
    assert!(world.members[0].router.is_live());
    assert_eq!(world.members[0].router.gauges(world.ms).partitions, PARTITIONS as u64);
}

#[test]
fn a_router_begins_above_the_term_at_which_nodes_were_told_to_refuse_it() {
    let mut world = World::new(1, 1);
    world.apply(0, Event::Told(RouterBound::Fenced(40)));
    world.run(1_000);

    assert!(world.members[0].router.is_live());
    assert!(world.members[0].router.gauges(world.ms).term > 40);
}

#[test]
fn a_router_that_nodes_refuse_stops_and_joins_anew_above_that_term() {
    let mut world = World::live(1, 1);
    users(&mut world, 5);
    let below = world.members[0].router.gauges(world.ms).term;
    world.apply(0, Event::Told(RouterBound::Fenced(below)));
    world.turn(0);
    assert!(world.members[0].router.is_live(), "it is above that by now");

    world.apply(0, Event::Told(RouterBound::Fenced(40)));
    world.turn(0);
    assert!(!world.members[0].router.is_live() && !world.members[0].seen.works);
    world.run(1_000);

    assert!(world.members[0].router.is_live());
    assert_eq!(unanswered(&mut world, 5), 0);
    assert!(world.nodes[0].packets.iter().all(|(_, _, term)| *term <= below || *term > 40));
}

#[test]
fn partitions_are_shared_out_without_rest() {
    let world = World::live(3, 1);
    let owned: Vec<u64> = world.members.iter().map(|member| member.router.gauges(world.ms).partitions).collect();
    assert_eq!(owned.iter().sum::<u64>(), PARTITIONS as u64, "{owned:?}");
    assert!(owned.iter().all(|share| *share > 5), "{owned:?}");
}

#[test]
fn a_router_that_joins_loses_nothing() {
    let mut world = World::live(1, 1);
    users(&mut world, 20);
    world.add_router(2, Settings::default());
    for _ in 0..120 {
        world.run(STEP);
        assert_eq!(unanswered(&mut world, 20), 0, "at {}", world.ms);
    }
    assert!(world.members[1].router.gauges(world.ms).partitions > 0);
}

#[test]
fn a_router_that_leaves_loses_nothing_and_ends() {
    let mut world = World::live(2, 1);
    users(&mut world, 20);
    world.apply(0, Event::Leave);
    for _ in 0..60 {
        world.turn(0);
        assert_eq!(unanswered(&mut world, 20), 0, "at {}", world.ms);
        world.run(STEP);
    }
    assert!(world.members[0].seen.left && !world.members[0].seen.works);
    assert_eq!(world.members[1].router.gauges(world.ms).partitions, PARTITIONS as u64);
}

#[test]
fn the_last_router_to_leave_answers_until_it_is_gone() {
    let mut world = World::live(1, 1);
    users(&mut world, 5);
    world.apply(0, Event::Leave);
    world.turn(0);
    while world.members[0].seen.works {
        assert_eq!(unanswered(&mut world, 5), 0);
        world.run(STEP);
    }
    assert!(world.members[0].seen.left);
}

#[test]
fn a_crashed_router_is_replaced_within_a_second_and_fenced() {
    let mut world = World::live(2, 1);
    users(&mut world, 20);
    let term = world.members[1].router.gauges(world.ms).term;
    world.members[0].frozen = true;
    assert!(unanswered(&mut world, 20) > 0);
    world.run(800);

    assert_eq!(unanswered(&mut world, 20), 0);
    assert!(world.members[1].router.gauges(world.ms).term > term);

    // Thawed, it does nothing with what it had, and joins anew.
    let before = world.nodes[0].packets.len();
    let crashed = world.members[0].router.id();
    world.members[0].frozen = false;
    assert_eq!(unanswered(&mut world, 20), 0);
    world.run(200);
    let from_crashed = world.nodes[0].packets[before..].iter().filter(|(router, ..)| *router == crashed).count();
    assert_eq!(from_crashed, 0);
    assert!(world.members[0].router.tally().fenced == 1 && !world.members[0].router.is_live());
    world.run(1_000);
    assert!(world.members[0].router.is_live());
    let (_, _, term_of_last) = *world.nodes[0].packets.last().expect("packets");
    assert!(term_of_last > term);
}

#[test]
fn a_router_that_does_not_hear_itself_stops_before_others_take_over() {
    let mut world = World::live(2, 1);
    users(&mut world, 10);
    world.nodes[0].reports = false;
    world.publish("hf.send.user.u1", &[("Hf-Timeout", "5000")], b"1");
    world.members.iter_mut().for_each(|member| member.deaf = true);

    world.run(500);

    let now = world.now();
    assert!(world.members.iter().all(|member| !member.router.takes_work(now)), "half a second later");
    world.run(2_100);
    assert!(world.members.iter().all(|member| !member.seen.works && !member.router.is_live()), "given up");
    let cut_off: u64 = world.members.iter().map(|m| m.router.tally().dropped[Dropped::ReceiptCutOff as usize]).sum();
    assert_eq!(cut_off, 1);
    world.nodes[0].reports = true;
    world.members.iter_mut().for_each(|member| member.deaf = false);
    world.run(1_500);
    assert_eq!(unanswered(&mut world, 10), 0);
}

#[test]
fn a_machine_that_stood_still_loses_nothing() {
    let mut world = World::live(2, 1);
    users(&mut world, 20);
    world.members.iter_mut().for_each(|member| member.frozen = true);
    assert_eq!(unanswered(&mut world, 20), 20);
    world.ms += 5_000;
    world.members.iter_mut().for_each(|member| member.frozen = false);

    world.run(200);

    assert_eq!(world.answers().len(), 20, "what waited is handled, by its owner, once");
    assert_eq!(unanswered(&mut world, 20), 0);
    assert!(world.members.iter().all(|member| member.router.is_live() && member.router.tally().fenced == 0));
    assert!(world.members.iter().any(|member| member.router.tally().holds == 1));
}

#[test]
fn without_a_bus_a_router_does_nothing_and_is_whole_again_after() {
    let mut world = World::live(1, 1);
    users(&mut world, 5);
    world.apply(0, Event::BusDown);
    world.turn(0);
    assert!(!world.members[0].seen.works && !world.members[0].router.is_live());
    world.change(0, up("late"), true);
    world.members[0].deaf = true;
    world.run(15_000);

    world.members[0].deaf = false;
    world.apply(0, Event::BusUp { max_payload: 1 << 20 });
    world.turn(0);
    world.run(1_000);

    assert!(world.members[0].router.is_live());
    assert_eq!((unanswered(&mut world, 5), world.send("hf.send.user.late").matched), (0, 1));
}

#[test]
fn one_who_was_given_up_by_mistake_joins_anew() {
    let mut world = World::live(2, 1);
    users(&mut world, 10);
    // The first hears all, but the second has not heard the first for a while.
    let first = world.members[0].router.id();
    let mut beat = holdfast_protocol::wire::RouterBeat {
        router: world.members[1].router.id(),
        state: holdfast_protocol::wire::RouterState::Live,
        number: 1_000,
        term: 50,
        live: vec![],
        moving: false,
        fences: vec![holdfast_protocol::wire::Fence { router: first, term: 50 }],
        kept: None,
        capacity: holdfast_protocol::wire::Capacity::default(),
        sections: 1,
    };
    world.apply(0, Event::RouterBeat(beat.clone()));
    world.turn(0);
    assert!(!world.members[0].router.is_live());

    beat.number += 1;
    world.apply(0, Event::RouterBeat(beat));
    world.run(1_000);

    assert!(world.members[0].router.is_live(), "once is enough");
    assert!(world.members[0].router.gauges(world.ms).term > 50);
}

#[test]
fn after_a_bus_in_two_parts_one_goes_on_and_the_other_joins_anew() {
    let mut world = World::live(2, 1);
    users(&mut world, 20);
    let first = usize::from(world.members[1].router.id() < world.members[0].router.id());
    world.apart = true;
    world.run(3_000);
    let owned = |world: &World| [0, 1].map(|at: usize| world.members[at].router.gauges(world.ms).partitions);
    assert_eq!(owned(&world), [PARTITIONS as u64; 2], "each for itself");

    world.apart = false;
    world.run(200);
    assert!(world.members[first].router.is_live() && !world.members[1 - first].router.is_live());
    assert_eq!(unanswered(&mut world, 20), 0);
    for _ in 0..200 {
        world.run(STEP);
        world.publish("hf.send.user.u1", &[], b"1");
        assert_eq!(world.answers().len(), 1, "one answers, whoever owns it");
    }
    world.run_until_settled();
    assert_eq!(owned(&world).iter().sum::<u64>(), PARTITIONS as u64);
}

#[test]
fn of_two_that_begin_in_two_parts_of_the_bus_the_first_stays() {
    let mut world = World::new(0, 1);
    world.apart = true;
    (1..=2).for_each(|n| world.add_router(n, Settings::default()));
    world.run(2_000);
    users(&mut world, 20);
    let first = usize::from(world.members[1].router.id() < world.members[0].router.id());

    world.apart = false;
    world.run(300);

    assert!(world.members[first].router.is_live() && !world.members[1 - first].router.is_live());
    world.run_until_settled();
    assert_eq!(unanswered(&mut world, 20), 0);
}

#[test]
fn routers_that_start_together_never_own_the_same() {
    let mut world = World::new(3, 1);
    for _ in 0..300 {
        world.run(STEP);
        let owned: u64 = world.members.iter().map(|member| member.router.gauges(world.ms).partitions).sum();
        assert!(owned == 0 || owned == PARTITIONS as u64, "{owned} at {}", world.ms);
    }
    assert!(world.members.iter().all(|member| member.router.is_live()));
}

#[test]
fn what_happens_while_a_router_holds_is_told_when_it_goes_on() {
    let mut world = World::live(1, 1);
    world.members[0].deaf = true;
    world.run(600);
    world.members[0].deaf = false;
    world.up(0, "ana");
    assert!(world.facts().is_empty(), "it does not hear itself");

    world.run(300);

    let facts: Vec<_> = world.facts().into_iter().map(|(subject, _)| subject).collect();
    assert_eq!(facts, ["hf.event.user.online.ana"]);
}

#[test]
fn packets_are_numbered_without_holes_per_router() {
    let mut world = World::live(2, 1);
    users(&mut world, 50);
    assert_eq!(unanswered(&mut world, 50), 0);
    let ids: Vec<NodeId> = world.members.iter().map(|member| member.router.id()).collect();
    for id in ids {
        let numbers: Vec<u64> =
            world.nodes[0].packets.iter().filter(|(router, ..)| *router == id).map(|(_, number, _)| *number).collect();
        assert!(numbers.len() > 5);
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn a_connection_of_a_node_that_is_new_is_reached_at_once() {
    let mut world = World::live(1, 0);
    world.add_node(7);
    world.up(0, "ana");
    assert_eq!(world.nodes[0].snapshots_asked, 0, "its first batch says that nothing came before");
    assert_eq!(world.send("hf.send.user.ana").matched, 1);
    assert_eq!(world.send(&format!("hf.send.connection.{}", connection(7, 1))).nodes, 1);
}

#[test]
fn a_router_is_settled_when_its_hand_over_is_done() {
    let mut world = World::live(1, 1);
    users(&mut world, 20);
    assert!(world.members[0].router.is_settled());
    world.add_router(2, Settings::default());
    while !world.members.iter().all(|member| member.router.is_settled()) {
        world.run(STEP);
    }
    assert!(world.members[1].router.is_live());
    world.nodes[0].items.clear();
    assert_eq!(unanswered(&mut world, 20), 0);
    assert_eq!(world.nodes[0].items.len(), 20, "each once");
}
