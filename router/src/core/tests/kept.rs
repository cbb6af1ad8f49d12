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
    /// The stream tells of itself: a later epoch is of one that was made a millisecond later.
    fn stream(&mut self, epoch: &str, last: u64) {
        let number: u64 = epoch.trim_start_matches('e').parse().expect("e and a number");
        self.stream_of(epoch, last, number);
    }

    fn stream_of(&mut self, epoch: &str, last: u64, created_ms: u64) {
        for at in 0..self.members.len() {
            self.apply(at, Event::Stream { epoch, last, created_ms, heard: true });
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

    /// What a router's last read came to.
    fn read_back(&mut self, at: usize, whole: bool, copies: &[(&str, u64, u64)]) {
        let copies: Vec<_> = copies
            .iter()
            .map(|(room, seq, previous)| (format!("hf.keep.room.{room}"), seq.to_string(), previous.to_string()))
            .collect();
        let headers: Vec<[(&str, &str); 4]> = copies
            .iter()
            .map(|(subject, seq, previous)| {
                [
                    ("Nats-Subject", &**subject),
                    ("Nats-Sequence", &**seq),
                    ("Nats-Last-Sequence", &**previous),
                    ("Nats-Time-Stamp", TIME),
                ]
            })
            .collect();
        let headers: Vec<&[(&str, &str)]> = headers.iter().map(|headers| &headers[..]).collect();
        let copies: Vec<_> = headers
            .iter()
            .map(|headers| Request { subject: "hf.keep.room.x", reply: None, headers, payload: b"1" })
            .collect();
        let number = self.members[at].seen.reads.last().expect("a read").0;
        self.apply(at, Event::KeptRead { number, whole, copies: &copies });
        self.turn(at);
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

impl World {
    /// A copy whose publisher wants a receipt at this subject.
    fn copy_with_receipt(&mut self, room: &str, seq: u64, to: &str) {
        let (subject, seq) = (format!("hf.keep.room.{room}"), seq.to_string());
        self.raw_copy(&[
            ("Nats-Subject", &*subject),
            ("Nats-Sequence", &*seq),
            ("Nats-Last-Sequence", "0"),
            ("Nats-Time-Stamp", TIME),
            ("Hf-Receipt-To", to),
        ]);
    }

    /// Receipts of all routers: where to, connections matched, nobody there.
    fn receipts(&self) -> Vec<(String, u64, bool)> {
        let answers = self.members.iter().flat_map(|member| &member.seen.answers);
        let receipts = answers.map(|(to, body)| {
            let body = body.as_ref().expect("a receipt");
            let receipt: holdfast_protocol::receipt::Receipt = serde_json::from_slice(body).expect("JSON");
            (to.clone(), receipt.matched, receipt.offline)
        });
        receipts.collect()
    }
}

#[test]
fn who_asks_for_a_receipt_of_a_kept_message_gets_one_from_the_owner() {
    let mut world = World::live(2, 1);
    let rooms = rooms();
    for room in &rooms {
        world.room(0, room, 1);
    }
    world.stream("e1", 1);

    for (seq, room) in (2..).zip(&rooms) {
        world.copy_with_receipt(room, seq, &format!("_INBOX.{room}"));
    }
    world.copy_with_receipt("empty", 2 + rooms.len() as u64, "_INBOX.empty");
    world.copy_with_receipt(&rooms[0], 3 + rooms.len() as u64, "hf.send.user.ana");

    let mut receipts = world.receipts();
    receipts.sort();
    let mut wanted: Vec<_> = rooms.iter().map(|room| (format!("_INBOX.{room}"), 1, false)).collect();
    wanted.push(("_INBOX.empty".to_owned(), 0, true));
    wanted.sort();
    assert_eq!(receipts, wanted);
    assert_eq!(world.members[0].router.tally().kept_headers_ignored, 1, "nobody may have us send to others");
}

#[test]
fn there_is_no_mark_before_the_stream_was_seen_while_listening() {
    let mut world = World::live(1, 1);
    world.apply(0, Event::Stream { epoch: "e1", last: 5, created_ms: 0, heard: false });
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
    assert_eq!((world.kept(0).len(), world.members[0].seen.looks), (1, 1));
    world.apply(0, Event::Stream { epoch: "e1", last: 7, created_ms: 0, heard: false });
    world.turn(0);
    assert_eq!(world.kept(0).len(), 1, "it was asked before");
    world.stream("e2", 1);

    assert_eq!(world.kept(0)[1..], [("e2".to_owned(), 1, 0)]);
    assert_eq!(world.mark(0), Some(1));
}

/// When copies were stored by their time stamp, Unix milliseconds.
const STORED_MS: u64 = 1_795_261_776_988;

#[test]
fn what_the_stream_before_had_stored_is_never_taken_for_the_new_one() {
    assert_eq!(holdfast_protocol::kept::unix_ms(TIME), Some(STORED_MS));
    let mut world = World::live(1, 1);
    world.room(0, "chat", 1);
    world.copy("chat", 671, 600);
    // It was asked, deleted, and made anew before the first answer.
    world.stream_of("e2", 0, STORED_MS + 1);
    world.copy("chat", 672, 671);

    assert!(world.kept(0).is_empty());
    assert_eq!(world.members[0].router.tally().dropped[Dropped::KeptOfBefore as usize], 2);
    assert_eq!((world.mark(0), world.members[0].seen.reads.len()), (Some(0), 0));
}

#[test]
fn copies_of_a_stream_that_has_lost_its_end_are_read_back_under_its_new_epoch() {
    let mut world = World::live(1, 1);
    world.room(0, "chat", 1);
    world.stream_of("e1", 6, 5);
    world.copy("chat", 4, 0);
    world.stream_of("e2", 4, 5);
    assert!(world.kept(0).is_empty(), "it may be the 4 of before");

    world.run(800);
    world.read_back(0, true, &[("chat", 4, 0)]);

    assert_eq!(world.kept(0), [("e2".to_owned(), 4, 0)]);
}

#[test]
fn a_router_that_has_heard_nothing_yet_knows_a_stream_made_anew_too() {
    for last in [0, 6] {
        let mut world = World::live(1, 1);
        world.room(0, "chat", 1);
        world.stream("e1", last);

        world.copy("chat", 1, 0);
        world.copy("chat", 2, 1);
        assert!(world.kept(0).is_empty(), "{last}");
        world.stream("e2", 2);

        assert_eq!(world.kept(0), [("e2".to_owned(), 1, 0), ("e2".to_owned(), 2, 1)], "{last}");
    }
}

#[test]
fn a_late_copy_of_the_same_stream_is_forwarded_once_that_is_sure() {
    let mut world = World::live(1, 1);
    world.room(0, "chat", 1);
    world.stream("e1", 6);
    world.copy("chat", 5, 0);
    world.copy("chat", 7, 5);

    world.stream("e1", 7);

    assert_eq!(world.kept(0), [("e1".to_owned(), 5, 0), ("e1".to_owned(), 7, 5)]);
    assert_eq!(world.mark(0), Some(7));
}

#[test]
fn what_follows_a_lost_copy_waits_until_it_is_read_back() {
    let mut world = World::live(1, 1);
    world.room(0, "chat", 1);
    world.stream("e1", 6);

    world.copy("chat", 9, 8);
    assert_eq!((world.mark(0), world.kept(0).len()), (Some(6), 0));
    let (_, from, to) = *world.members[0].seen.reads.last().expect("a read");
    assert_eq!((from, to), (7, 8));
    world.read_back(0, true, &[("chat", 8, 6)]);

    let places: Vec<_> = world.kept(0).into_iter().map(|(_, seq, previous)| (seq, previous)).collect();
    assert_eq!(places, [(8, 6), (9, 8)]);
    assert_eq!(world.mark(0), Some(9));
    assert_eq!(world.members[0].router.tally().kept_read_back, 1);
}

#[test]
fn a_lost_copy_that_nothing_follows_is_read_back_too() {
    let mut world = World::live(1, 1);
    world.room(0, "chat", 1);
    world.stream("e1", 6);
    world.copy("chat", 7, 0);
    world.stream("e1", 8);
    world.run(400);
    assert!(world.members[0].seen.reads.is_empty(), "it may be under way");

    world.run(200);
    world.read_back(0, true, &[("chat", 8, 7)]);

    assert_eq!((world.kept(0).len(), world.mark(0)), (2, Some(8)));
}

#[test]
fn a_read_of_the_stream_before_counts_for_nothing() {
    let mut world = World::live(1, 1);
    world.room(0, "chat", 1);
    world.stream("e1", 6);
    world.copy("chat", 9, 8);
    world.stream("e2", 20);

    world.read_back(0, true, &[("chat", 8, 6)]);

    assert_eq!((world.kept(0).len(), world.mark(0)), (0, Some(20)));
}

#[test]
fn where_nothing_can_be_read_back_nodes_are_told_by_a_packet_that_is_missing() {
    let mut world = World::live(1, 1);
    world.room(0, "chat", 1);
    world.stream("e1", 6);
    world.copy("chat", 8, 7);
    world.read_back(0, false, &[]);

    world.run(2_500);

    assert_eq!((world.kept(0).len(), world.mark(0)), (1, Some(8)));
    assert_eq!(world.members[0].router.tally().kept_holes_left, 1);
    let numbers: Vec<_> = world.nodes[0].packets.iter().map(|(_, number, _)| *number).collect();
    let jumps = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert_eq!(jumps, 1, "{numbers:?}");
}

#[test]
fn a_copy_without_the_headers_of_the_stream_is_ignored_and_counted() {
    let mut world = World::live(1, 1);
    world.stream("e1", 1);

    world.raw_copy(&[]);
    world.raw_copy(&[
        ("Nats-Subject", "hf.keep.room.a"),
        ("Nats-Sequence", "x"),
        ("Nats-Last-Sequence", "0"),
        ("Nats-Time-Stamp", TIME),
    ]);

    assert_eq!(world.members[0].router.tally().dropped[Dropped::KeptUnreadable as usize], 2);
    assert_eq!(world.mark(0), Some(1));
}

#[test]
fn the_heir_forwards_what_the_dead_router_may_not_have() {
    let mut world = World::live(2, 1);
    let rooms = rooms();
    for room in &rooms {
        world.room(0, room, 1);
    }
    world.stream("e1", 1);
    world.run(1_000);
    world.members[1].frozen = true;
    world.members[1].deaf = true;

    for (seq, room) in (2..).zip(&rooms) {
        world.copy(room, seq, 0);
    }
    let before = world.kept(0).len();
    world.run(1_000);

    let mut seqs: Vec<_> = world.kept(0).into_iter().map(|(_, seq, _)| seq).collect();
    assert!(before > 0 && before < rooms.len(), "{before}");
    seqs.sort_unstable();
    assert_eq!(seqs, (2..2 + rooms.len() as u64).collect::<Vec<_>>());
}

#[test]
fn who_is_left_alone_while_it_leaves_forwards_what_was_anothers() {
    let mut world = World::live(2, 1);
    let rooms = rooms();
    for room in &rooms {
        world.room(0, room, 1);
    }
    world.stream("e1", 1);
    world.apply(0, Event::Leave);
    world.turn(0);
    world.members[1].frozen = true;

    // Longer than it forwards what it hands over, and not yet so long that the other is given up.
    world.run(500);
    for (seq, room) in (2..).zip(&rooms) {
        world.copy(room, seq, 0);
    }
    world.run(400);

    let mut seqs: Vec<_> = world.kept(0).into_iter().map(|(_, seq, _)| seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (2..2 + rooms.len() as u64).collect::<Vec<_>>());
}
