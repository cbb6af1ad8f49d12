//! Kept messages, with a stream that answers as JetStream does.

mod epochs;
mod followed;
mod resumes;

use holdfast_protocol::dialect::json::{Cursor, Mark};
use holdfast_protocol::kept as headers;
use holdfast_protocol::position::{Position, Recovery, Start};
use holdfast_protocol::wire::Kept;
use serde_json::{Value, json};

use super::*;
use crate::link::{Granted, SharedDelivery};

/// What the stream holds: sequences and subjects.
struct Stream {
    epoch: &'static str,
    first: u64,
    messages: Vec<(u64, &'static str)>,
    per_subject_max: u64,
    epoch_from: &'static str,
}

const ROOM: &str = "hf.keep.room.r";

impl Stream {
    fn of_room(sequences: &[u64]) -> Self {
        let messages = sequences.iter().map(|seq| (*seq, ROOM)).collect();
        Self { epoch: "e1", first: 1, messages, per_subject_max: 1000, epoch_from: "0" }
    }

    fn info(&self, filter: &str) -> Value {
        let count = self.messages.iter().filter(|(_, subject)| *subject == filter).count();
        json!({
            "config": { "max_msgs_per_subject": self.per_subject_max, "deny_delete": true, "deny_purge": true,
                        "metadata": { "holdfast-epoch": self.epoch, "holdfast-epoch-from": self.epoch_from } },
            // Other subjects have come as far as routers say, at least.
            "state": { "first_seq": self.first, "last_seq": self.messages.last().map_or(0, |(seq, _)| *seq).max(10),
                       "subjects": { filter: count } },
        })
    }

    fn answers(&self, request: &Publication) -> Vec<Received> {
        let subject = request.reply.clone().expect("an inbox");
        let body: Value = serde_json::from_slice(&request.payload).unwrap_or_default();
        if request.subject.starts_with("$JS.API.STREAM.INFO.") {
            let payload = self.info(body["subjects_filter"].as_str().unwrap_or("")).to_string().into();
            return vec![Received { subject, payload, ..Received::default() }];
        }
        if request.subject.starts_with("$JS.API.STREAM.MSG.GET.") {
            let mut found = self.messages.iter();
            let found = match (body["last_by_subj"].as_str(), body["next_by_subj"].as_str()) {
                (Some(of), _) => found.rfind(|(_, subject)| *subject == of),
                (_, of) => found.find(|(seq, subject)| Some(*subject) == of && Some(*seq) >= body["seq"].as_u64()),
            };
            let answer =
                found.map_or(json!({ "error": { "code": 404 } }), |(seq, _)| json!({ "message": { "seq": seq } }));
            return vec![Received { subject, payload: answer.to_string().into(), ..Received::default() }];
        }
        let filter = body["next_by_subj"].as_str().expect("a filter");
        let from = body["seq"].as_u64().expect("a sequence");
        let matching: Vec<_> = self
            .messages
            .iter()
            .filter(|(seq, subject)| *seq >= from && (*subject == filter || filter == "hf.keep.>"))
            .collect();
        let status = |status| Received { subject: subject.clone(), status: Some(status), ..Received::default() };
        if matching.is_empty() {
            return vec![status(404)];
        }
        // Two at a time: batches end before what was asked for does.
        let batch = body["batch"].as_u64().expect("a size").min(2);
        let taken = matching.iter().take(usize::try_from(batch).expect("small"));
        let answers = taken.enumerate().map(|(place, (seq, of))| Received {
            subject: subject.clone(),
            payload: seq.to_string().into(),
            headers: [
                (headers::SUBJECT, (*of).to_owned()),
                (headers::SEQUENCE, seq.to_string()),
                (headers::PENDING, (matching.len() - place - 1).to_string()),
                (headers::TIME_STAMP, "2026-11-21T11:49:36Z".to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec(),
            ..Received::default()
        });
        answers.chain([status(204)]).collect()
    }
}

impl Scene {
    /// Answers everything asked of the stream, until nothing is.
    fn serve(&mut self, stream: &Stream) {
        self.serve_with_replica(stream, stream, 0);
    }

    /// The same, where a replica that has less answers the first batches.
    fn serve_with_replica(&mut self, stream: &Stream, replica: &Stream, mut batches: usize) {
        loop {
            let requests = self.published("$JS.API.");
            if requests.is_empty() {
                return;
            }
            for request in &requests {
                let lags = request.subject.starts_with("$JS.API.DIRECT.GET.") && batches > 0;
                batches -= usize::from(lags);
                for answer in if lags { replica } else { stream }.answers(request) {
                    self.hub.on_inbox(self.now, &mut self.edge, answer);
                }
            }
        }
    }

    /// Answers what is asked of the stream now, and nothing that follows from it.
    fn serve_once(&mut self, stream: &Stream) {
        for request in self.published("$JS.API.") {
            for answer in stream.answers(&request) {
                self.hub.on_inbox(self.now, &mut self.edge, answer);
            }
        }
    }

    fn marks(&mut self, seq: u64) {
        self.marks_of(1, 1, seq);
    }

    /// A router beats at a term, with a mark.
    fn marks_of(&mut self, number: u8, term: u64, seq: u64) {
        let beat = mark_of(number, term, seq);
        self.hub.on_router_beat(self.now, &mut self.edge, beat.encode());
        self.hub.note_safe(self.now);
    }

    /// A member that is in, beginning at the routers' mark.
    fn member(mark: u64) -> Self {
        let mut scene = Self::new(&[1]);
        scene.marks(mark);
        scene.joins(1, "r");
        scene.acks(1, 1);
        assert_eq!(scene.granted().len(), 1);
        scene
    }

    fn copy(&mut self, number: u64, seq: u64, previous: u64) {
        self.copy_with(number, seq, previous, None);
    }

    fn copy_with(&mut self, number: u64, seq: u64, previous: u64, receipt: Option<ReceiptAsk>) {
        let Item::Deliver(mut delivery) = delivery(vec![Target::Room("r".into())], 1) else { unreachable!() };
        delivery.receipt = receipt;
        delivery.kept = Some(Kept { epoch: "e1".into(), seq, previous });
        self.packet(number, 1, vec![Item::Deliver(delivery)]);
    }

    /// Sequences that went to shards, and how often a gap was told.
    fn delivered(&mut self) -> (Vec<u64>, usize) {
        let told = self.told_shards();
        let seqs = told.iter().filter_map(|(_, message)| match message {
            ToShard::Deliver(shared) => shared.delivery.kept.as_ref().map(|kept| kept.seq),
            _ => None,
        });
        (seqs.collect(), told.iter().filter(|(_, message)| matches!(message, ToShard::KeptGap { .. })).count())
    }

    fn granted(&mut self) -> Vec<Granted> {
        let told = self.told_shards();
        let granted = told.into_iter().filter_map(|(_, message)| match message {
            ToShard::Joined { result: Ok(granted), .. } => Some(granted),
            _ => None,
        });
        granted.collect()
    }

    fn joins_since(&mut self, index: u32, epoch: &str, seq: u64) {
        let (on_behalf, since) = (JoinFor::Client(index), Position::new(epoch, seq));
        self.says(ToHub::Join { conn: conn(0, index), on_behalf, room: "r".into(), callout: None, since });
    }
}

fn mark_of(number: u8, term: u64, seq: u64) -> RouterBeat {
    RouterBeat {
        router: router(number),
        state: RouterState::Live,
        number: 1,
        term,
        live: vec![],
        moving: false,
        fences: vec![],
        kept: Position::new("e1", seq),
        capacity: Capacity::default(),
        sections: 1,
    }
}

fn replayed(granted: &Granted) -> Vec<u64> {
    let messages = &granted.replay.messages[granted.replay.skip..];
    messages.iter().filter_map(|shared| shared.delivery.kept.as_ref()).map(|kept| kept.seq).collect()
}

fn position(seq: u64) -> Option<Position> {
    Position::new("e1", seq)
}

#[test]
fn copies_pass_once_and_in_order() {
    let mut scene = Scene::member(10);

    for (number, seq, previous) in [(1, 9, 7), (2, 12, 9), (3, 12, 9), (4, 15, 12)] {
        scene.copy(number, seq, previous);
    }

    assert_eq!(scene.delivered(), (vec![12, 15], 0), "9 is older than the member");
}

#[test]
fn a_hole_is_filled_before_what_comes_behind_it() {
    let mut scene = Scene::member(10);
    scene.copy(1, 20, 17);
    scene.copy(2, 21, 20);
    assert_eq!(scene.delivered(), (vec![], 0), "held");

    scene.serve(&Stream::of_room(&[8, 12, 15, 17, 20, 21]));

    assert_eq!(scene.delivered(), (vec![12, 15, 17, 20, 21], 0));
    scene.copy(3, 22, 21);
    assert_eq!(scene.delivered(), (vec![22], 0));
}

#[test]
fn a_hole_that_the_stream_does_not_have_any_more_is_a_gap() {
    let mut scene = Scene::member(10);
    scene.copy(1, 20, 17);

    scene.serve(&Stream { first: 18, ..Stream::of_room(&[20]) });

    assert_eq!(scene.delivered(), (vec![20], 1));
}

#[test]
fn what_is_gone_from_the_stream_before_it_could_be_read_back_is_a_gap_for_all() {
    let mut scene = Scene::member(10);
    scene.copy(1, 12, 8);
    scene.delivered();
    scene.packet(3, 1, vec![]);

    scene.serve(&Stream { first: 14, ..Stream::of_room(&[14]) });

    assert_eq!(scene.delivered(), (vec![14], 2), "each shard is told");
}

#[test]
fn what_the_limit_of_a_subject_took_before_it_could_be_read_back_is_a_gap_for_its_room() {
    let read_back = |messages: &[u64]| {
        let mut scene = Scene::member(10);
        scene.copy(1, 12, 8);
        scene.delivered();
        scene.packet(3, 1, vec![]);
        let mut stream = Stream { per_subject_max: 3, ..Stream::of_room(messages) };
        stream.messages.push((21, "hf.keep.room.other"));
        scene.serve(&stream);
        scene.delivered()
    };

    assert_eq!(read_back(&[14, 17, 20]), (vec![14, 17, 20], 1), "13 may have been there");
    assert_eq!(read_back(&[12, 17, 20]), (vec![17, 20], 0), "what the room has is there, so what followed is");
    assert_eq!(read_back(&[17, 20]), (vec![17, 20], 0), "there is room for more, so nothing went");
}

#[test]
fn after_lost_packets_the_stream_is_looked_at_for_everybody() {
    let mut scene = Scene::member(10);
    scene.copy(1, 12, 8);
    scene.delivered();

    // Number 2 was lost, and nothing of the room follows it.
    scene.packet(3, 1, vec![]);
    let stream = Stream { messages: vec![(11, "hf.keep.room.other"), (12, ROOM), (14, ROOM)], ..Stream::of_room(&[]) };
    scene.serve(&stream);

    assert_eq!(scene.delivered(), (vec![14], 0));
    scene.copy(4, 16, 14);
    assert_eq!(scene.delivered(), (vec![16], 0));
}

#[test]
fn a_hole_that_a_loss_of_the_bus_leaves_open_is_looked_for_from_before_it() {
    let mut scene = Scene::member(10);
    scene.copy(1, 20, 17);
    scene.marks(20);
    scene.packet(2, 1, vec![]);
    scene.hub.note_safe(scene.now);
    scene.published("$JS.API.");

    scene.hub.on_bus(scene.now, &mut scene.edge, false);
    scene.hub.on_bus(scene.now, &mut scene.edge, true);
    scene.serve(&Stream::of_room(&[8, 12, 17, 20]));

    assert_eq!(scene.delivered(), (vec![12, 17, 20], 0));
}

#[test]
fn what_was_read_back_behind_a_copy_that_is_held_comes_too() {
    let mut scene = Scene::member(10);
    // Number 2 was lost: all is read back, and what waits behind a hole meanwhile is not the last that is found.
    scene.packet(1, 1, vec![]);
    scene.packet(3, 1, vec![]);
    scene.copy(4, 20, 17);

    scene.serve(&Stream::of_room(&[8, 12, 17, 20, 22]));

    assert_eq!(scene.delivered(), (vec![12, 17, 20, 22], 0));
}

#[test]
fn a_later_member_stands_where_routers_are() {
    let mut scene = Scene::member(10);
    scene.copy(1, 12, 8);
    scene.marks(30);
    // What is behind the mark has come without a hole, so all before it has.
    scene.packet(2, 1, vec![]);
    scene.hub.note_safe(scene.now);
    scene.told_shards();

    scene.joins(2, "r");

    assert_eq!(scene.granted()[0].start, Start { position: position(30), recovery: None });
}

#[test]
fn nobody_is_told_of_a_place_behind_which_something_may_turn_up_late() {
    let mut scene = Scene::member(10);
    scene.copy(1, 12, 8);
    scene.marks(30);
    scene.packet(2, 1, vec![]);
    scene.hub.note_safe(scene.now);
    // A router has gone: what it had not forwarded comes from its heir, or from the stream.
    scene.marks_of(1, 2, 30);
    scene.told_shards();

    scene.joins(2, "r");

    assert_eq!(scene.granted()[0].start.position, position(12));
    scene.copy(3, 20, 12);
    assert_eq!(scene.delivered(), (vec![20], 0), "news for both");
}

#[test]
fn history_is_read_in_pages() {
    let stream = Stream::of_room(&[2, 3, 5, 8, 12]);
    let mark = |seq| Mark { epoch: None, seq };
    for (cursor, page, next) in [
        (Cursor::NEWEST, vec![8, 12], Some(8)),
        (Cursor::Before(mark(8)), vec![3, 5], Some(3)),
        (Cursor::Before(mark(4)), vec![2, 3], None),
        (Cursor::After(mark(3)), vec![5, 8], Some(8)),
        (Cursor::After(mark(5)), vec![8, 12], None),
        (Cursor::After(mark(12)), vec![], None),
    ] {
        let mut scene = Scene::member(10);
        let (conn, room) = (conn(0, 1), "r".into());
        scene.says(ToHub::History { conn, ticket: 5, room, from: cursor.clone(), limit: 2, callout: None });
        scene.serve(&stream);

        let told = scene.told_shards();
        let [(0, ToShard::History { ticket: 5, result: Ok(got), .. })] = &told[..] else { panic!("{told:?}") };
        let seqs: Vec<_> = got.messages.iter().filter_map(|it| it.kept.as_ref()).map(|kept| kept.seq).collect();
        assert_eq!((seqs, got.next.as_ref().map(|next| next.seq)), (page, next), "{cursor:?}");
    }
}

#[test]
fn a_page_that_a_replica_lacks_the_end_of_is_read_on_elsewhere() {
    let (stream, replica) = (Stream::of_room(&[2, 3, 5, 8, 12]), Stream::of_room(&[2, 3]));
    let mut scene = Scene::member(10);
    let from = Cursor::Before(Mark { epoch: None, seq: 11 });
    scene.says(ToHub::History { conn: conn(0, 1), ticket: 5, room: "r".into(), from, limit: 2, callout: None });
    scene.serve_with_replica(&stream, &replica, 2);

    let told = scene.told_shards();
    let [(0, ToShard::History { result: Ok(got), .. })] = &told[..] else { panic!("{told:?}") };
    let seqs: Vec<_> = got.messages.iter().filter_map(|it| it.kept.as_ref()).map(|kept| kept.seq).collect();
    assert_eq!(seqs, [5, 8]);
}

#[test]
fn without_a_word_of_the_stream_nothing_is_asked_of_it() {
    let mut scene = Scene::new(&[1]);
    scene.joins_since(1, "e1", 4);
    scene.acks(1, 1);

    assert_eq!(scene.granted()[0].start, Start::default());
    assert!(scene.published("$JS.API.").is_empty());
    scene.copy(1, 12, 8);
    assert_eq!(scene.delivered(), (vec![12], 0), "the first copy begins the room's place");
    scene.copy(2, 12, 8);
    assert_eq!(scene.delivered(), (vec![], 0));
}

#[test]
fn second_copy_that_wants_a_receipt_is_counted_where_the_members_are() {
    let mut scene = Scene::member(9);
    scene.copy(1, 10, 9);
    assert_eq!(scene.delivered().0, [10]);

    scene.copy_with(2, 10, 9, Some(ReceiptAsk { number: 3, acked: false, timeout_ms: 400 }));

    let told = scene.told_shards();
    assert!(matches!(&*told, [(_, ToShard::Count(shared))] if shared.receipt.is_some()), "{told:?}");
    assert!(
        scene.reports(1).iter().all(|report| report.receipts.is_empty()),
        "the shard has yet to say whom it reached"
    );
}
