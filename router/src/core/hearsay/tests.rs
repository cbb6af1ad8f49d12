//! What differs, what is suspected, and who tells it.

use holdfast_protocol::wire::Cause;

use super::*;

fn node() -> NodeId {
    NodeId::gateway([1; 8])
}

fn at(seq: u64) -> (Position, u64) {
    (Position { node: node(), seq, cause: Cause::Connect }, seq)
}

/// One that listens and follows.
fn hearsay() -> Hearsay {
    let mut hearsay = Hearsay::new(1);
    hearsay.heard(0, Kind::Room, "another", (true, true), || None);
    hearsay.follow(0, false);
    hearsay
}

fn hear(hearsay: &mut Hearsay, now_ms: u64, is_told_there: bool, is_there: bool) {
    hearsay.heard(now_ms, Kind::Room, "r", (is_told_there, is_there), || Some(node()));
}

fn settle(hearsay: &mut Hearsay, now_ms: u64, view: View, ours: bool) -> Vec<Amendment> {
    let voice = if ours { Voice::Owner } else { Voice::Witness };
    hearsay.settle(now_ms, |_, _| view, |_| voice)
}

fn amended(view: View, ours: Option<(Position, u64)>, node: Option<NodeId>) -> Vec<Amendment> {
    vec![Amendment { kind: Kind::Room, key: "r".into(), view, ours, node }]
}

#[test]
fn what_was_told_and_is_not_so_is_amended_by_its_owner_once() {
    let mut hearsay = hearsay();
    hear(&mut hearsay, 1_000, false, true);
    let there = View::There(node());
    assert_eq!(settle(&mut hearsay, 2_499, there, true), [], "it may settle");
    assert_eq!(settle(&mut hearsay, 3_000, there, false), [], "another's");
    assert_eq!(settle(&mut hearsay, 3_500, View::Unsure, true), []);
    assert_eq!(settle(&mut hearsay, 4_000, there, true), amended(there, None, Some(node())));
    assert_eq!(settle(&mut hearsay, 9_000, there, true), []);
}

#[test]
fn what_agrees_by_the_time_it_counts_is_forgotten() {
    for settles_by_itself in [false, true] {
        let mut hearsay = hearsay();
        hear(&mut hearsay, 1_000, true, false);
        if settles_by_itself {
            assert_eq!(settle(&mut hearsay, 3_000, View::There(node()), true), []);
        } else {
            hear(&mut hearsay, 1_100, false, false);
        }
        assert_eq!(settle(&mut hearsay, 4_000, View::Gone, true), [], "{settles_by_itself}");
    }
}

#[test]
fn what_was_seen_and_not_heard_is_told_as_it_was_seen() {
    let mut hearsay = hearsay();
    hearsay.saw(1_000, Kind::Room, "r", false, at(7));
    assert_eq!(settle(&mut hearsay, 3_000, View::Gone, true), amended(View::Gone, Some(at(7)), None));

    hearsay.saw(4_000, Kind::Room, "r", true, at(8));
    hear(&mut hearsay, 4_001, true, true);
    hearsay.saw(5_000, Kind::Room, "r", false, at(9));
    hearsay.saw(5_000, Kind::Room, "r", true, at(10));
    assert_eq!(settle(&mut hearsay, 9_000, View::Gone, true), [], "heard, or taken back before it was told");
}

#[test]
fn a_fact_that_is_heard_before_we_see_why_agrees_when_we_do() {
    let mut hearsay = hearsay();
    hear(&mut hearsay, 1_000, true, false);
    hearsay.saw(1_001, Kind::Room, "r", true, at(7));
    assert_eq!(settle(&mut hearsay, 9_000, View::Gone, true), []);
}

#[test]
fn who_hears_no_facts_or_is_not_whole_waits_for_none() {
    let mut deaf = Hearsay::new(1);
    deaf.follow(0, false);
    deaf.saw(1_000, Kind::Room, "r", true, at(7));
    assert_eq!(settle(&mut deaf, 3_000, View::There(node()), true), []);

    let mut joining = hearsay();
    joining.begin_anew(500);
    joining.saw(1_000, Kind::Room, "r", true, at(7));
    assert_eq!(settle(&mut joining, 3_000, View::There(node()), true), []);
    assert!(!joining.see(true), "a batch that comes meanwhile");
    joining.saw(1_000, Kind::Room, "r", true, at(7));
    joining.follow(1_000, true);
    assert_eq!(settle(&mut joining, 4_000, View::There(node()), true).len(), 1);
}

#[test]
fn what_is_suspected_is_told_by_its_owner_unless_it_is_heard() {
    for (is_told_there, hears) in [(Some(false), false), (Some(false), true), (None, false), (None, true)] {
        for view in [View::There(node()), View::Gone] {
            let is_there = view != View::Gone;
            let mut hearsay = hearsay();
            hearsay.suspect(1_000, Kind::Room, "r", is_told_there);
            if hears {
                hear(&mut hearsay, 1_100, is_there, is_there);
            }
            assert_eq!(settle(&mut hearsay, 5_900, view, false), [], "its owner may know better");
            let told = settle(&mut hearsay, 6_400, view, true);
            let is_so = hears || is_told_there == Some(is_there);
            assert_eq!(told, if is_so { vec![] } else { amended(view, None, None) });
        }
    }
    let mut hearsay = hearsay();
    hearsay.suspect(1_000, Kind::Room, "r", None);
    assert_eq!(settle(&mut hearsay, 6_000, View::Gone, false).len(), 1, "or does not suspect it");
}

#[test]
fn what_is_unknown_is_known_again_when_the_key_comes_or_goes() {
    let mut hearsay = hearsay();
    hearsay.suspect(1_000, Kind::Room, "r", None);
    hearsay.saw(1_100, Kind::Room, "r", true, at(7));
    hearsay.saw(1_200, Kind::Room, "r", false, at(8));
    assert_eq!(settle(&mut hearsay, 3_000, View::Gone, true), [], "back to where it was");
    hearsay.suspect(4_000, Kind::Room, "r", None);
    hearsay.saw(4_100, Kind::Room, "r", true, at(9));
    let there = View::There(node());
    assert_eq!(settle(&mut hearsay, 6_000, there, true), amended(there, Some(at(9)), None));
}

#[test]
fn what_its_owner_does_not_know_is_told_by_who_does_and_not_again_if_that_one_contradicts() {
    let mut hearsay = hearsay();
    let there = View::There(node());
    hear(&mut hearsay, 1_000, false, true);
    assert_eq!(settle(&mut hearsay, 5_900, there, false), []);
    let silent = hearsay.settle(7_000, |_, _| there, |_| Voice::None);
    assert_eq!(silent, [], "who may not speak");
    assert_eq!(settle(&mut hearsay, 7_500, there, false), amended(there, None, Some(node())));

    hear(&mut hearsay, 9_000, false, true);
    assert_eq!(settle(&mut hearsay, 67_400, there, false), []);
    assert_eq!(settle(&mut hearsay, 68_000, there, false).len(), 1, "but for good it is not left so");
}

#[test]
fn who_was_away_still_knows_what_it_heard_before() {
    for others in [false, true] {
        let mut hearsay = hearsay();
        hear(&mut hearsay, 1_000, false, true);
        hearsay.suspect(1_000, Kind::User, "u", None);
        hearsay.begin_anew(2_000);
        hearsay.follow(2_600, others);
        assert_eq!(settle(&mut hearsay, 5_000, View::There(node()), true).len(), 2, "others may not have heard it");
    }
}

#[test]
fn where_those_others_are_lost_soon_what_came_or_went_before_is_told_as_it_stands() {
    let there = View::There(node());
    for (lost_ms, hears, count) in [(5_000, false, 2), (5_000, true, 1), (20_000, false, 0)] {
        let mut hearsay = hearsay();
        hearsay.begin_anew(2_000);
        // A snapshot shows one of them, and a node tells of the other; of what came later we hear.
        hearsay.saw(2_100, Kind::Room, "came", true, at(7));
        hearsay.note_lately((2_200, 500), Kind::User, "lately");
        hearsay.note_lately((2_200, 3_500), Kind::User, "later");
        hearsay.follow(2_600, true);
        if hears {
            hearsay.heard(2_700, Kind::User, "lately", (true, true), || None);
        }
        assert_eq!(settle(&mut hearsay, 4_800, there, true), [], "who was there tells it");
        settle(&mut hearsay, lost_ms - 1, there, true);
        hearsay.suspect_lately(lost_ms);
        assert_eq!(settle(&mut hearsay, lost_ms + 2_000, there, true).len(), count, "{lost_ms} {hears}");
    }
}

#[test]
fn nothing_counts_while_facts_of_ours_wait() {
    let mut hearsay = hearsay();
    hear(&mut hearsay, 1_000, false, true);
    hearsay.wait(3_000);
    assert_eq!(settle(&mut hearsay, 4_400, View::There(node()), true), []);
    assert_eq!(settle(&mut hearsay, 4_500, View::There(node()), true).len(), 1);
}

#[test]
fn what_differs_is_bounded_and_what_is_beyond_is_counted() {
    let mut hearsay = hearsay();
    for n in 0..=WRONG_MAX {
        hearsay.saw(1_000, Kind::User, &format!("s{n}"), true, at(7));
    }
    assert_eq!(hearsay.take_dropped(), 0, "its owner tells it");
    for n in 0..=WRONG_MAX / 2 {
        hearsay.heard(1_000, Kind::User, &format!("u{n}"), (true, false), || None);
    }
    assert_eq!((hearsay.take_dropped(), hearsay.take_dropped()), (1, 0));
    let told = (0..9).map(|n| settle(&mut hearsay, 3_000 + n * LOOK_INTERVAL_MS, View::Gone, true).len());
    assert_eq!(told.collect::<Vec<_>>(), [4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 0]);
}

#[test]
fn what_is_suspected_is_bounded_and_what_is_beyond_is_counted() {
    let mut hearsay = hearsay();
    for n in 0..=WRONG_MAX / 2 {
        hearsay.suspect(1_000, Kind::User, &format!("u{n}"), None);
    }
    hearsay.suspect(1_000, Kind::User, "u0", None);
    assert_eq!(hearsay.take_dropped(), 1, "a second suspicion is none");
}

#[test]
fn who_has_told_of_many_keys_in_their_owners_stead_is_silent_for_a_while() {
    let mut hearsay = hearsay();
    for n in 0..=STOOD_IN_MAX {
        hearsay.heard(1_000, Kind::User, &format!("u{n}"), (true, false), || None);
    }
    let told = [6_000, 6_500, 65_500, 66_000].map(|ms| settle(&mut hearsay, ms, View::Gone, false).len());
    assert_eq!(told, [STOOD_IN_MAX, 0, 0, 1]);
}
