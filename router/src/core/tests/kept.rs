//! Copies of kept messages: who forwards them, how far they were processed, and what an heir forwards again.

use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::token::partition_of_key;
use holdfast_protocol::wire::{Delivery, Item};

use super::world::World;
use crate::core::event::{Event, Request};
use crate::core::tally::Dropped;

const TIME: &str = "2026-11-21T11:49:36.98838613Z";

/// One room for each partition.
fn rooms() -> Vec<String> {
    let mut rooms: Vec<Option<String>> = vec![None; PARTITIONS];
    for room in (0..10_000).map(|number| format!("r{number}")) {
        let partition = partition_of_key(&room);
        rooms[partition].get_or_insert(room);
    }
    rooms.into_iter().flatten().collect()
}

impl World {
    fn stream(&mut self, epoch: &str, last: u64) {
        for at in 0..self.members.len() {
            self.apply(at, Event::Stream { epoch, last, heard: true });
            self.turn(at);
        }
    }

    /// A copy of what was kept for a room, to each router.
    fn copy(&mut self, room: &str, seq: u64, previous: u64) {
        let subject = format!("hf.keep.room.{room}");
        let (seq, previous) = (seq.to_string(), previous.to_string());
        let headers = [
            ("Nats-Subject", &*subject),
            ("Nats-Sequence", &*seq),
            ("Nats-Last-Sequence", &*previous),
            ("Nats-Time-Stamp", TIME),
        ];
        self.raw_copy(&headers);
    }

    fn raw_copy(&mut self, headers: &[(&str, &str)]) {
        for at in 0..self.members.len() {
            let request = Request { subject: "hf.int.kept.x", reply: None, headers: &headers, payload: b"1" };
            self.apply(at, Event::Kept(request));
            self.turn(at);
        }
    }

    fn kept(&self, node: usize) -> Vec<(String, u64, u64)> {
        let deliveries = self.nodes[node].items.iter().filter_map(|item| match item {
            Item::Deliver(Delivery { kept: Some(kept), .. }) => Some(kept),
            _ => None,
        });
        deliveries.map(|kept| (kept.epoch.to_string(), kept.seq, kept.previous)).collect()
    }

    fn mark(&self, at: usize) -> Option<u64> {
        self.members[at].router.stream.sent().map(|position| position.seq)
    }
}

#[test]
fn a_copy_goes_once_to_the_nodes_of_its_target_with_its_place() {
    let mut world = World::live(2, 2);
    world.room(1, "chat", 1);
    world.stream("e1", 6);

    world.copy("chat", 7, 3);
    world.copy("elsewhere", 8, 0);

    assert_eq!(world.kept(1), [("e1".to_owned(), 7, 3)]);
    assert!(world.kept(0).is_empty());
    assert_eq!((world.mark(0), world.mark(1)), (Some(8), Some(8)), "what is another's counts as processed too");
}

#[test]
fn there_is_no_mark_before_the_stream_was_seen_while_listening() {
    let mut world = World::live(1, 1);
    world.apply(0, Event::Stream { epoch: "e1", last: 5, heard: false });
    world.turn(0);
    world.copy("chat", 6, 0);
    assert_eq!(world.mark(0), None);

    world.stream("e1", 6);

    assert_eq!(world.mark(0), Some(6));
}

#[test]
fn copies_wait_for_the_epoch() {
    let mut world = World::live(1, 1);
    world.room(0, "chat", 1);
    world.copy("chat", 1, 0);
    world.copy("chat", 2, 1);
    assert!(world.kept(0).is_empty());

    world.stream("e1", 2);
    world.copy("chat", 3, 2);

    let places: Vec<_> = world.kept(0).into_iter().map(|(_, seq, _)| seq).collect();
    assert_eq!(places, [1, 2, 3]);
}

#[test]
fn a_stream_made_anew_is_not_taken_for_the_old_one() {
    let mut world = World::live(1, 1);
    world.room(0, "chat", 1);
    world.stream("e1", 6);
    world.copy("chat", 7, 0);

    world.copy("chat", 1, 0);
    assert_eq!((world.kept(0).len(), world.mark(0)), (1, None));
    world.stream("e2", 1);

    assert_eq!(world.kept(0)[1..], [("e2".to_owned(), 1, 0)]);
    assert_eq!(world.mark(0), Some(1));
}

#[test]
fn a_copy_without_the_headers_of_the_stream_is_ignored_and_counted() {
    let mut world = World::live(1, 1);
    world.stream("e1", 0);

    world.raw_copy(&[]);
    world.raw_copy(&[
        ("Nats-Subject", "hf.keep.room.a"),
        ("Nats-Sequence", "x"),
        ("Nats-Last-Sequence", "0"),
        ("Nats-Time-Stamp", TIME),
    ]);

    assert_eq!(world.members[0].router.tally().dropped[Dropped::KeptUnreadable as usize], 2);
    assert_eq!(world.mark(0), Some(0));
}

#[test]
fn the_heir_forwards_what_the_dead_router_may_not_have() {
    let mut world = World::live(2, 1);
    let rooms = rooms();
    for room in &rooms {
        world.room(0, room, 1);
    }
    world.stream("e1", 0);
    world.run(1_000);
    world.members[1].frozen = true;
    world.members[1].deaf = true;

    for (seq, room) in (1..).zip(&rooms) {
        world.copy(room, seq, 0);
    }
    let before = world.kept(0).len();
    world.run(1_000);

    let mut seqs: Vec<_> = world.kept(0).into_iter().map(|(_, seq, _)| seq).collect();
    assert!(before > 0 && before < rooms.len(), "{before}");
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=rooms.len() as u64).collect::<Vec<_>>());
}
