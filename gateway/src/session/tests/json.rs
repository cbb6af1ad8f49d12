//! Clients that speak `json`: joins, leaves, messages upstream, junk.

use super::kit::{Bench, ana, forbidden};
use crate::auth::{Identity, RoomPatterns};
use crate::handshake::Rules;
use crate::session::Event;

const FORBIDDEN: &str = r#""code":"forbidden","message":"the credential does not allow this room","retry":false}"#;

#[test]
fn a_join_is_answered_when_the_routers_know() {
    let mut bench = Bench::ana();
    bench.check(r#"{"type":"join","id":2,"room":"chat/5"}"#, &["join #0 chat/5"]);
    assert!(!bench.session.is_in("chat/5"));

    bench.joined(0, "chat/5", Ok(()));

    bench.expect(&[r#"{"type":"ok","id":2}"#]);
    assert!(bench.session.is_in("chat/5"));
}

#[test]
fn a_room_outside_the_patterns_is_forbidden_and_nothing_closes() {
    let mut bench = Bench::ana();
    bench.check(r#"{"type":"join","id":1,"room":"news"}"#, &[&format!(r#"{{"type":"error","id":1,{FORBIDDEN}"#)]);
    bench.check(r#"{"type":"join","room":"chat/"}"#, &[&format!(r#"{{"type":"error",{FORBIDDEN}"#)]);

    let mut none = Bench::welcomed_by(Identity { rooms: RoomPatterns::new(Vec::new()), ..ana() }, Rules::json());
    none.check(r#"{"type":"join","id":1,"room":"x"}"#, &[&format!(r#"{{"type":"error","id":1,{FORBIDDEN}"#)]);
}

#[test]
fn a_second_join_is_ok() {
    let mut bench = Bench::member();
    bench.check(r#"{"type":"join","id":0,"room":"chat/1"}"#, &[r#"{"type":"ok","id":0}"#]);
    bench.check(r#"{"type":"join","room":"chat/1"}"#, &[]);
}

#[test]
fn a_second_join_waits_for_the_first() {
    let mut bench = Bench::ana();
    bench.check(r#"{"type":"join","id":1,"room":"chat/5"}"#, &["join #0 chat/5"]);
    bench.check(r#"{"type":"join","id":2,"room":"chat/5"}"#, &[]);

    bench.joined(0, "chat/5", Ok(()));

    bench.expect(&[r#"{"type":"ok","id":1}"#, r#"{"type":"ok","id":2}"#]);
}

#[test]
fn a_join_with_since_leaves_first_and_says_that_nothing_is_recovered() {
    let mut bench = Bench::member();
    let since = r#""since":{"epoch":"e","seq":17}"#;
    bench.check(
        &format!(r#"{{"type":"join","id":3,"room":"chat/1",{since}}}"#),
        &["join #1 chat/1 after e.17 leave_first"],
    );
    bench.joined(1, "chat/1", Ok(()));
    bench.expect(&[r#"{"type":"ok","id":3,"recovered":false}"#]);

    bench.check(&format!(r#"{{"type":"join","id":4,"room":"chat/2",{since}}}"#), &["join #2 chat/2 after e.17"]);
    bench.joined(2, "chat/2", Ok(()));
    bench.expect(&[r#"{"type":"ok","id":4,"recovered":false}"#]);
}

#[test]
fn a_failed_rejoin_is_no_membership() {
    let mut bench = Bench::member();
    bench.text(r#"{"type":"join","id":3,"room":"chat/1","since":{"epoch":"e","seq":17}}"#);
    bench.take();

    bench.joined(1, "chat/1", forbidden("full"));

    bench.expect(&["leave chat/1", r#"{"type":"error","id":3,"code":"forbidden","message":"full","retry":false}"#]);
    assert!(!bench.session.is_in("chat/1"));
}

#[test]
fn a_leave_ends_the_membership_before_its_ok() {
    let mut bench = Bench::member();
    bench.check(r#"{"type":"leave","id":3,"room":"chat/1"}"#, &["leave chat/1", r#"{"type":"ok","id":3}"#]);
    assert!(!bench.session.is_in("chat/1"));
    bench.check(r#"{"type":"leave","id":4,"room":"chat/1"}"#, &[r#"{"type":"ok","id":4}"#]);
    bench.check(r#"{"type":"leave","room":"never"}"#, &[]);
}

#[test]
fn a_leave_overtakes_a_join_under_way() {
    let mut bench = Bench::ana();
    bench.check(r#"{"type":"join","id":1,"room":"chat/5"}"#, &["join #0 chat/5"]);
    bench.check(r#"{"type":"leave","id":2,"room":"chat/5"}"#, &[r#"{"type":"ok","id":1}"#, r#"{"type":"ok","id":2}"#]);
    bench.check(r#"{"type":"join","id":3,"room":"chat/5"}"#, &["join #1 chat/5"]);

    bench.joined(0, "chat/5", Ok(()));
    bench.expect(&[]);
    assert!(!bench.session.is_in("chat/5"), "the first join was left again");
    bench.joined(1, "chat/5", Ok(()));
    bench.expect(&[r#"{"type":"ok","id":3}"#]);
    assert!(bench.session.is_in("chat/5"));
}

#[test]
fn where_a_callout_decides_patterns_do_not() {
    let rules = Rules { join_callout: true, ..Rules::json() };
    let mut bench = Bench::welcomed_by(ana(), rules);
    bench.check(r#"{"type":"join","id":1,"room":"news"}"#, &["join #0 news callout"]);

    bench.joined(0, "news", forbidden(""));

    bench.expect(&[r#"{"type":"error","id":1,"code":"forbidden","message":"not allowed","retry":false}"#]);
    assert!(!bench.session.is_in("news"));
}

#[test]
fn messages_go_upstream_in_order_with_their_bytes() {
    let mut bench = Bench::ana();
    bench.check(
        r#"{"type":"send","id":4,"to":"message.new","data":{ "t":1.50 }}"#,
        &[r#"publish #0 message|new { "t":1.50 }"#],
    );
    bench.check(r#"{"type":"send","to":"x","data":null}"#, &["publish x null"]);
    bench.check(r#"{"type":"send","to":"a b"}"#, &["publish a b "]);

    bench.apply(Event::Published { ticket: 0, result: Ok(()) });
    bench.expect(&[r#"{"type":"ok","id":4}"#]);
    bench.apply(Event::Published { ticket: 0, result: Ok(()) });
    bench.expect(&[]);
}

#[test]
fn a_request_waits_as_long_as_it_says() {
    let mut bench = Bench::ana();
    bench.check(
        r#"{"type":"request","id":5,"to":"history.page","data":{"p":1}}"#,
        &[r#"request #0 history|page {"p":1} 5s"#],
    );
    bench.check(r#"{"type":"request","id":6,"to":"x","timeout":250}"#, &["request #1 x  250ms"]);

    bench.apply(Event::Replied { ticket: 1, result: Ok("words".into()) });
    bench.apply(Event::Replied { ticket: 0, result: Ok("[1]".into()) });

    bench.expect(&[r#"{"type":"reply","id":6,"data":"words"}"#, r#"{"type":"reply","id":5,"data":[1]}"#]);
}

#[test]
fn acks_and_pings() {
    let mut bench = Bench::ana();
    bench.check(r#"{"type":"ack","ids":["a","b"]}"#, &["acked a b"]);
    bench.check(r#"{"type":"ack","id":1,"ids":[]}"#, &["acked ", r#"{"type":"ok","id":1}"#]);
    bench.check(r#"{"type":"ping","id":6}"#, &[r#"{"type":"pong","id":6}"#]);
    bench.check(r#"{"type":"ping"}"#, &[r#"{"type":"pong"}"#]);
}

#[test]
fn junk_is_answered_and_the_connection_stays() {
    let mut bench = Bench::ana();
    let deep = "[".repeat(20_000);
    for text in [
        "{",
        "null",
        "[]",
        "7",
        "\"x\"",
        r#"{"type":5}"#,
        "{}",
        r#"{"type":"join"}"#,
        r#"{"type":"join","id":{},"room":"x"}"#,
        r#"{"type":"ack","ids":7}"#,
        "",
        &deep,
    ] {
        bench.text(text);
        let done = bench.take();
        assert!(done.len() == 1 && done[0].contains(r#""code":"bad_message""#), "{done:?}");
    }
    bench.check(
        r#"{"type":"fly","id":77}"#,
        &[r#"{"type":"error","id":77,"code":"unknown_type","message":"there is no such type","retry":false}"#],
    );
    bench.check(r#"{"type":"ping"}"#, &[r#"{"type":"pong"}"#]);
}

#[test]
fn a_binary_message_ends_the_connection_with_1003() {
    for mut bench in [Bench::ana(), Bench::pending()] {
        bench.binary(b"{}");
        bench.expect(&["close 1003"]);
        bench.check(r#"{"type":"ping"}"#, &[]);
    }
}
