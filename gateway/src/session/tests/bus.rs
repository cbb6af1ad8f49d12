//! What hub and domain services make of a session: failures, memberships, gaps, closes, filters.

use holdfast_protocol::close::Close;
use holdfast_protocol::wire::Condition;
use serde_json::json;

use super::kit::{Bench, ana};
use crate::auth::Identity;
use crate::handshake::{Limits, Rules};
use crate::session::{Event, Failure, GapScope};

#[test]
fn what_the_bus_says_becomes_an_error() {
    for (failure, expected) in [
        (Failure::BusUnavailable, r#""code":"bus_unavailable","message":"the bus is not available","retry":true"#),
        (Failure::Unavailable, r#""code":"unavailable","message":"not available now","retry":true"#),
        (Failure::NoResponders, r#""code":"no_responder","message":"nobody serves this","retry":true"#),
        (Failure::Timeout, r#""code":"timeout","message":"no answer in time","retry":true"#),
        (Failure::TooBig, r#""code":"too_big","message":"larger than the bus carries","retry":false"#),
        (
            Failure::Service { status: 404, message: "no such page".into() },
            r#""code":"service","status":404,"message":"no such page","retry":false"#,
        ),
        (
            Failure::Service { status: 503, message: String::new() },
            r#""code":"service","status":503,"message":"","retry":true"#,
        ),
    ] {
        let mut bench = Bench::ana();
        bench.text(r#"{"type":"request","id":1,"to":"x"}"#);
        bench.text(r#"{"type":"send","id":2,"to":"x"}"#);
        bench.text(r#"{"type":"join","room":"chat/1"}"#);
        bench.take();

        bench.apply(Event::Replied { ticket: 0, result: Err(failure.clone()) });
        bench.apply(Event::Published { ticket: 1, result: Err(failure.clone()) });
        bench.joined(2, "chat/1", Err(failure.clone()));
        bench.apply(Event::Unpublished(failure));

        bench.expect(&[
            &format!(r#"{{"type":"error","id":1,{expected}}}"#),
            &format!(r#"{{"type":"error","id":2,{expected}}}"#),
            &format!(r#"{{"type":"error",{expected}}}"#),
            &format!(r#"{{"type":"error",{expected}}}"#),
        ]);
    }
}

#[test]
fn a_domain_service_joins_and_leaves_whatever_the_patterns_say() {
    let mut bench = Bench::ana();

    bench.apply(Event::Entered { room: "vip".into(), position: None });
    bench.expect(&[r#"{"type":"joined","room":"vip"}"#]);
    bench.check(r#"{"type":"join","id":1,"room":"vip"}"#, &[r#"{"type":"ok","id":1}"#]);
    bench.apply(Event::Removed { room: "vip".into() });

    bench.expect(&[r#"{"type":"left","room":"vip"}"#]);
    assert!(!bench.session.is_in("vip"));
}

#[test]
fn after_a_pause_each_scope_that_missed_something_has_one_gap() {
    let mut bench = Bench::member();
    bench.apply(Event::Pause);
    assert!(bench.session.is_paused());
    for room in [Some("chat/1"), None, Some("chat/1"), None, Some("left")] {
        bench.apply(Event::MissedWhilePaused { room: room.map(Into::into) });
    }
    bench.check(r#"{"type":"ping"}"#, &[r#"{"type":"pong"}"#]);

    bench.apply(Event::Resume);

    bench.expect(&[r#"gap {"type":"gap","room":"chat/1"}"#, r#"gap {"type":"gap"}"#]);
    assert!(!bench.session.is_paused());
    bench.apply(Event::Resume);
    bench.expect(&[]);
}

#[test]
fn a_pause_that_missed_nothing_leaves_no_gap() {
    let mut bench = Bench::member();
    bench.apply(Event::Pause);
    bench.apply(Event::Resume);
    bench.apply(Event::MissedWhilePaused { room: None });
    bench.apply(Event::Resume);

    bench.expect(&[]);
}

#[test]
fn one_gap_per_scope_until_it_was_sent() {
    let mut bench = Bench::member();
    let room = || Event::Gap { scope: GapScope::Room("chat/1".into()) };

    bench.apply(room());
    bench.apply(room());
    bench.apply(Event::Gap { scope: GapScope::Own });
    bench.expect(&[r#"gap {"type":"gap","room":"chat/1"}"#, r#"gap {"type":"gap"}"#]);
    bench.apply(Event::GapsWritten);
    bench.apply(room());
    bench.expect(&[r#"gap {"type":"gap","room":"chat/1"}"#]);
    bench.apply(Event::Gap { scope: GapScope::Room("elsewhere".into()) });
    bench.expect(&[]);
}

#[test]
fn a_gap_for_all_covers_each_that_is_of_live_messages() {
    let mut bench = Bench::member();
    bench.apply(Event::Gap { scope: GapScope::All });
    bench.apply(Event::Gap { scope: GapScope::All });
    bench.apply(Event::Gap { scope: GapScope::Own });
    bench.apply(Event::Gap { scope: GapScope::Room("chat/1".into()) });

    bench.expect(&[r#"gap {"type":"gap","all":true}"#]);
}

#[test]
fn that_kept_messages_are_lost_is_told_behind_a_gap_for_all_too() {
    let mut bench = Bench::member();
    bench.apply(Event::Gap { scope: GapScope::All });
    bench.take();

    for _ in 0..2 {
        bench.apply(Event::KeptGap { scope: GapScope::Own });
        bench.apply(Event::KeptGap { scope: GapScope::Room("chat/1".into()) });
        bench.apply(Event::KeptGap { scope: GapScope::Room("elsewhere".into()) });
    }

    bench.expect(&[r#"gap {"type":"gap"}"#, r#"gap {"type":"gap","room":"chat/1"}"#]);
}

#[test]
fn where_kept_messages_of_all_are_lost_each_stream_is_named() {
    let mut bench = Bench::member();
    bench.apply(Event::KeptGap { scope: GapScope::Room("chat/1".into()) });
    bench.take();

    bench.apply(Event::KeptGap { scope: GapScope::All });

    bench.expect(&[r#"gap {"type":"gap"}"#]);
}

#[test]
fn a_rejoin_starts_afresh() {
    let mut bench = Bench::member();
    bench.apply(Event::Gap { scope: GapScope::Room("chat/1".into()) });
    bench.text(r#"{"type":"join","room":"chat/1","since":{"epoch":"e","seq":1}}"#);
    bench.joined(1, "chat/1", Ok(()));
    bench.take();

    bench.apply(Event::Gap { scope: GapScope::Room("chat/1".into()) });

    bench.expect(&[r#"gap {"type":"gap","room":"chat/1"}"#]);
}

#[test]
fn goaway_is_said_once_and_again_after_it_was_taken_back() {
    let mut bench = Bench::ana();
    bench.apply(Event::GoAway { retry_after_ms: 1200, reason: "drain" });
    bench.apply(Event::GoAway { retry_after_ms: 900, reason: "shed" });
    bench.expect(&[r#"{"type":"goaway","retry_after":1200,"reason":"drain"}"#]);
    bench.apply(Event::Stay);
    bench.apply(Event::GoAway { retry_after_ms: 700, reason: "drain" });
    bench.expect(&[r#"{"type":"goaway","retry_after":700,"reason":"drain"}"#]);

    bench.apply(Event::Close(Close::Drain));
    bench.expect(&["close 1012"]);
}

#[test]
fn a_domain_service_may_end_it_with_a_code_of_its_own() {
    let mut bench = Bench::member();
    bench.apply(Event::Disconnect { code: 4321, reason: "bye" });
    bench.expect(&["close 4321 bye"]);

    assert!(bench.session.is_closing() && !bench.session.is_in("chat/1"));
    bench.apply(Event::Close(Close::Replaced));
    bench.apply(Event::Tick);
    bench.joined(0, "chat/1", Ok(()));
    bench.expect(&[]);
}

#[test]
fn conditions_compare_with_attributes_and_the_connections_own() {
    let attributes = json!({
        "role": "admin", "level": 3, "beta": true, "tags": ["a", 7, ["x"]], "none": null, "deep": {"a": 1}, "device": "not this"
    });
    let identity =
        Identity { device: Some("ios".into()), attributes: attributes.as_object().cloned().map(Into::into), ..ana() };
    let bench = Bench::welcomed(identity, Limits::default());
    for (name, value, matches) in [
        ("role", "admin", true),
        ("role", "Admin", false),
        ("role", "", false),
        ("level", "3", true),
        ("level", "3.0", false),
        ("beta", "true", true),
        ("beta", "false", false),
        ("tags", "a", true),
        ("tags", "7", true),
        ("tags", "x", false),
        ("none", "null", false),
        ("deep", "{\"a\":1}", false),
        ("missing", "", false),
        ("device", "ios", true),
        ("device", "not this", false),
        ("user", "ana", true),
        ("user", "bob", false),
        ("endpoint", "chat", true),
    ] {
        let condition = Condition { name: name.into(), value: value.into() };
        assert_eq!(bench.session.matches(&condition), matches, "{name}={value}");
    }
    let nobody = Bench::pending();
    assert!(!nobody.session.matches(&Condition { name: "endpoint".into(), value: "chat".into() }));
    let plain = Bench::welcomed_by(ana(), Rules::json());
    assert!(!plain.session.matches(&Condition { name: "device".into(), value: "".into() }));
}
