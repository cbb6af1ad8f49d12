//! Connections that offered no sub-protocol: which dialect they speak.

use std::time::Duration;

use holdfast_protocol::dialect::Dialect;

use super::kit::{Bench, ana, nobody, welcome};
use crate::handshake::{Admission, Rules};
use crate::socket::Framing;

const CONNECT: &str = "CONNECT\naccept-version:1.2\n\n\0";

fn rules(dialects: &[Dialect]) -> Rules {
    Rules { dialects: dialects.to_vec(), ..Rules::json() }
}

/// A client that offered nothing, known by its handshake.
fn known(framing: Framing, dialects: &[Dialect]) -> Bench {
    let admission = nobody(dialects[0], rules(dialects));
    Bench::open_in(framing, Admission { identity: Some(ana()), subprotocol: None, ..admission })
}

/// The same, known by nothing.
fn unknown(dialects: &[Dialect]) -> Bench {
    Bench::open(Admission { subprotocol: None, ..nobody(dialects[0], rules(dialects)) })
}

const JSON_FIRST: &[Dialect] = &[Dialect::Json, Dialect::Bare, Dialect::Stomp];
const STOMP_FIRST: &[Dialect] = &[Dialect::Stomp, Dialect::Bare, Dialect::Json];

#[test]
fn over_sockjs_connect_makes_a_known_client_one_of_stomp() {
    for first in [CONNECT, "\nCONNECT\naccept-version:1.2\n\n\0", "STOMP\r\naccept-version:1.2\r\n\r\n\0"] {
        let mut bench = known(Framing::SockJs, JSON_FIRST);
        bench.expect(&[]);
        bench.check(first, &["bind ana"]);
        bench.bound(Ok(()));
        let said = bench.take();
        assert!(said.len() == 1 && said[0].starts_with("CONNECTED\nversion:1.2\n"), "{first:?}: {said:?}");
    }
}

#[test]
fn a_heart_beat_that_comes_first_is_stomp_too() {
    let mut bench = known(Framing::SockJs, JSON_FIRST);
    bench.check("\n", &[]);
    bench.tick_after(Duration::from_secs(5));
    bench.expect(&[]);
    bench.check(CONNECT, &["bind ana"]);
}

#[test]
fn over_sockjs_another_first_message_is_the_endpoint_s_dialect() {
    let mut bench = known(Framing::SockJs, JSON_FIRST);
    bench.check(r#"{"type":"ping","id":1}"#, &["bind ana"]);
    bench.bound(Ok(()));
    bench.expect(&[&welcome("ana", "1000600", ""), r#"{"type":"pong","id":1}"#]);

    let mut bench = known(Framing::SockJs, &[Dialect::Bare, Dialect::Stomp]);
    bench.check("hello", &["bind ana"]);
    bench.bound(Ok(()));
    bench.expect(&["publish message hello"]);
}

#[test]
fn over_sockjs_a_known_client_that_says_nothing_is_welcomed_after_a_while() {
    let mut bench = known(Framing::SockJs, JSON_FIRST);
    bench.tick_after(Duration::from_millis(1999));
    bench.expect(&[]);
    bench.tick_after(Duration::from_millis(1));
    bench.expect(&["bind ana"]);
    bench.bound(Ok(()));
    bench.expect(&[&welcome("ana", "1000600", "")]);
}

#[test]
fn what_can_be_no_stomp_waits_for_nothing() {
    known(Framing::Plain, JSON_FIRST).expect(&["bind ana"]);
    known(Framing::SockJs, &[Dialect::Json, Dialect::Bare]).expect(&["bind ana"]);
}

#[test]
fn where_stomp_is_first_others_still_are_told_by_their_first_message() {
    let auth = r#"{"type":"auth","token":"t"}"#;
    let mut bench = unknown(&[Dialect::Stomp, Dialect::Json]);
    bench.check(auth, &["verify #0 t"]);

    let mut bench = unknown(STOMP_FIRST);
    bench.check(r#"{"type":"INIT","userId":1,"token":"t"}"#, &["verify #0 t"]);
    assert_eq!(bench.session.dialect(), Dialect::Bare);

    let mut bench = known(Framing::Plain, &[Dialect::Stomp, Dialect::Json]);
    bench.tick_after(Duration::from_secs(5));
    bench.expect(&[]);
    bench.check(r#"{"type":"ping"}"#, &["bind ana"]);

    let mut bench = unknown(&[Dialect::Stomp]);
    bench.text("hello");
    assert_eq!(bench.session.dialect(), Dialect::Stomp);
}
