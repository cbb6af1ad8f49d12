//! Clients that speak `stomp`. In expectations `|` is a line's end and `^` is NUL.

mod destinations;
mod upstream;

use crate::session::Heard;
use std::time::Duration;

use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::position::{Position, Recovery, Start};
use holdfast_protocol::wire::{Content, Delivery, Target};

use super::kit::{Bench, ana, forbidden, nobody};
use crate::auth::{Identity, Refusal, RoomPatterns};
use crate::handshake::{Admission, Limits, Rules};
use crate::session::{Event, Failure};

const CONNECT: &str = "CONNECT|accept-version:1.2|Authorization:Bearer t||^";

impl Bench {
    fn stomp() -> Self {
        Self::open(nobody(Dialect::Stomp, Rules::json()))
    }

    fn frame(&mut self, text: &str) {
        self.text(&text.replace('|', "\n").replace('^', "\0"));
    }

    /// The client says something, and this is done.
    #[track_caller]
    fn stomp_check(&mut self, text: &str, expected: &[&str]) {
        self.frame(text);
        assert_eq!(self.take_stomp(), expected, "{text}");
    }

    fn take_stomp(&mut self) -> Vec<String> {
        let readable = |text: &String| text.replace('\n', "|").replace('\0', "^");
        self.take().iter().map(readable).collect()
    }

    /// A connected client of this version.
    fn connected(version: &str) -> Self {
        Self::connected_by(version, Rules::json())
    }

    fn connected_by(version: &str, rules: Rules) -> Self {
        let mut bench = Self::open(Admission { identity: Some(ana()), ..nobody(Dialect::Stomp, rules) });
        bench.frame(&format!("CONNECT|accept-version:{version}||^"));
        bench.bound(Ok(()));
        bench.take();
        bench
    }

    /// The same, listening to `/topic/chat/1` as `sub-0`.
    fn listening() -> Self {
        let mut bench = Self::connected("1.2");
        bench.frame("SUBSCRIBE|id:sub-0|destination:/topic/chat/1||^");
        bench.joined(0, "chat/1", Ok(()));
        bench.take();
        bench
    }
}

fn error(code: &str, message: &str, receipt: &str) -> String {
    let receipt = if receipt.is_empty() { String::new() } else { format!("receipt-id:{receipt}|") };
    format!("ERROR|message:{message}|{receipt}content-type:text/plain|content-length:{}||{code}^", code.len())
}

#[test]
fn a_client_connects_with_the_credential_of_its_frame() {
    let mut bench = Bench::stomp();
    bench.stomp_check(&CONNECT.replace("||^", "|heart-beat:10000,10000|device:ios||^"), &["verify #0 t as ios"]);
    bench.verified(0, Ok(ana()));
    bench.expect(&["bind ana on ios"]);

    bench.bound(Ok(()));

    let connected = bench.take_stomp();
    let connection = bench.session.connection();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        connected,
        [format!(
            "CONNECTED|version:1.2|heart-beat:25000,0|session:{connection}|user-name:ana|server:holdfast/{version}||^"
        )]
    );
}

#[test]
fn a_handshake_s_identity_waits_for_connect_and_gives_way_to_its_credential() {
    let known = || Bench::open(Admission { identity: Some(ana()), ..nobody(Dialect::Stomp, Rules::json()) });
    let mut bench = known();
    bench.expect(&[]);
    bench.stomp_check("STOMP|accept-version:1.1||^", &["bind ana"]);

    let mut other = known();
    other.stomp_check(CONNECT, &["verify #0 t"]);
    other.verified(0, Ok(Identity { user: "bob".into(), ..ana() }));
    other.expect(&["bind bob"]);
}

#[test]
fn in_development_a_client_is_whom_it_says() {
    let dev = || Rules { unsigned_users: true, ..Rules::json() };
    let mut bench = Bench::open(nobody(Dialect::Stomp, dev()));
    bench.stomp_check("CONNECT|login:ana||^", &["bind ana"]);

    let mut bench = Bench::open(nobody(Dialect::Stomp, dev()));
    let connection = bench.session.connection();
    bench.stomp_check("CONNECT|accept-version:1.1,1.0||^", &[&format!("bind {connection}")]);
}

#[test]
fn a_refused_connect_is_an_error_and_the_end() {
    let mut bench = Bench::stomp();
    bench.frame(CONNECT);
    bench.take();
    bench.verified(0, Err(Refusal::Invalid));
    assert_eq!(bench.take_stomp(), [&*error("bad_credential", "the credential is not valid", ""), "close 4401"]);

    let mut bench = Bench::stomp();
    let needs = error("unauthenticated", "CONNECT needs a credential", "");
    bench.stomp_check("CONNECT|accept-version:1.2||^", &[&needs, "close 4401"]);

    let mut bench = Bench::stomp();
    let version = "ERROR|version:1.0,1.1,1.2|message:no common version|content-type:text/plain|content-length:0||^";
    bench.stomp_check("CONNECT|accept-version:2.0||^", &[version, "close 1002"]);

    let mut bench = Bench::stomp();
    let first = error("unauthenticated", "the first frame must be CONNECT", "7");
    bench.stomp_check("SEND|destination:/app/x|receipt:7||^", &[&first, "close 1008"]);

    let mut bench = Bench::connected("1.2");
    bench.stomp_check("CONNECT||^", &[&error("bad_message", "CONNECT comes once", ""), "close 1002"]);
}

#[test]
fn frames_come_split_and_many_at_once_in_either_kind_of_message() {
    let mut bench = Bench::open(Admission { identity: Some(ana()), ..nobody(Dialect::Stomp, Rules::json()) });
    bench.binary(b"\nCONN");
    bench.frame("ECT|accept-version:1.2||^|SUBSCRIBE|id:0|destination:/topic/chat/1||^SEND|destination:/app/a||1^SE");
    bench.expect(&["bind ana"]);
    bench.frame("ND|destination:/app/b||2");

    bench.bound(Ok(()));

    assert_eq!(bench.take()[1..], ["join #0 chat/1", "publish a 1"]);
    bench.binary(b"\0");
    bench.expect(&["publish b 2"]);
}

#[test]
fn what_is_sent_ahead_is_bounded() {
    let limits = Limits { held_max: 2, ..Limits::default() };
    let rules = Rules { limits, ..Rules::json() };
    let mut bench = Bench::open(Admission { identity: Some(ana()), ..nobody(Dialect::Stomp, rules) });
    let many = error("too_many", "too many frames before CONNECTED", "");
    bench.stomp_check(
        &format!("CONNECT||^{}", "SEND|destination:/app/a||^".repeat(3)),
        &["bind ana", &many, "close 4429"],
    );
}

#[test]
fn bytes_that_are_no_frame_end_the_connection() {
    let too_large = "x".repeat(70_000);
    for (text, message, close) in [
        ("GET / HTTP/1.1||^", "unknown command", "close 1002"),
        ("SEND|destination||^", "malformed header", "close 1002"),
        ("SUBSCRIBE|id:0||body^", "only SEND may have a body", "close 1002"),
        (&*format!("SEND|destination:/app/x||{too_large}"), "frame too large", "close 1009"),
    ] {
        let mut bench = Bench::connected("1.2");
        bench.stomp_check(text, &[&error("bad_message", message, ""), close]);
    }
}

#[test]
fn a_subscription_is_a_room_and_its_receipt_comes_when_the_routers_know() {
    let mut bench = Bench::connected("1.2");
    bench.stomp_check("SUBSCRIBE|id:a|destination:/topic/chat/1|receipt:r1||^", &["join #0 chat/1"]);
    bench.stomp_check("SUBSCRIBE|id:b|destination:/sub/chat/1|receipt:r2||^", &[]);
    bench.joined(0, "chat/1", Ok(()));
    assert_eq!(bench.take_stomp(), ["RECEIPT|receipt-id:r1||^", "RECEIPT|receipt-id:r2||^"]);

    bench.stomp_check("SUBSCRIBE|id:b|destination:/sub/chat/1|receipt:r3||^", &["RECEIPT|receipt-id:r3||^"]);
    bench.stomp_check("SUBSCRIBE|id:c|destination:/user/queue/x|receipt:r4||^", &["RECEIPT|receipt-id:r4||^"]);
    bench.stomp_check("UNSUBSCRIBE|id:a|receipt:r5||^", &["RECEIPT|receipt-id:r5||^"]);
    assert!(bench.session.is_in("chat/1"), "the other one still hears it");
    bench.stomp_check("UNSUBSCRIBE|id:b|receipt:r6||^", &["leave chat/1", "RECEIPT|receipt-id:r6||^"]);
    bench.stomp_check("UNSUBSCRIBE|id:b||^", &[]);
}

#[test]
fn a_subscription_that_cannot_be_is_an_error_and_the_end() {
    let rooms = error("forbidden", "the credential does not allow this room", "r");
    let nothing = error("forbidden", "there is nothing to subscribe to at this destination", "r");
    let needs = error("bad_message", "SUBSCRIBE needs a destination and an id", "r");
    let taken = error("bad_message", "the id has another destination", "r");
    let space = error("bad_message", "a header's value begins with a space", "r");
    for (frame, expected, close) in [
        ("id:0|destination:/topic/news", &rooms, "close 1008"),
        ("id:0|destination:/nowhere/x", &nothing, "close 1008"),
        ("id:0|destination:/topic/*", &nothing, "close 1008"),
        ("destination:/topic/chat/1", &needs, "close 1002"),
        ("id:0", &needs, "close 1002"),
        ("id:sub-0|destination:/topic/chat/2", &taken, "close 1002"),
        ("id:0|destination: /topic/chat/1", &space, "close 1002"),
    ] {
        let mut bench = Bench::listening();
        bench.stomp_check(&format!("SUBSCRIBE|{frame}|receipt:r||^"), &[expected, close]);
    }

    for (failure, code, message, close) in [
        (forbidden("full").unwrap_err(), "forbidden", "full", "close 1008"),
        (Failure::Unavailable, "unavailable", "not available now", "close 1014"),
    ] {
        let mut bench = Bench::connected("1.2");
        bench.frame("SUBSCRIBE|id:0|destination:/topic/chat/1|receipt:r||^");
        bench.take();
        bench.joined(0, "chat/1", Err(failure));
        assert_eq!(bench.take_stomp(), [&*error(code, message, "r"), close]);
    }
}

#[test]
fn version_1_0_needs_no_id() {
    let mut bench = Bench::connected("1.0");
    bench.stomp_check("SUBSCRIBE|destination: /topic/chat/1||^", &["join #0 chat/1"]);
    bench.joined(0, "chat/1", Ok(()));
    bench.stomp_check("UNSUBSCRIBE|destination:/topic/chat/1||^", &["leave chat/1"]);
}

#[test]
fn a_subscription_to_a_service_is_a_question() {
    let mut bench = Bench::connected("1.2");
    bench.stomp_check("SUBSCRIBE|id:q|destination:/app/page/1|receipt:r||^", &["request #0 page|1  5s"]);
    bench.stomp_check("SUBSCRIBE|id:p|destination:/app/raw||^", &["request #1 raw  5s"]);
    bench.stomp_check("SUBSCRIBE|id:n|destination:/app/none|receipt:n||^", &["request #2 none  5s"]);

    bench.apply(Event::Replied { ticket: 0, result: Ok("{}".into()) });
    bench.apply(Event::Replied { ticket: 1, result: Ok(bytes::Bytes::from_static(b"\xff")) });
    bench.apply(Event::Replied { ticket: 2, result: Err(Failure::NoResponders) });

    let connection = bench.session.connection();
    let head = |id: &str, to: &str, number: u32| {
        format!("MESSAGE|subscription:{id}|destination:/app/{to}|message-id:{connection}-{number}|")
    };
    assert_eq!(
        bench.take_stomp(),
        [
            format!("{}content-type:application/json|content-length:2||{{}}^", head("q", "page/1", 3)),
            "RECEIPT|receipt-id:r||^".to_owned(),
            format!("binary {}content-type:application/octet-stream|content-length:1||\u{fffd}^", head("p", "raw", 4)),
            "RECEIPT|receipt-id:n||^".to_owned(),
        ]
    );
}

#[test]
fn acknowledgements_name_the_message_in_either_header() {
    let mut bench = Bench::connected("1.1");
    bench.stomp_check("ACK|message-id:m|subscription:0||^", &["acked m"]);
    bench.stomp_check("ACK|id:m|receipt:r||^", &["acked m", "RECEIPT|receipt-id:r||^"]);
    bench.stomp_check("NACK|id:m||^", &[]);
    bench.stomp_check("ACK||^", &[&error("bad_message", "ACK and NACK need an id", ""), "close 1002"]);
}

#[test]
fn heart_beats_come_as_often_as_agreed() {
    let mut bench = Bench::open(Admission { identity: Some(ana()), ..nobody(Dialect::Stomp, Rules::json()) });
    bench.frame("CONNECT|accept-version:1.1|heart-beat:10000,30000||^");
    bench.bound(Ok(()));
    bench.take();
    bench.tick_after(Duration::from_secs(28));
    bench.expect(&[]);
    bench.tick_after(Duration::from_millis(600));
    bench.expect(&["\n"]);
    bench.tick_after(Duration::from_secs(1));
    bench.expect(&[]);

    let mut silent = Bench::connected("1.2");
    silent.tick_after(Duration::from_secs(60));
    silent.expect(&[]);
}

#[test]
fn a_fresh_credential_comes_by_a_destination_of_its_own() {
    let mut bench = Bench::listening();
    bench.stomp_check("SEND|destination:/hf/auth|Authorization:Bearer new|receipt:r||^", &["verify #1 new"]);
    bench.verified(1, Ok(Identity { rooms: RoomPatterns::new(Vec::new()), ..ana() }));
    assert_eq!(bench.take_stomp(), ["rebind ana", "leave chat/1", "RECEIPT|receipt-id:r||^"]);

    bench.stomp_check("SEND|destination:/hf/auth|Authorization:bad||^", &["verify #2 bad"]);
    bench.verified(2, Err(Refusal::Invalid));
    assert_eq!(bench.take_stomp(), [&*error("bad_credential", "the credential is not valid", ""), "close 4401"]);
}

#[test]
fn a_credential_that_ends_ends_the_connection() {
    let mut bench = Bench::connected("1.2");
    bench.tick_after(Duration::from_secs(600));
    assert_eq!(bench.take_stomp(), [&*error("bad_credential", "the credential has expired", ""), "close 4003"]);
}

#[test]
fn without_a_sub_protocol_the_first_message_tells() {
    for rules in [Rules::json(), Rules::bare()] {
        let dialect = rules.dialects[0];
        let mut bench = Bench::open(nobody(dialect, rules.clone()));
        bench.stomp_check(CONNECT, &["verify #0 t"]);
        assert_eq!(bench.session.dialect(), Dialect::Stomp);

        let only = Rules { dialects: vec![dialect], ..rules };
        let mut bench = Bench::open(nobody(dialect, only));
        bench.frame(CONNECT);
        assert_eq!(bench.session.dialect(), dialect);
    }
    let mut bench = Bench::open(nobody(Dialect::Json, Rules::json()));
    bench.text(r#"{"type":"ping"}"#);
    bench.frame(CONNECT);
    assert_eq!(bench.session.dialect(), Dialect::Json, "only the first message tells");
}

fn message(target: Target, destination: Option<&str>) -> Delivery {
    Delivery {
        targets: vec![target],
        id: "m-1".into(),
        event: None,
        content: Content::Text,
        payload: "hi".into(),
        received_ms: 0,
        expires_ms: None,
        key: None,
        destination: destination.map(Into::into),
        only: Vec::new(),
        except_connections: Vec::new(),
        except_users: Vec::new(),
        receipt: None,
        trace: None,
        kept: None,
    }
}

#[test]
fn a_delivery_becomes_a_frame_for_each_subscription_that_hears_it() {
    let mut bench = Bench::listening();
    for frame in [
        "SUBSCRIBE|id:sub-1|destination:/sub/chat/1|ack:client||^",
        "SUBSCRIBE|id:sub-2|destination:/user/queue/messages||^",
        "SUBSCRIBE|id:sub-3|destination:/user/queue/x||^",
    ] {
        bench.stomp_check(frame, &[]);
    }
    let room = || Target::Room("chat/1".into());
    for (delivery, expected) in [
        (message(room(), None), &["sub-0 /topic/chat/1", "sub-1 /sub/chat/1 ack"][..]),
        (message(room(), Some("/topic/z")), &["sub-0 /topic/z", "sub-1 /topic/z ack"]),
        (message(Target::Room("chat/2".into()), None), &[]),
        (message(Target::All, None), &["sub-2 /user/queue/messages"]),
        (message(Target::All, Some("/queue/x")), &["sub-3 /user/queue/x"]),
        (message(Target::All, Some("/user/queue/x")), &["sub-3 /user/queue/x"]),
        (message(Target::All, Some("/queue/y")), &[]),
        (message(Target::All, Some("/topic/chat/1")), &["sub-0 /topic/chat/1"]),
        (message(Target::User("ana".into()), Some("/topic/chat/1")), &[]),
    ] {
        let heard = Heard::of(&delivery, 0);
        let listeners = bench.session.variants().map(|variant| variant.listener).filter(|known| heard.by(known));
        let shown: Vec<String> = listeners
            .map(|l| format!("{} {}{}", l.id(), heard.shown(l), if l.acknowledges() { " ack" } else { "" }))
            .collect();
        assert_eq!(shown, expected, "{delivery:?}");
    }
}

#[test]
fn a_client_that_resumes_hears_its_own_messages_once_it_listens() {
    let position = |seq| Position::new("e", seq).expect("a position");
    let resumed = |start: Start| {
        let mut bench = Bench::open(Admission { identity: Some(ana()), ..nobody(Dialect::Stomp, Rules::json()) });
        bench.stomp_check("CONNECT|accept-version:1.2|since:e.5||^", &["bind ana after e.5"]);
        bench.apply(Event::Bound(Ok(start)));
        let connected = bench.take_stomp().remove(0);
        (bench, connected)
    };
    let whole = Start { position: Some(position(9)), recovery: Some(Recovery::Whole) };
    let (mut bench, connected) = resumed(whole);
    assert!(connected.contains("|position:e.9|recovered:true||"), "{connected}");
    assert!(bench.session.holds_own());
    bench.frame("SUBSCRIBE|id:0|destination:/topic/chat/1||^");
    bench.tick_after(Duration::from_secs(5));
    assert!(bench.session.holds_own(), "it listens to a room alone");
    bench.frame("SUBSCRIBE|id:1|destination:/user/queue/a||^");
    assert!(bench.session.holds_own(), "there may be others");
    bench.tick_after(Duration::from_millis(400));
    bench.frame("SUBSCRIBE|id:2|destination:/user/queue/b||^");
    bench.tick_after(Duration::from_millis(400));
    assert!(bench.session.holds_own(), "each waits for another");
    bench.tick_after(Duration::from_secs(1));
    assert!(!bench.session.holds_own());
    bench.take();
    bench.stomp_check("SUBSCRIBE|id:3|destination:/user/queue/a|receipt:r||^", &["RECEIPT|receipt-id:r||^"]);
    let missed = "RECEIPT|receipt-id:s|recovered:false||^";
    bench.stomp_check("SUBSCRIBE|id:4|destination:/user/queue/c|receipt:s||^", &[missed]);

    let (mut bench, _) = resumed(Start { position: Some(position(9)), recovery: Some(Recovery::Whole) });
    for number in 0..20 {
        bench.frame(&format!("SUBSCRIBE|id:{number}|destination:/user/queue/{number}||^"));
        bench.tick_after(Duration::from_millis(300));
    }
    assert!(!bench.session.holds_own(), "not for ever");

    let lost = Start { position: Some(position(9)), recovery: Some(Recovery::Lost { first: Some(position(7)) }) };
    let (bench, connected) = resumed(lost);
    assert!(connected.contains("|position:e.9|recovered:false|first:e.7||"), "{connected}");
    assert!(!bench.session.holds_own());

    let mut bench = Bench::stomp();
    let malformed = error("bad_message", "since is no position", "");
    bench.stomp_check("CONNECT|accept-version:1.2|since:nonsense||^", &[&malformed, "close 1002"]);
}
