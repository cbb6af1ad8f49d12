//! Bounds of one session, and that it gives memory back.

use super::kit::{Bench, ana};
use crate::auth::{Identity, RoomPatterns};
use crate::handshake::Limits;
use crate::session::{Event, Session};

#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 128, "{} bytes", size_of::<Session>());
}

#[test]
fn what_is_not_needed_any_more_is_given_back() {
    let mut bench = Bench::member();
    bench.text(r#"{"type":"send","id":1,"to":"x"}"#);
    assert!(bench.session.rare.is_some());

    bench.apply(Event::Published { ticket: 1, result: Ok(()) });

    assert!(bench.session.rare.is_none());
}

#[test]
fn rooms_are_bounded_but_for_those_of_a_domain_service() {
    let limits = Limits { rooms_max: 2, ..Limits::default() };
    let mut bench = Bench::welcomed(Identity { rooms: RoomPatterns::any(), ..ana() }, limits);
    bench.apply(Event::Entered { room: "vip".into(), position: None });
    bench.take();
    bench.check(r#"{"type":"join","room":"a"}"#, &["join #0 a"]);
    bench.joined(0, "a", Ok(()));
    bench.check(r#"{"type":"join","room":"b"}"#, &["join #1 b"]);
    bench.check(
        r#"{"type":"join","id":3,"room":"c"}"#,
        &[r#"{"type":"error","id":3,"code":"too_many","message":"too many rooms","retry":false}"#],
    );
    bench.joined(1, "b", Ok(()));
    bench.check(r#"{"type":"join","id":3,"room":"b"}"#, &[r#"{"type":"ok","id":3}"#]);

    bench.text(r#"{"type":"leave","room":"a"}"#);
    bench.take();

    bench.check(r#"{"type":"join","room":"c"}"#, &["join #2 c"]);
}

#[test]
fn joins_of_one_room_are_bounded_too() {
    let limits = Limits { rooms_max: 2, ..Limits::default() };
    let mut bench = Bench::welcomed(ana(), limits);
    bench.text(r#"{"type":"join","id":1,"room":"chat/1"}"#);
    bench.text(r#"{"type":"join","id":2,"room":"chat/1"}"#);
    bench.take();

    bench.check(
        r#"{"type":"join","id":3,"room":"chat/1"}"#,
        &[r#"{"type":"error","id":3,"code":"too_many","message":"too many joins at once","retry":true}"#],
    );
}

#[test]
fn requests_are_bounded() {
    let mut bench = Bench::welcomed(ana(), Limits { requests_max: 1, ..Limits::default() });
    bench.check(r#"{"type":"request","id":1,"to":"x"}"#, &["request #0 x  5s"]);
    bench.check(
        r#"{"type":"request","id":2,"to":"x"}"#,
        &[r#"{"type":"error","id":2,"code":"too_many","message":"too many requests at once","retry":true}"#],
    );

    bench.apply(Event::Replied { ticket: 0, result: Ok("1".into()) });
    bench.take();

    bench.check(r#"{"type":"request","id":3,"to":"x"}"#, &["request #1 x  5s"]);
}

#[test]
fn unconfirmed_messages_are_bounded_but_for_those_that_want_no_answer() {
    let mut bench = Bench::welcomed(ana(), Limits { publishes_max: 1, ..Limits::default() });
    bench.check(r#"{"type":"send","id":1,"to":"x","data":1}"#, &["publish #0 x 1"]);
    bench.check(r#"{"type":"send","id":2,"to":"x","data":2}"#, &[
        r#"{"type":"error","id":2,"code":"too_many","message":"too many messages are not confirmed yet","retry":true}"#,
    ]);
    bench.check(r#"{"type":"send","to":"x","data":3}"#, &["publish x 3"]);
}
