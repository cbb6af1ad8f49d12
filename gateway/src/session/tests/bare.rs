//! Clients that speak `bare`: payloads, INIT, rooms of the URL.

use std::time::Duration;

use holdfast_protocol::close::Close;
use holdfast_protocol::dialect::Dialect;

use super::kit::{Bench, ana, forbidden, nobody};
use crate::auth::{Identity, Refusal};
use crate::handshake::{Admission, Limits, Rules, Source};
use crate::session::{Event, Failure, GapScope};

fn dev() -> Rules {
    Rules { unsigned_users: true, ..Rules::bare() }
}

/// `?userId=123` in the development profile.
fn query_user() -> Bench {
    let identity = Some(Identity::unsigned("123", None));
    let mut bench = Bench::open(Admission { identity, unsigned: true, ..nobody(Dialect::Bare, dev()) });
    bench.bound(Ok(()));
    bench.expect(&["bind 123"]);
    bench
}

/// A token in the handshake.
fn token_user(rules: Rules) -> Bench {
    let mut bench = Bench::open(Admission { identity: Some(ana()), ..nobody(Dialect::Bare, rules) });
    bench.bound(Ok(()));
    bench.expect(&["bind ana"]);
    bench
}

#[test]
fn payloads_go_upstream_as_they_are() {
    let mut bench = query_user();
    bench.check("plain words", &["publish message plain words"]);
    bench.check(r#"{"x":1}"#, &[r#"publish message {"x":1}"#]);
    bench.binary(b"\x01\x02");
    bench.expect(&["publish message \u{1}\u{2}"]);
    bench.check("", &["publish message "]);
}

#[test]
fn a_type_field_names_the_path() {
    let mut bench = token_user(Rules { type_field: Some("kind".into()), ..Rules::bare() });
    bench.check(r#"{"kind":"order.new"}"#, &[r#"publish order|new {"kind":"order.new"}"#]);
    bench.check(r#"{"kind":7}"#, &[r#"publish message {"kind":7}"#]);
    bench.check("words", &["publish message words"]);
}

#[test]
fn init_makes_a_user_in_development() {
    let mut bench = Bench::open(nobody(Dialect::Bare, dev()));

    bench.check(r#"{"type":"INIT","userId":123,"device":"android"}"#, &["bind 123 on android"]);
    bench.check("ahead", &[]);
    bench.bound(Ok(()));

    bench.expect(&["publish message ahead"]);
}

#[test]
fn init_without_a_token_makes_nobody_elsewhere() {
    let mut bench = Bench::open(nobody(Dialect::Bare, Rules::bare()));

    bench.check(r#"{"type":"INIT","userId":123}"#, &["close 1008"]);
}

#[test]
fn init_may_carry_a_token() {
    let init = r#"{"type":"INIT","token":"t","userId":"ana","device":"web"}"#;
    let mut bench = Bench::open(nobody(Dialect::Bare, Rules::bare()));
    bench.check(init, &["verify #0 t as web"]);
    bench.verified(0, Ok(ana()));
    bench.expect(&["bind ana on web"]);

    for (result, close) in [
        (Ok(Identity { user: "bob".into(), ..ana() }), "close 1008"),
        (Err(Refusal::Invalid), "close 4401"),
        (Err(Refusal::Expired), "close 4003"),
        (Err(Refusal::Unavailable), "close 1014"),
    ] {
        let mut bench = Bench::open(nobody(Dialect::Bare, Rules::bare()));
        bench.text(init);
        bench.take();
        bench.verified(0, result);
        bench.expect(&[close]);
    }
    let elsewhere = Rules { sources: vec![Source::Authorization], ..dev() };
    Bench::open(nobody(Dialect::Bare, elsewhere)).check(init, &["close 1008"]);
}

#[test]
fn a_message_before_init_ends_the_connection() {
    for text in ["words", "{}", r#"{"type":"message"}"#, r#"{"type":"INIT","userId":1.5}"#, r#"{"type":"INIT"}"#] {
        Bench::open(nobody(Dialect::Bare, dev())).check(text, &["close 1008"]);
    }
    let mut bench = Bench::open(nobody(Dialect::Bare, dev()));
    bench.binary(br#"{"type":"INIT","userId":1}"#);
    bench.expect(&["close 1008"]);

    let mut silent = Bench::open(nobody(Dialect::Bare, dev()));
    silent.tick_after(Duration::from_secs(10));
    silent.expect(&["close 4408"]);
}

#[test]
fn init_after_a_user_of_the_url_names_the_device_alone() {
    let mut bench = query_user();
    bench.check(r#"{"type":"INIT","userId":123,"device":"android"}"#, &["rebind 123 on android"]);
    bench.check(r#"{"type":"INIT","userId":"123","device":"android"}"#, &[]);
    bench.check(r#"{"type":"INIT"}"#, &[]);
    bench.check(r#"{"type":"INIT","userId":124}"#, &["close 1008"]);

    query_user().check(r#"{"type":"INIT","device":""}"#, &["close 1008"]);
}

#[test]
fn init_means_nothing_to_a_user_with_a_token() {
    let init = r#"{"type":"INIT","userId":124}"#;

    token_user(dev()).check(init, &[&format!("publish message {init}")]);
}

#[test]
fn rooms_of_the_url_are_joined_once_the_connection_is_somebodys() {
    let rooms = vec!["chat/1".into(), "chat/2".into()];
    let mut bench = Bench::open(Admission { identity: Some(ana()), rooms, ..nobody(Dialect::Bare, Rules::bare()) });
    bench.expect(&["bind ana"]);

    bench.bound(Ok(()));

    bench.expect(&["join #0 chat/1", "join #1 chat/2"]);
    bench.joined(1, "chat/2", Ok(()));
    bench.expect(&[]);
    assert!(bench.session.is_in("chat/2") && !bench.session.is_in("chat/1"));
    bench.joined(0, "chat/1", Err(Failure::Unavailable));
    bench.expect(&["close 1014"]);
}

#[test]
fn rooms_of_the_url_are_subject_to_the_token() {
    let mut bench = Bench::open(Admission { rooms: vec!["news".into()], ..nobody(Dialect::Bare, Rules::bare()) });
    bench.text(r#"{"type":"INIT","token":"t"}"#);
    bench.take();
    bench.verified(0, Ok(ana()));
    bench.expect(&["close 1008"]);

    let mut anywhere = Bench::open(Admission { rooms: vec!["news".into()], ..nobody(Dialect::Bare, dev()) });
    anywhere.check(r#"{"type":"INIT","userId":1}"#, &["bind 1"]);
    anywhere.bound(Ok(()));
    anywhere.expect(&["join #0 news"]);
    anywhere.joined(0, "news", forbidden("no"));
    anywhere.expect(&["close 1008"]);
}

#[test]
fn nothing_but_payloads_is_ever_said() {
    let mut bench = query_user();
    bench.apply(Event::Entered { room: "vip".into(), position: None });
    bench.apply(Event::Pause);
    bench.apply(Event::MissedWhilePaused { room: None });
    bench.apply(Event::Resume);
    bench.apply(Event::Gap { scope: GapScope::All });
    bench.apply(Event::GoAway { retry_after_ms: 1, reason: "drain" });
    bench.apply(Event::Unpublished(Failure::BusUnavailable));
    bench.expect(&[]);
    assert!(bench.session.is_in("vip"));

    bench.apply(Event::Close(Close::Drain));
    bench.expect(&["close 1012"]);
}

#[test]
fn what_is_sent_ahead_is_bounded() {
    let limits = Limits { held_max: 1, ..Limits::default() };
    let rules = Rules { limits, ..dev() };
    let mut bench = Bench::open(nobody(Dialect::Bare, rules));
    bench.check(r#"{"type":"INIT","userId":1}"#, &["bind 1"]);
    bench.check("one", &[]);

    bench.check("two", &["close 4429"]);
}
