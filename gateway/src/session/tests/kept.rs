//! Kept messages: positions, resuming, history.

use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::position::{Position, Recovery, Start};
use holdfast_protocol::wire::{Content, Delivery, Kept, Target};

use super::kit::{Bench, ana, forbidden, nobody, welcome};
use crate::auth::{Identity, Refusal, RoomPatterns};
use crate::handshake::{Admission, Limits, Rules};
use crate::session::{Event, Failure, HistoryPage};

const SINCE: &str = r#""since":{"epoch":"e","seq":17}"#;
const FORBIDDEN: &str = r#""code":"forbidden","message":"the credential does not allow this room","retry":false}"#;

fn start(seq: u64, recovery: Option<Recovery>) -> Start {
    Start { position: Position::new("e", seq), recovery }
}

/// Each way a resume can end, and what the client is told of it.
fn recoveries() -> [(Option<Recovery>, &'static str); 4] {
    [
        (Some(Recovery::Whole), r#","recovered":true"#),
        (Some(Recovery::Lost { first: Position::new("f", 3) }), r#","recovered":false,"first":{"epoch":"f","seq":3}"#),
        (Some(Recovery::Lost { first: None }), r#","recovered":false"#),
        (None, r#","recovered":false"#),
    ]
}

#[test]
fn a_join_is_told_the_position() {
    let mut bench = Bench::ana();
    bench.text(r#"{"type":"join","id":1,"room":"chat/5"}"#);
    bench.text(r#"{"type":"join","id":2,"room":"chat/5"}"#);
    bench.expect(&["join #0 chat/5"]);

    // A recovery that was not asked for is none of the client's business.
    bench.joined_at(0, "chat/5", start(18, Some(Recovery::Whole)));

    bench.expect(&[
        r#"{"type":"ok","id":1,"position":{"epoch":"e","seq":18}}"#,
        r#"{"type":"ok","id":2,"position":{"epoch":"e","seq":18}}"#,
    ]);
}

#[test]
fn a_join_with_since_is_told_what_came_of_it() {
    for (recovery, expected) in recoveries() {
        let mut bench = Bench::ana();
        bench.check(&format!(r#"{{"type":"join","id":1,"room":"chat/5",{SINCE}}}"#), &["join #0 chat/5 after e.17"]);

        bench.joined_at(0, "chat/5", start(18, recovery));

        bench.expect(&[&format!(r#"{{"type":"ok","id":1,"position":{{"epoch":"e","seq":18}}{expected}}}"#)]);
        assert!(bench.session.is_in("chat/5"));
    }
}

#[test]
fn a_join_with_since_overtakes_one_under_way() {
    for first in ["", r#","since":{"epoch":"e","seq":9}"#] {
        let mut bench = Bench::ana();
        bench.text(&format!(r#"{{"type":"join","id":1,"room":"chat/5"{first}}}"#));
        bench.take();

        bench.text(&format!(r#"{{"type":"join","id":2,"room":"chat/5",{SINCE}}}"#));
        bench.text(r#"{"type":"join","id":3,"room":"chat/5"}"#);

        let lost = if first.is_empty() { "" } else { r#","recovered":false"# };
        bench.expect(&[&format!(r#"{{"type":"ok","id":1{lost}}}"#), "join #1 chat/5 after e.17"]);
        bench.joined_at(0, "chat/5", start(18, Some(Recovery::Whole)));
        bench.expect(&[]);
        assert!(!bench.session.is_in("chat/5"), "the first join was left again");
        bench.joined_at(1, "chat/5", start(19, Some(Recovery::Whole)));
        bench.expect(&[
            r#"{"type":"ok","id":2,"position":{"epoch":"e","seq":19},"recovered":true}"#,
            r#"{"type":"ok","id":3,"position":{"epoch":"e","seq":19}}"#,
        ]);
        assert!(bench.session.is_in("chat/5"));
    }
}

#[test]
fn a_re_join_with_since_overtakes_a_re_join() {
    let mut bench = Bench::member();
    bench.text(&format!(r#"{{"type":"join","id":1,"room":"chat/1",{SINCE}}}"#));
    bench.expect(&["join #1 chat/1 after e.17 leave_first"]);

    bench.text(&format!(r#"{{"type":"join","id":2,"room":"chat/1",{SINCE}}}"#));

    bench.expect(&["leave chat/1", r#"{"type":"ok","id":1,"recovered":false}"#, "join #2 chat/1 after e.17"]);
    bench.joined_at(1, "chat/1", start(18, Some(Recovery::Whole)));
    assert!(!bench.session.is_in("chat/1"));
    bench.joined_at(2, "chat/1", start(18, Some(Recovery::Whole)));
    assert!(bench.session.is_in("chat/1"));
}

#[test]
fn a_service_that_makes_a_member_tells_the_position() {
    let mut bench = Bench::ana();

    bench.apply(Event::Entered { room: "vip".into(), position: Position::new("e", 4) });

    bench.expect(&[r#"{"type":"joined","room":"vip","position":{"epoch":"e","seq":4}}"#]);
}

#[test]
fn the_user_s_stream_resumes_with_the_first_auth() {
    for (recovery, expected) in recoveries() {
        let mut bench = Bench::pending();
        bench.check(&format!(r#"{{"type":"auth","id":1,"token":"t",{SINCE}}}"#), &["verify #0 t"]);
        bench.verified(0, Ok(ana()));
        bench.expect(&["bind ana after e.17"]);

        bench.apply(Event::Bound(Ok(start(18, recovery))));

        let tail = format!(r#","position":{{"epoch":"e","seq":18}}{expected},"id":1"#);
        bench.expect(&[&welcome("ana", "1000600", &tail)]);
    }
}

#[test]
fn the_user_s_stream_resumes_with_the_url() {
    let since = Position::new("u", 3);
    let admission = || Admission { since: since.clone(), ..nobody(Dialect::Json, Rules::json()) };
    let mut known = Bench::open(Admission { identity: Some(ana()), ..admission() });
    known.expect(&["bind ana after u.3"]);
    known.apply(Event::Bound(Ok(start(3, Some(Recovery::Whole)))));
    let tail = r#","position":{"epoch":"e","seq":3},"recovered":true"#;
    known.expect(&[&welcome("ana", "1000600", tail)]);
    assert!(known.session.rare.is_none(), "{:?}", known.session.rare);

    for (said, expected) in [("", "bind ana after u.3"), (&*format!(",{SINCE}"), "bind ana after e.17")] {
        let mut pending = Bench::open(admission());
        pending.text(&format!(r#"{{"type":"auth","token":"t"{said}}}"#));
        pending.verified(0, Err(Refusal::Unavailable));
        pending.text(&format!(r#"{{"type":"auth","token":"t"{said}}}"#));
        pending.take();

        pending.verified(1, Ok(ana()));

        pending.expect(&[expected]);
    }
}

#[test]
fn without_since_the_welcome_says_nothing_of_recovery() {
    let mut bench = Bench::open(Admission { identity: Some(ana()), ..nobody(Dialect::Json, Rules::json()) });
    bench.expect(&["bind ana"]);

    bench.apply(Event::Bound(Ok(start(18, None))));

    bench.expect(&[&welcome("ana", "1000600", r#","position":{"epoch":"e","seq":18}"#)]);
}

#[test]
fn since_belongs_in_the_first_auth() {
    let mut bench = Bench::ana();
    bench.check(
        &format!(r#"{{"type":"auth","id":7,"token":"t",{SINCE}}}"#),
        &[r#"{"type":"error","id":7,"code":"bad_message","message":"since belongs in the first auth","retry":false}"#],
    );
    bench.check(r#"{"type":"auth","id":8,"token":"t","since":null}"#, &["verify #0 t"]);
}

#[test]
fn history_is_for_those_who_may_be_there() {
    let mut bench = Bench::ana();
    bench.apply(Event::Entered { room: "vip".into(), position: None });
    bench.take();
    for (text, expected) in [
        (r#"{"type":"history","room":"chat/5","before":9}"#, "history #0 chat/5 50 before 9".to_owned()),
        (
            r#"{"type":"history","room":"vip","after":{"epoch":"e","seq":1},"limit":2}"#,
            "history #1 vip 2 after e.1".to_owned(),
        ),
        (r#"{"type":"history","id":3,"room":"news","before":9}"#, format!(r#"{{"type":"error","id":3,{FORBIDDEN}"#)),
        (r#"{"type":"history","room":"news","before":9}"#, format!(r#"{{"type":"error",{FORBIDDEN}"#)),
    ] {
        bench.check(text, &[&expected]);
    }
}

#[test]
fn a_callout_decides_about_the_history_of_a_room_one_is_not_in() {
    let mut bench = Bench::welcomed_by(ana(), Rules { join_callout: true, ..Rules::json() });
    bench.apply(Event::Entered { room: "vip".into(), position: None });
    bench.take();
    bench.check(r#"{"type":"history","room":"vip","before":9}"#, &["history #0 vip 50 before 9"]);
    bench.check(r#"{"type":"history","id":1,"room":"news","before":9}"#, &["history #1 news 50 before 9 callout"]);
    bench.check(r#"{"type":"history","id":2,"room":"news","before":9}"#, &["history #2 news 50 before 9 callout"]);

    bench.apply(Event::History { ticket: 1, result: forbidden("full").map(|()| page(&[])) });
    bench.apply(Event::History { ticket: 2, result: Ok(page(&[])) });

    bench.expect(&[
        r#"{"type":"error","id":1,"code":"forbidden","message":"full","retry":false}"#,
        r#"{"type":"history","id":2,"messages":[],"more":false}"#,
    ]);
}

fn page(seqs: &[u64]) -> HistoryPage {
    let message = |seq: &u64| Delivery {
        targets: vec![Target::Room("chat/5".into())],
        id: format!("e-{seq}").into(),
        event: None,
        content: Content::Json,
        payload: seq.to_string().into(),
        received_ms: 0,
        expires_ms: None,
        key: None,
        destination: None,
        only: Vec::new(),
        except_connections: Vec::new(),
        except_users: Vec::new(),
        receipt: None,
        trace: None,
        kept: Some(Kept { epoch: "e".into(), seq: *seq, previous: 0 }),
    };
    let next = (seqs.len() > 1).then(|| seqs.first().and_then(|seq| Position::new("e", *seq))).flatten();
    HistoryPage { messages: seqs.iter().map(message).collect(), next }
}

#[test]
fn a_page_holds_messages_as_members_see_them() {
    let mut bench = Bench::ana();
    bench.text(r#"{"type":"history","id":1,"room":"chat/5","before":9}"#);
    bench.text(r#"{"type":"history","room":"chat/5","before":9}"#);
    bench.take();

    bench.apply(Event::History { ticket: 1, result: Ok(page(&[])) });
    bench.apply(Event::History { ticket: 0, result: Ok(page(&[4, 8])) });
    bench.apply(Event::History { ticket: 0, result: Ok(page(&[4, 8])) });

    bench.expect(&[
        r#"{"type":"history","messages":[],"more":false}"#,
        concat!(
            r#"{"type":"history","id":1,"messages":["#,
            r#"{"type":"message","id":"e-4","room":"chat/5","data":4,"seq":4,"epoch":"e"},"#,
            r#"{"type":"message","id":"e-8","room":"chat/5","data":8,"seq":8,"epoch":"e"}],"#,
            r#""more":true,"next":{"epoch":"e","seq":4}}"#
        ),
    ]);
    assert!(bench.session.rare.is_none(), "{:?}", bench.session.rare);
}

#[test]
fn history_that_cannot_be_read_is_an_error() {
    for (failure, expected) in [
        (Failure::Unavailable, r#""code":"unavailable","message":"not available now","retry":true"#),
        (Failure::OtherEpoch, r#""code":"bad_message","message":"the epoch has ended","retry":false"#),
    ] {
        let mut bench = Bench::ana();
        bench.text(r#"{"type":"history","id":1,"room":"chat/5","before":9}"#);
        bench.take();

        bench.apply(Event::History { ticket: 0, result: Err(failure) });

        bench.expect(&[&format!(r#"{{"type":"error","id":1,{expected}}}"#)]);
    }
}

#[test]
fn rights_that_end_while_a_page_is_read_end_the_page() {
    let mut bench = Bench::ana();
    bench.text(r#"{"type":"history","id":1,"room":"chat/5","before":9}"#);
    bench.text(r#"{"type":"auth","token":"new"}"#);
    bench.verified(1, Ok(Identity { rooms: RoomPatterns::new(Vec::new()), ..ana() }));
    bench.take();

    bench.apply(Event::History { ticket: 0, result: Ok(page(&[4])) });

    bench.expect(&[&format!(r#"{{"type":"error","id":1,{FORBIDDEN}"#)]);
}

#[test]
fn pages_are_bounded_with_requests() {
    let mut bench = Bench::welcomed(ana(), Limits { requests_max: 2, ..Limits::default() });
    bench.check(r#"{"type":"request","to":"x"}"#, &["request #0 x  5s"]);
    bench.check(r#"{"type":"history","room":"chat/5","before":9}"#, &["history #1 chat/5 50 before 9"]);
    for kind in [r#""history","room":"chat/5","before":9"#, r#""request","to":"x""#] {
        bench.check(
            &format!(r#"{{"id":1,"type":{kind}}}"#),
            &[r#"{"type":"error","id":1,"code":"too_many","message":"too many requests at once","retry":true}"#],
        );
    }

    bench.apply(Event::History { ticket: 1, result: Ok(page(&[])) });
    bench.take();

    bench.check(r#"{"type":"history","room":"chat/5","before":9}"#, &["history #2 chat/5 50 before 9"]);
}
