//! Credentials: the first, refreshes, deadlines, and what is sent ahead of the welcome.

use std::time::Duration;

use holdfast_protocol::dialect::Dialect;

use super::kit::{Bench, START_S, ana, nobody, welcome};
use crate::auth::{Identity, Refusal, RoomPatterns};
use crate::handshake::{Admission, Limits, Rules};
use crate::session::{Event, Failure};

const UNAUTHENTICATED: &str =
    r#"{"type":"error","code":"unauthenticated","message":"the first message must be auth","retry":false}"#;

fn unauthenticated(id: &str) -> String {
    UNAUTHENTICATED.replacen("\"error\"", &format!("\"error\",\"id\":{id}"), 1)
}

#[test]
fn a_handshake_credential_is_welcomed_once_hub_and_routers_know() {
    let mut bench = Bench::open(Admission { identity: Some(ana()), ..nobody(Dialect::Json, Rules::json()) });
    bench.expect(&["bind ana"]);
    assert!(!bench.session.is_open());

    bench.bound(Ok(()));

    bench.expect(&[&welcome("ana", "1000600", "")]);
    assert!(bench.session.is_open());
}

#[test]
fn a_first_message_is_verified_bound_and_welcomed_with_its_id() {
    let mut bench = Bench::pending();
    bench.expect(&[]);

    bench.check(r#"{"type":"auth","id":"a","token":"t.o.k","device":"ios"}"#, &["verify #0 t.o.k as ios"]);
    bench.verified(0, Ok(ana()));
    bench.expect(&["bind ana on ios"]);
    bench.bound(Ok(()));

    bench.expect(&[&welcome("ana", "1000600", r#","device":"ios","id":"a""#)]);
    assert_eq!(bench.session.device().map(|device| &**device), Some("ios"));
}

#[test]
fn a_device_is_that_of_the_claim_then_of_the_message_then_of_the_url() {
    for (claim, message, url, expected) in [
        (Some("claim"), Some("message"), Some("url"), "bind ana on claim"),
        (None, Some("message"), Some("url"), "bind ana on message"),
        (None, None, Some("url"), "bind ana on url"),
        (None, None, None, "bind ana"),
    ] {
        let mut bench = Bench::open(Admission { device: url.map(Into::into), ..nobody(Dialect::Json, Rules::json()) });
        let device = message.map_or(String::new(), |device| format!(r#","device":"{device}""#));

        bench.text(&format!(r#"{{"type":"auth","token":"t"{device}}}"#));
        bench.take();
        bench.verified(0, Ok(Identity { device: claim.map(Into::into), ..ana() }));

        bench.expect(&[expected]);
    }
}

#[test]
fn before_auth_nothing_else_works_and_the_connection_stays() {
    let mut bench = Bench::pending();
    for (text, id) in [
        (r#"{"type":"join","id":1,"room":"chat/1"}"#, "1"),
        (r#"{"type":"join","id":1}"#, "1"),
        (r#"{"type":"ping","id":0}"#, "0"),
        (r#"{"type":"fly","id":""}"#, "\"\""),
    ] {
        bench.check(text, &[&unauthenticated(id)]);
    }
    bench.check(r#"{"type":"send","to":"x"}"#, &[UNAUTHENTICATED]);
    for text in ["{", r#"{"type":"auth"}"#, r#"{"type":"auth","token":7}"#] {
        bench.text(text);
        assert!(bench.take()[0].contains("bad_message"), "{text}");
    }

    bench.check(r#"{"type":"auth","token":"t"}"#, &["verify #0 t"]);
}

#[test]
fn a_bad_device_is_a_bad_message_and_the_connection_stays_pending() {
    let mut bench = Bench::pending();

    bench.text(r#"{"type":"auth","id":1,"token":"t","device":"x\r\nHf-User: root"}"#);

    assert!(bench.take()[0].starts_with(r#"{"type":"error","id":1,"code":"bad_message""#));
    bench.check(r#"{"type":"auth","id":2,"token":"t","device":"x"}"#, &["verify #0 t as x"]);
}

#[test]
fn a_refused_first_credential_ends_the_connection_from_the_catalogue() {
    for (refusal, code, close) in [
        (Refusal::Invalid, "bad_credential", "close 4401"),
        (Refusal::UnknownKey, "bad_credential", "close 4401"),
        (Refusal::Expired, "bad_credential", "close 4003"),
        (Refusal::Forbidden, "forbidden", "close 1008"),
    ] {
        let mut bench = Bench::pending();
        bench.text(r#"{"type":"auth","id":1,"token":"t"}"#);
        bench.take();

        bench.verified(0, Err(refusal));

        let message = refusal.to_string();
        bench.expect(&[
            &format!(r#"{{"type":"error","id":1,"code":"{code}","message":"{message}","retry":false}}"#),
            close,
        ]);
        bench.check(r#"{"type":"auth","token":"t"}"#, &[]);
    }
}

#[test]
fn a_credential_that_expires_while_it_is_looked_at_is_expired() {
    let mut bench = Bench::pending();
    bench.text(r#"{"type":"auth","token":"t"}"#);
    bench.take();

    bench.verified(0, Ok(Identity { expires: Some(START_S), ..ana() }));

    assert_eq!(bench.take().last().map(String::as_str), Some("close 4003"));
}

#[test]
fn where_nobody_can_decide_the_client_may_try_again() {
    let mut bench = Bench::pending();
    bench.check(r#"{"type":"auth","id":1,"token":"t"}"#, &["verify #0 t"]);
    bench.check(r#"{"type":"ping","id":2}"#, &[]);

    bench.verified(0, Err(Refusal::Unavailable));

    bench.expect(&[
        r#"{"type":"error","id":1,"code":"unavailable","message":"credentials cannot be checked now","retry":true}"#,
        &unauthenticated("2"),
    ]);
    bench.check(r#"{"type":"auth","id":3,"token":"t"}"#, &["verify #1 t"]);
}

#[test]
fn a_connection_without_credential_ends_after_ten_seconds() {
    let mut bench = Bench::pending();
    bench.tick_after(Duration::from_millis(9999));
    bench.check(r#"{"type":"join"}"#, &[UNAUTHENTICATED]);

    bench.tick_after(Duration::from_millis(1));

    bench.expect(&["close 4408"]);
}

#[test]
fn a_credential_being_looked_at_is_in_time() {
    let mut bench = Bench::pending();
    bench.text(r#"{"type":"auth","token":"t"}"#);
    bench.take();

    bench.tick_after(Duration::from_secs(12));
    bench.expect(&[]);
    bench.verified(0, Err(Refusal::Unavailable));
    bench.take();
    bench.tick_after(Duration::from_millis(1));

    bench.expect(&["close 4408"]);
}

#[test]
fn a_connection_that_cannot_be_made_known_ends_with_1014() {
    for failure in [Failure::BusUnavailable, Failure::Unavailable, Failure::Timeout] {
        let mut bench = Bench::open(Admission { identity: Some(ana()), ..nobody(Dialect::Json, Rules::json()) });
        bench.take();

        bench.bound(Err(failure));

        bench.expect(&["close 1014"]);
    }
}

#[test]
fn what_is_sent_ahead_is_carried_out_in_order_after_the_welcome() {
    let mut bench = Bench::pending();
    bench.check(r#"{"type":"auth","id":1,"token":"t"}"#, &["verify #0 t"]);
    bench.check(r#"{"type":"join","id":2,"room":"chat/1"}"#, &[]);
    bench.verified(0, Ok(ana()));
    bench.expect(&["bind ana"]);
    bench.check(r#"{"type":"send","to":"a","data":1}"#, &[]);
    bench.check("{", &[]);

    bench.bound(Ok(()));

    let done = bench.take();
    assert_eq!(done[..3], [welcome("ana", "1000600", r#","id":1"#), "join #1 chat/1".into(), "publish a 1".into()]);
    assert!(done[3].contains("bad_message") && done.len() == 4, "{done:?}");
}

#[test]
fn what_is_sent_ahead_is_bounded() {
    let limits = Limits { held_max: 2, held_bytes_max: 60, ..Limits::default() };
    let rules = Rules { limits, ..Rules::json() };
    let mut bench = Bench::open(Admission { identity: Some(ana()), ..nobody(Dialect::Json, rules) });
    bench.take();
    let refused =
        r#"{"type":"error","id":1,"code":"too_many","message":"too many messages before the welcome","retry":true}"#;

    bench.check(&format!(r#"{{"type":"ping","id":1,"x":"{}"}}"#, "x".repeat(60)), &[refused]);
    bench.check(r#"{"type":"ping","id":8}"#, &[]);
    bench.check(r#"{"type":"ping","id":9}"#, &[]);
    bench.check(r#"{"type":"ping","id":1}"#, &[refused]);
    bench.bound(Ok(()));

    bench.expect(&[&welcome("ana", "1000600", ""), r#"{"type":"pong","id":8}"#, r#"{"type":"pong","id":9}"#]);
}

#[test]
fn a_token_that_expires_ends_the_connection() {
    let mut bench = Bench::ana();
    bench.tick_after(Duration::from_millis(599_999));
    bench.expect(&[]);

    bench.tick_after(Duration::from_millis(1));

    bench.expect(&["close 4003"]);
}

#[test]
fn a_token_without_expiry_lasts() {
    let mut bench = Bench::welcomed(Identity { expires: None, ..ana() }, Limits::default());

    bench.tick_after(Duration::from_secs(1_000_000));

    bench.expect(&[]);
}

#[test]
fn a_refresh_keeps_the_connection_open() {
    let mut bench = Bench::ana();
    bench.check(r#"{"type":"auth","id":5,"token":"new"}"#, &["verify #0 new"]);

    bench.verified(0, Ok(Identity { expires: Some(START_S + 1200), ..ana() }));

    bench.expect(&["rebind ana", r#"{"type":"ok","id":5,"expires":1001200}"#]);
    bench.tick_after(Duration::from_secs(700));
    bench.expect(&[]);
    bench.tick_after(Duration::from_secs(500));
    bench.expect(&["close 4003"]);
}

#[test]
fn a_bad_refresh_changes_nothing() {
    for (result, code, message) in [
        (Ok(Identity { user: "bob".into(), ..ana() }), "bad_credential", "the credential is another user's"),
        (Err(Refusal::Invalid), "bad_credential", "the credential is not valid"),
        (Err(Refusal::Expired), "bad_credential", "the credential has expired"),
        (Err(Refusal::Forbidden), "forbidden", "the credential does not allow this endpoint"),
    ] {
        let mut bench = Bench::ana();
        bench.text(r#"{"type":"auth","id":5,"token":"new"}"#);
        bench.take();

        bench.verified(0, result);

        bench.expect(&[&format!(r#"{{"type":"error","id":5,"code":"{code}","message":"{message}","retry":false}}"#)]);
        assert_eq!(bench.session.identity().map(|who| &*who.user), Some("ana"));
        bench.check(r#"{"type":"ping"}"#, &[r#"{"type":"pong"}"#]);
    }
}

#[test]
fn one_refresh_at_a_time() {
    let mut bench = Bench::ana();
    bench.check(r#"{"type":"auth","id":1,"token":"a"}"#, &["verify #0 a"]);
    bench.text(r#"{"type":"auth","id":2,"token":"b"}"#);
    assert!(bench.take()[0].contains(r#""id":2,"code":"too_many""#));

    bench.verified(7, Ok(ana()));
    bench.expect(&[]);
    bench.verified(0, Ok(ana()));
    bench.expect(&["rebind ana", r#"{"type":"ok","id":1,"expires":1000600}"#]);
    bench.check(r#"{"type":"auth","id":3,"token":"c"}"#, &["verify #1 c"]);
}

#[test]
fn new_rights_apply_at_once() {
    let mut bench = Bench::member();
    bench.text(r#"{"type":"join","id":1,"room":"chat/2"}"#);
    bench.apply(Event::Entered { room: "vip".into(), position: None });
    bench.text(r#"{"type":"auth","id":9,"token":"new"}"#);
    bench.take();

    bench.verified(2, Ok(Identity { rooms: RoomPatterns::new(vec!["news".to_owned()]), ..ana() }));

    bench.expect(&[
        "rebind ana",
        "leave chat/1",
        r#"{"type":"left","room":"chat/1"}"#,
        r#"{"type":"error","id":1,"code":"forbidden","message":"the credential does not allow this room","retry":false}"#,
        r#"{"type":"ok","id":9,"expires":1000600}"#,
    ]);
    assert_eq!(
        bench.session.rooms().map(|room| &**room).collect::<Vec<_>>(),
        ["vip"],
        "a domain service's word stands"
    );
    bench.joined(1, "chat/2", Ok(()));
    bench.expect(&[]);
    assert!(!bench.session.is_in("chat/2"), "the join that was under way is taken back");
    bench.check(r#"{"type":"join","room":"news"}"#, &["join #3 news"]);
}

#[test]
fn a_device_survives_a_refresh_without_one() {
    let mut bench = Bench::welcomed(Identity { device: Some("ios".into()), ..ana() }, Limits::default());
    bench.text(r#"{"type":"auth","token":"new","device":"other"}"#);
    bench.take();

    bench.verified(0, Ok(ana()));

    bench.expect(&["rebind ana on ios"]);
}

/// A refresh gave up the second half of a re-join, and the connection thought itself in a room it had left.
#[test]
fn a_rejoin_of_a_services_room_goes_on_when_rights_are_lost() {
    let mut bench = Bench::member();
    bench.apply(Event::Entered { room: "chat/1".into(), position: None });
    bench.text(r#"{"type":"join","id":1,"room":"chat/1","since":{"epoch":"e","seq":1}}"#);
    bench.text(r#"{"type":"auth","token":"new"}"#);
    bench.take();

    bench.verified(2, Ok(Identity { rooms: RoomPatterns::new(Vec::new()), ..ana() }));
    bench.expect(&["rebind ana"]);
    bench.joined(1, "chat/1", Err(Failure::Unavailable));

    bench.expect(&[
        "leave chat/1",
        r#"{"type":"error","id":1,"code":"unavailable","message":"not available now","retry":true}"#,
    ]);
    assert!(!bench.session.is_in("chat/1"));
}
