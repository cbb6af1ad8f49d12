//! A queue under each policy, written to by a socket that takes as much as the test says.

use super::*;
use crate::socket::OWN_STREAM;

const CLOSE: Bounds = Bounds { bytes_max: 10 * (ENTRY_BYTES + 10), age_max_ms: 1000, when_full: WhenFull::Close };
const DROP: Bounds = Bounds { when_full: WhenFull::DropOldest, ..CLOSE };

fn at(ms: u64) -> Now {
    Now { ms, unix_ms: 1_000_000 + ms }
}

/// Ten bytes that name the frame.
fn frame(name: u8) -> Bytes {
    Bytes::from(vec![name; 10])
}

fn control(name: u8) -> Outgoing {
    Outgoing { frame: frame(name), class: Class::Control }
}

fn message(name: u8, scope: u32) -> Outgoing {
    Outgoing { frame: frame(name), class: Class::Message { scope, expires_ms: None, key: None, kept: None } }
}

fn keyed(name: u8, scope: u32, key: u64) -> Outgoing {
    Outgoing { frame: frame(name), class: Class::Message { scope, expires_ms: None, key: Some(key), kept: None } }
}

fn expiring(name: u8, expires: Now) -> Outgoing {
    let class = Class::Message { scope: OWN_STREAM, expires_ms: Some(expires.unix_ms), key: None, kept: None };
    Outgoing { frame: frame(name), class }
}

/// Writes up to `bytes`; what was written.
fn write(outbox: &mut Outbox, now: Now, bytes: usize, lost: &mut Lost) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 64];
    let filled = outbox.fill(now, &mut slices, lost);
    let ready = slices.get(..filled).unwrap().iter().flat_map(|slice| slice.iter().copied());
    let written: Vec<u8> = ready.take(bytes).collect();
    outbox.advance(written.len(), |_| {});
    written
}

/// The names of all that is left, in order.
fn drain(outbox: &mut Outbox, now: Now) -> String {
    let mut names = String::new();
    loop {
        let written = write(outbox, now, usize::MAX, &mut Lost::default());
        if written.is_empty() {
            return names;
        }
        names.extend(written.chunk_by(|one, other| one == other).map(|frame| char::from(frame[0])));
    }
}

#[test]
fn an_empty_outbox_holds_nothing() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();

    outbox.push(at(0), keyed(b'a', 1, 1), &CLOSE, &mut lost);
    outbox.push(at(0), expiring(b'b', at(5)), &CLOSE, &mut lost);
    write(&mut outbox, at(10), usize::MAX, &mut lost);

    assert_eq!(outbox.take_withdrawn(), [2], "its time was over");
    assert!(outbox.waiting.is_none());
    assert_eq!(outbox.passed(), 2);
    assert_eq!(size_of::<Outbox>(), 16);
}

#[test]
fn frames_leave_in_order_and_numbers_say_how_far() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();
    for name in b"abc" {
        outbox.push(at(0), message(*name, 1), &CLOSE, &mut lost);
    }

    assert_eq!(outbox.passed(), 0);
    assert_eq!(write(&mut outbox, at(0), 15, &mut lost), b"aaaaaaaaaabbbbb");
    assert_eq!((outbox.passed(), outbox.bytes()), (1, 15));
    assert_eq!(write(&mut outbox, at(0), 5, &mut lost), b"bbbbb");
    assert_eq!((outbox.passed(), outbox.bytes()), (2, 10));
    assert_eq!(outbox.push(at(0), control(b'd'), &CLOSE, &mut lost), Pushed::Queued(4));
    assert_eq!(drain(&mut outbox, at(0)), "cd");
    assert_eq!(outbox.passed(), 4);
}

#[test]
fn policy_close_overflows_at_its_bound() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();
    for name in 0..10 {
        assert_eq!(outbox.push(at(0), message(name, 1), &CLOSE, &mut lost), Pushed::Queued(u64::from(name) + 1));
    }

    assert_eq!(outbox.push(at(0), message(b'x', 1), &CLOSE, &mut lost), Pushed::Overflow);
    assert_eq!(outbox.push(at(0), control(b'x'), &CLOSE, &mut lost), Pushed::Overflow);
    assert_eq!(outbox.bytes(), 100);
    write(&mut outbox, at(0), 10, &mut lost);
    assert_eq!(outbox.push(at(0), message(b'y', 1), &CLOSE, &mut lost), Pushed::Queued(11));
    assert_eq!(lost, Lost::default());
}

#[test]
fn one_frame_of_any_size_may_wait_alone() {
    let mut outbox = Outbox::default();
    let huge = Outgoing { frame: Bytes::from(vec![1; 2 * CLOSE.bytes_max]), class: Class::Control };

    assert_eq!(outbox.push(at(0), huge.clone(), &CLOSE, &mut Lost::default()), Pushed::Queued(1));
    assert_eq!(outbox.push(at(0), huge, &CLOSE, &mut Lost::default()), Pushed::Overflow);
}

#[test]
fn drop_oldest_spares_control_and_the_begun_frame() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();
    for outgoing in [message(b'a', 1), control(b'b'), message(b'c', 2), message(b'd', 3), message(b'e', 2)] {
        outbox.push(at(0), outgoing, &DROP, &mut lost);
    }
    for name in b'f'..=b'j' {
        outbox.push(at(0), control(name), &DROP, &mut lost);
    }
    write(&mut outbox, at(0), 3, &mut lost);

    let two = Outgoing { frame: Bytes::from(vec![b'z'; 20 + ENTRY_BYTES]), class: Class::Control };
    assert_eq!(outbox.push(at(0), two, &DROP, &mut lost), Pushed::Queued(11));

    assert_eq!(outbox.take_gaps(), [2, 3]);
    assert_eq!(outbox.take_gaps(), Vec::<u32>::new());
    assert_eq!(lost.dropped, 2);
    assert_eq!(drain(&mut outbox, at(0)), "abefghijz");
}

#[test]
fn a_queue_full_of_control_refuses_messages_and_overflows_for_control() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();
    for name in 0..10 {
        outbox.push(at(0), control(name), &DROP, &mut lost);
    }

    assert_eq!(outbox.push(at(0), message(b'x', 1), &DROP, &mut lost), Pushed::Dropped);
    assert_eq!(outbox.push(at(0), control(b'x'), &DROP, &mut lost), Pushed::Overflow);
    assert_eq!(lost.dropped, 1);
}

#[test]
fn a_newer_message_of_the_key_goes_to_the_tail() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();
    for outgoing in [keyed(b'a', 1, 7), keyed(b'b', 2, 7), message(b'c', 1), keyed(b'd', 1, 8), keyed(b'e', 1, 7)] {
        outbox.push(at(0), outgoing, &CLOSE, &mut lost);
    }

    assert_eq!(lost, Lost { replaced: 1, ..Lost::default() });
    assert_eq!(outbox.passed(), 1);
    assert_eq!(drain(&mut outbox, at(0)), "bcde");
    assert_eq!(outbox.passed(), 5);
}

#[test]
fn a_begun_message_is_finished_though_a_newer_one_came_or_its_time_is_over() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();
    outbox.push(at(0), keyed(b'a', 1, 7), &CLOSE, &mut lost);
    write(&mut outbox, at(0), 4, &mut lost);
    outbox.push(at(0), keyed(b'b', 1, 7), &CLOSE, &mut lost);
    outbox.push(at(0), keyed(b'c', 1, 7), &CLOSE, &mut lost);
    assert_eq!(drain(&mut outbox, at(0)), "ac");

    outbox.push(at(0), expiring(b'd', at(5)), &CLOSE, &mut lost);
    write(&mut outbox, at(0), 4, &mut lost);
    assert_eq!(drain(&mut outbox, at(9)), "d");
    assert_eq!(lost, Lost { replaced: 1, ..Lost::default() });
}

#[test]
fn conflation_of_a_stuck_client_keeps_one_message() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();
    outbox.push(at(0), control(b'a'), &CLOSE, &mut lost);
    for _ in 0..10_000 {
        assert!(matches!(outbox.push(at(0), keyed(b'b', 1, 7), &CLOSE, &mut lost), Pushed::Queued(_)));
    }

    let waiting = outbox.waiting.as_ref().unwrap();
    assert!(waiting.entries.len() < 64, "{}", waiting.entries.len());
    assert_eq!((waiting.bytes, waiting.keyed.len(), lost.replaced), (20, 1, 9_999));
    assert_eq!(drain(&mut outbox, at(0)), "ab");
}

#[test]
fn messages_expire_before_and_while_they_wait() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();

    assert_eq!(outbox.push(at(9), expiring(b'a', at(8)), &CLOSE, &mut lost), Pushed::Dropped);
    outbox.push(at(9), expiring(b'b', at(9)), &CLOSE, &mut lost);
    outbox.push(at(9), message(b'c', 1), &CLOSE, &mut lost);
    outbox.push(at(9), expiring(b'd', at(20)), &CLOSE, &mut lost);
    assert_eq!(write(&mut outbox, at(10), usize::MAX, &mut lost), b"ccccccccccdddddddddd");

    assert_eq!(lost, Lost { expired: 2, ..Lost::default() });
    assert_eq!(outbox.take_gaps(), Vec::<u32>::new());
    assert_eq!(outbox.passed(), 3);
}

#[test]
fn age_closes_under_one_policy_and_drops_messages_under_the_other() {
    for (bounds, after_messages) in [(CLOSE, true), (DROP, false)] {
        let mut outbox = Outbox::default();
        let mut lost = Lost::default();
        outbox.push(at(0), message(b'a', 1), &bounds, &mut lost);
        outbox.push(at(500), control(b'b'), &bounds, &mut lost);
        outbox.push(at(900), message(b'c', 2), &bounds, &mut lost);

        assert!(!outbox.is_too_old(at(1000), &bounds, &mut lost));
        assert_eq!(outbox.is_too_old(at(1001), &bounds, &mut lost), after_messages);
        assert!(outbox.is_too_old(at(1501), &bounds, &mut lost));
    }

    let mut outbox = Outbox::default();
    let mut lost = Lost::default();
    outbox.push(at(0), message(b'a', 1), &DROP, &mut lost);
    assert!(!outbox.is_too_old(at(5000), &DROP, &mut lost));
    assert_eq!((outbox.take_gaps(), outbox.is_empty(), lost.dropped), (vec![1], true, 1));
}

#[test]
fn clear_leaves_the_begun_frame_and_what_is_pushed_last() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();
    for name in b"abc" {
        outbox.push(at(0), keyed(*name, 1, u64::from(*name)), &CLOSE, &mut lost);
    }
    write(&mut outbox, at(0), 4, &mut lost);

    outbox.clear();
    outbox.push_last(at(0), frame(b'z'));

    assert_eq!(outbox.bytes(), 16);
    assert_eq!(drain(&mut outbox, at(0)), "az");
}

#[test]
fn random_use_keeps_order_and_accounts() {
    for seed in 0..200_u64 {
        let mut state = seed;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mut outbox = Outbox::default();
        let mut lost = Lost::default();
        let (mut written, mut queued, mut bytes) = (Vec::new(), 0, Vec::new());
        for step in 0..500_u64 {
            let now = at(step);
            let mut number = [0; 10];
            number.first_chunk_mut::<8>().unwrap().copy_from_slice(&(queued + 1_u64).to_be_bytes());
            let key = (below(3) == 0).then(|| below(4));
            let expires_ms = (below(4) == 0).then(|| now.unix_ms + below(20));
            let class = match below(4) {
                0 => Class::Control,
                _ => Class::Message { scope: u32::try_from(below(3)).unwrap(), expires_ms, key, kept: None },
            };
            let outgoing = Outgoing { frame: Bytes::copy_from_slice(&number), class };
            if let Pushed::Queued(number) = outbox.push(now, outgoing, &DROP, &mut lost) {
                queued += 1;
                assert_eq!(number, queued, "seed {seed}");
            }
            if below(3) == 0 {
                bytes.extend(write(&mut outbox, now, usize::try_from(below(60)).unwrap(), &mut lost));
            }
            let waiting: usize =
                outbox.waiting.iter().flat_map(|waiting| &waiting.entries).map(|e| e.frame.len()).sum();
            let head_written = outbox.waiting.as_ref().map_or(0, |waiting| waiting.head_written);
            assert_eq!(outbox.bytes(), waiting - head_written, "seed {seed}");
            assert!(outbox.bytes() <= DROP.bytes_max);
        }
        bytes.extend(write(&mut outbox, at(500), usize::MAX, &mut lost));
        written.extend(bytes.chunks(10).map(|frame| u64::from_be_bytes(*frame.first_chunk().unwrap())));

        assert!(written.is_sorted_by(|one, next| one < next), "seed {seed}");
        assert_eq!(outbox.passed(), queued, "seed {seed}");
        assert!(outbox.is_empty(), "seed {seed}");
    }
}

#[test]
fn what_was_written_past_the_queue_is_numbered_and_its_rest_goes_first() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();

    assert_eq!(outbox.written_past(at(0), &message(b'a', 1), 10), 1);
    assert!(outbox.is_empty());
    assert_eq!(outbox.passed(), 1);
    assert_eq!(outbox.written_past(at(0), &message(b'b', 1), 4), 2);
    assert_eq!(outbox.push(at(0), message(b'c', 1), &CLOSE, &mut lost), Pushed::Queued(3));

    assert_eq!((outbox.passed(), outbox.bytes()), (1, 16));
    assert_eq!(write(&mut outbox, at(0), 6, &mut lost), b"bbbbbb");
    assert_eq!(outbox.passed(), 2);
    assert_eq!(drain(&mut outbox, at(0)), "c");
}

#[test]
fn what_was_begun_past_the_queue_is_not_replaced() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();
    outbox.written_past(at(0), &keyed(b'a', 1, 7), 4);

    outbox.push(at(0), keyed(b'b', 1, 7), &CLOSE, &mut lost);

    assert_eq!((drain(&mut outbox, at(0)).as_str(), lost), ("ab", Lost::default()));
}

fn kept(name: u8, scope: u32, seq: u64) -> Outgoing {
    let class = Class::Message { scope, expires_ms: None, key: None, kept: NonZeroU64::new(seq) };
    Outgoing { frame: frame(name), class }
}

fn behind(outbox: &mut Outbox) -> Vec<(u32, u64)> {
    outbox.take_behind().into_iter().map(|(scope, seq)| (scope, seq.get())).collect()
}

#[test]
fn kept_messages_that_give_way_take_all_behind_them_of_their_scope_along_and_are_no_gap() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();
    let queue = [message(b'a', 1), kept(b'b', 1, 3), kept(b'c', 2, 4), message(b'd', 1), kept(b'e', 1, 7)];
    for outgoing in queue.into_iter().chain((b'f'..=b'j').map(control)) {
        outbox.push(at(0), outgoing, &DROP, &mut lost);
    }
    // Room for two: the oldest two give way.
    let two = Outgoing { frame: Bytes::from(vec![b'z'; 20 + ENTRY_BYTES]), class: Class::Control };
    outbox.push(at(0), two, &DROP, &mut lost);

    assert_eq!(outbox.push(at(0), kept(b'x', 1, 8), &DROP, &mut lost), Pushed::Dropped, "behind those");
    assert_eq!((outbox.take_gaps(), behind(&mut outbox)), (vec![1], vec![(1, 3)]));
    assert_eq!(behind(&mut outbox), []);
    assert_eq!(lost.dropped, 3);
    assert_eq!(drain(&mut outbox, at(0)), "cdfghijz");
}

#[test]
fn what_waits_of_a_room_that_was_left_gives_way_without_a_word() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();
    for outgoing in [kept(b'a', 1, 3), kept(b'b', 2, 4), message(b'c', 1), keyed(b'd', 1, 7), kept(b'e', 1, 5)] {
        outbox.push(at(0), outgoing, &DROP, &mut lost);
    }

    assert_eq!(outbox.forget(1).dropped, 2, "the kept ones, so that none comes without those before it");
    outbox.push(at(0), keyed(b'f', 1, 7), &DROP, &mut lost);
    for name in b'g'..=b'n' {
        outbox.push(at(0), control(name), &DROP, &mut lost);
    }

    assert_eq!((outbox.take_gaps(), behind(&mut outbox)), (vec![], vec![(2, 4)]));
    assert_eq!(drain(&mut outbox, at(0)), "dfghijklmn", "the key is a new one's");
}

#[test]
fn a_kept_message_refused_by_a_full_queue_is_one_to_be_read_again() {
    let mut outbox = Outbox::default();
    let mut lost = Lost::default();
    for name in 0..10 {
        outbox.push(at(0), control(name), &DROP, &mut lost);
    }

    assert_eq!(outbox.push(at(0), kept(b'x', 1, 5), &DROP, &mut lost), Pushed::Dropped);
    assert_eq!(outbox.push(at(0), message(b'y', 2), &DROP, &mut lost), Pushed::Dropped);

    assert_eq!((outbox.take_gaps(), behind(&mut outbox)), (vec![2], vec![(1, 5)]));
}

/// Kept messages of a few rooms, and a shard that reads on from where one gave way.
#[derive(Default)]
struct Stream {
    scopes: Vec<u32>,
    lags: Vec<(u32, u64)>,
}

impl Stream {
    fn outgoing(seq: u64, scope: u32) -> Outgoing {
        let number = [&seq.to_be_bytes()[..], &[u8::try_from(scope).unwrap(), 1]].concat();
        Outgoing { frame: number.into(), class: kept(0, scope, seq).class }
    }

    fn publish(&mut self, outbox: &mut Outbox, now: Now, scope: u32, lost: &mut Lost) {
        self.scopes.push(scope);
        if self.lags.iter().all(|(behind, _)| *behind != scope) {
            outbox.push(now, Self::outgoing(self.scopes.len() as u64, scope), &DROP, lost);
        }
    }

    fn fall_behind(&mut self, outbox: &mut Outbox) {
        for (scope, from) in behind(outbox) {
            match self.lags.iter_mut().find(|(known, _)| *known == scope) {
                Some(lag) => lag.1 = lag.1.min(from),
                None => self.lags.push((scope, from)),
            }
        }
    }

    fn read_on(&mut self, outbox: &mut Outbox, now: Now, lost: &mut Lost) {
        for (scope, from) in std::mem::take(&mut self.lags) {
            let rest = (1..).zip(&self.scopes).filter(|(seq, of)| *seq >= from && **of == scope);
            for (seq, _) in rest {
                if !outbox.fits(10, &DROP) {
                    self.lags.push((scope, seq));
                    break;
                }
                outbox.push(now, Self::outgoing(seq, scope), &DROP, lost);
            }
        }
    }
}

#[test]
fn each_kept_message_is_written_once_and_in_order_where_what_gave_way_is_read_again() {
    for seed in 0..300_u64 {
        let mut state = seed;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let (mut outbox, mut lost, mut stream) = (Outbox::default(), Lost::default(), Stream::default());
        let mut bytes = Vec::new();
        for step in 0..500 {
            let now = at(step * 10);
            if below(2) == 0 {
                stream.publish(&mut outbox, now, u32::try_from(below(3)).unwrap(), &mut lost);
            }
            if below(5) == 0 {
                outbox.push(now, message(0xff, 7), &DROP, &mut lost);
            }
            if below(3) == 0 {
                bytes.extend(write(&mut outbox, now, usize::try_from(below(60)).unwrap(), &mut lost));
            }
            outbox.is_too_old(now, &DROP, &mut lost);
            stream.fall_behind(&mut outbox);
            if outbox.is_empty() {
                stream.read_on(&mut outbox, now, &mut lost);
            }
        }
        while !outbox.is_empty() || !stream.lags.is_empty() {
            bytes.extend(write(&mut outbox, at(6000), usize::MAX, &mut lost));
            stream.read_on(&mut outbox, at(6000), &mut lost);
        }
        for scope in 0..3 {
            let sent = (1..).zip(&stream.scopes).filter(|(_, of)| **of == scope).map(|(seq, _)| seq);
            let read = bytes.chunks(10).filter(|frame| frame[9] == 1 && u32::from(frame[8]) == scope);
            let read = read.map(|frame| u64::from_be_bytes(*frame.first_chunk().unwrap()));
            assert_eq!(read.collect::<Vec<u64>>(), sent.collect::<Vec<u64>>(), "seed {seed}, scope {scope}");
        }
    }
}

#[test]
fn what_was_taken_back_is_named_once_unless_it_had_been_there_at_the_time_before() {
    let (mut outbox, mut lost) = (Outbox::default(), Lost::default());
    let push = |outbox: &mut Outbox, lost: &mut Lost, outgoing| outbox.push(at(0), outgoing, &DROP, lost);
    push(&mut outbox, &mut lost, keyed(b'a', 1, 7));
    push(&mut outbox, &mut lost, keyed(b'b', 1, 7));
    assert_eq!(outbox.take_withdrawn(), [1]);
    assert!(outbox.take_withdrawn().is_empty());

    push(&mut outbox, &mut lost, keyed(b'c', 1, 7));
    assert!(outbox.take_withdrawn().is_empty(), "2 was there before");
    for name in b'd'..b'p' {
        push(&mut outbox, &mut lost, message(name, 1));
    }
    assert_eq!(outbox.take_withdrawn(), [4, 5], "3 was there before");

    push(&mut outbox, &mut lost, control(b'z'));
    outbox.clear();
    let passed = push(&mut outbox, &mut lost, control(b'y'));
    assert_eq!((outbox.take_withdrawn(), passed), (vec![16], Pushed::Queued(17)));
    drain(&mut outbox, at(0));
    assert_eq!(outbox.take_gaps(), [1]);
    assert!(outbox.waiting.is_none());
}
