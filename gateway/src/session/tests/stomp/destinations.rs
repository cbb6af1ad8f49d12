//! What an endpoint's prefixes make of SUBSCRIBE and SEND, answers and errors, cumulative ACKs, rooms that resume.

use holdfast_protocol::position::{Position, Recovery, Start};
use holdfast_protocol::wire::Target;

use super::super::kit::Bench;
use super::{error, message};
use crate::handshake::{Admission, Destinations, Rules};
use crate::session::{Event, Failure};

fn rules(set: impl FnOnce(&mut Destinations)) -> Rules {
    let mut rules = Rules::json();
    set(&mut rules.destinations);
    rules
}

fn list(prefix: &str) -> Vec<String> {
    vec![prefix.to_owned()]
}

const DENIED: &str = "nobody may send to this destination";

#[test]
fn what_clients_may_send_to_rooms_is_a_rule() {
    let relay = rules(|destinations| {
        destinations.relay = list("/topic/chat");
        destinations.forward = list("/queue");
    });
    let mut bench = Bench::connected_by("1.2", relay);
    bench.stomp_check(
        "SEND|destination:/topic/chat/1|content-type:text/plain||hi^",
        &["publish to room chat/1 hi (text/plain)"],
    );
    bench.stomp_check("SEND|destination:/topic/chat/1|receipt:r||hi^", &["publish #0 to room chat/1 hi"]);
    bench.stomp_check("SEND|destination:/queue/jobs||hi^", &["publish queue|jobs hi"]);
    bench.stomp_check("SEND|destination:/topic/1||hi^", &[&error("forbidden", DENIED, ""), "close 1008"]);
}

#[test]
fn who_may_not_hear_a_room_may_not_speak_there() {
    let relay = rules(|destinations| destinations.relay = list("/topic"));
    let mut bench = Bench::connected_by("1.2", relay);

    bench.stomp_check("SEND|destination:/topic/chat/1||hi^", &["publish to room chat/1 hi"]);
    bench.stomp_check("SEND|destination:/topic/b||hi^", &[&error("forbidden", DENIED, ""), "close 1008"]);
}

#[test]
fn a_client_s_own_headers_go_along() {
    let mut bench = Bench::connected("1.2");

    bench.stomp_check(
        "SEND|destination:/app/x|content-type:application/json|priority:9|login:a||{}^",
        &[r#"publish x {} (application/json) ([["priority","9"]])"#],
    );
    let long = format!("SEND|destination:/app/x|x:{}||^", "\u{1}".repeat(2000));
    bench.stomp_check(&long, &[&error("bad_message", "the headers are too long", ""), "close 1002"]);
}

#[test]
fn a_send_that_asks_is_answered_in_the_client_s_own_queue() {
    let asks = rules(|destinations| destinations.requests = list("/app/ask"));
    let mut bench = Bench::connected_by("1.2", asks);
    bench.frame("SUBSCRIBE|id:a|destination:/user/queue/page/1||^SUBSCRIBE|id:e|destination:/user/queue/errors||^");
    bench.take();
    bench.stomp_check("SEND|destination:/app/ask/page/1|receipt:r||?^", &["request #0 page|1 ? 5s"]);
    bench.stomp_check("SEND|destination:/app/ask/page/1||?^", &["request #1 page|1 ? 5s"]);

    bench.apply(Event::Replied { ticket: 0, result: Ok("!".into()) });
    let status = Failure::Service { status: 404, message: "no page".to_owned() };
    bench.apply(Event::Replied { ticket: 1, result: Err(status) });

    let told = bench.take_stomp();
    assert!(told[0].starts_with("MESSAGE|subscription:a|destination:/user/queue/page/1|"), "{told:?}");
    assert!(told[0].ends_with("||!^"), "{told:?}");
    assert_eq!(told[1], "RECEIPT|receipt-id:r||^");
    assert!(told[2].starts_with("MESSAGE|subscription:e|destination:/user/queue/errors|"), "{told:?}");
    let body = r#"{"code":"service","destination":"/app/ask/page/1","message":"no page","retry":false,"status":404}"#;
    assert!(told[2].ends_with(&format!("||{body}^")), "{told:?}");
    assert_eq!(told.len(), 3);
}

#[test]
fn errors_that_end_nothing_are_heard_where_the_client_listens() {
    let mut bench = Bench::connected("1.2");
    bench.apply(Event::Unpublished(Failure::BusUnavailable));
    bench.expect(&[]);
    bench.frame("SUBSCRIBE|id:e|destination:/user/queue/errors||^SUBSCRIBE|id:q|destination:/app/none||^");
    bench.take();

    bench.apply(Event::Unpublished(Failure::BusUnavailable));
    bench.apply(Event::Replied { ticket: 0, result: Err(Failure::NoResponders) });

    let told = bench.take_stomp();
    let of = |text: &str, body: &str| text.contains("|subscription:e|") && text.ends_with(&format!("||{body}^"));
    let lost = r#"{"code":"bus_unavailable","message":"the bus is not available","retry":true}"#;
    let nobody = r#"{"code":"no_responder","destination":"/app/none","message":"nobody serves this","retry":true}"#;
    assert!(of(&told[0], lost) && of(&told[1], nobody), "{told:?}");
    assert_eq!(told.len(), 2);
}

#[test]
fn in_mode_client_an_ack_is_for_all_before_it() {
    for (mode, expected) in [("client", "acked m-1 m-2"), ("client-individual", "acked m-2")] {
        let mut bench = Bench::connected("1.2");
        bench.frame(&format!(
            "SUBSCRIBE|id:s|destination:/topic/chat/r|ack:{mode}||^SUBSCRIBE|id:o|destination:/topic/chat/o||^"
        ));
        bench.joined(0, "chat/r", Ok(()));
        bench.joined(1, "chat/o", Ok(()));
        bench.take();
        for (room, id) in [("chat/r", "m-1"), ("chat/o", "other"), ("chat/r", "m-2"), ("chat/r", "m-3")] {
            let mut delivery = message(Target::Room(room.into()), None);
            delivery.id = id.into();
            bench.session.owes(&delivery, 0);
        }

        bench.stomp_check("ACK|id:m-2||^", &[expected]);
        bench.stomp_check("NACK|id:m-3|receipt:n||^", &["RECEIPT|receipt-id:n||^"]);
        bench.stomp_check("ACK|message-id:m-3|subscription:s||^", &["acked m-3"]);
    }
}

#[test]
fn a_room_resumes_where_the_client_says() {
    let at = |seq| Position::new("e", seq);
    for (recovery, told) in [
        (Recovery::Whole, "recovered:true|"),
        (Recovery::Lost { first: at(3) }, "recovered:false|first:e.3|"),
        (Recovery::Lost { first: None }, "recovered:false|"),
    ] {
        let mut bench = Bench::connected("1.2");
        bench.stomp_check(
            "SUBSCRIBE|id:s|destination:/topic/chat/r|since:e.17|receipt:1||^",
            &["join #0 chat/r after e.17"],
        );
        bench.joined_at(0, "chat/r", Start { position: at(18), recovery: Some(recovery) });
        assert_eq!(bench.take_stomp(), [format!("RECEIPT|receipt-id:1|position:e.18|{told}|^")]);
        bench.stomp_check(
            "SUBSCRIBE|id:t|destination:/topic/chat/r|since:e.17|receipt:2||^",
            &["RECEIPT|receipt-id:2|recovered:false||^"],
        );
    }
    let mut bench = Bench::connected("1.2");
    let own = "SUBSCRIBE|id:s|destination:/user/queue/x|since:e.1|receipt:1||^";
    bench.stomp_check(own, &["RECEIPT|receipt-id:1|recovered:false||^"]);
    let refused = error("bad_message", "since is no position", "");
    bench.stomp_check("SUBSCRIBE|id:t|destination:/topic/chat/r|since:17||^", &[&refused, "close 1002"]);
}

#[test]
fn what_is_not_there_is_said_at_once() {
    for header in ["durable:true", "x-durable:1", "activemq.subscriptionName:a", "durable-subscription-name:a"] {
        let mut bench = Bench::connected("1.2");
        let refused = error("bad_message", "durable subscriptions are not supported", "r");
        let frame = format!("SUBSCRIBE|id:s|destination:/queue/jobs|{header}|receipt:r||^");
        bench.stomp_check(&frame, &[&refused, "close 1008"]);
    }
    let mut bench = Bench::connected("1.2");
    bench.stomp_check("SUBSCRIBE|id:s|destination:/topic/chat/r|durable:false||^", &["join #0 chat/r"]);
}

#[test]
fn credentials_come_in_the_headers_that_front_ends_use() {
    for header in [
        "Authorization:Bearer a.b.c",
        "X-Auth-Token:a.b.c",
        "token:a.b.c",
        "login:ana|passcode:a.b.c",
        "X-CSRF-TOKEN:e|token:a.b.c",
    ] {
        let mut bench = Bench::stomp();
        bench.stomp_check(&format!("CONNECT|accept-version:1.2|{header}||^"), &["verify #0 a.b.c"]);
    }
    let known = Admission { identity: Some(super::ana()), ..super::nobody(super::Dialect::Stomp, Rules::json()) };
    let mut bench = Bench::open(known);
    bench.stomp_check("CONNECT|accept-version:1.1|login:guest|passcode:a.b.c||^", &["bind ana"]);
    let mut bench = Bench::stomp();
    let needed = error("unauthenticated", "CONNECT needs a credential", "");
    bench.stomp_check("CONNECT|accept-version:1.2|login:guest|passcode:guest||^", &[&needed, "close 4401"]);
}

#[test]
fn what_is_odd_in_a_header_breaks_nothing_that_it_need_not() {
    let mut bench = Bench::connected("1.2");
    let typo = "SEND|destination:/app/x|content-type:aaplication/json||{}^";
    bench.stomp_check(typo, &["publish x {} (aaplication/json)"]);
    let mut bench = Bench::connected("1.0");
    bench.stomp_check("SEND|destination: /pub/chat||{}^", &["publish chat {}"]);
    let mut bench = Bench::connected("1.2");
    let padded = error("bad_message", "a header's value begins with a space", "");
    bench.stomp_check("SEND|destination: /pub/chat||{}^", &[&padded, "close 1002"]);
}

#[test]
fn bodies_go_through_as_they_are() {
    let mut bench = Bench::connected("1.2");
    let body = "안녕 👋 \u{2028} a\0b";
    let frame = format!("SEND\ndestination:/app/x\ncontent-length:{}\n\n{body}\0", body.len());
    for cut in 0..frame.len() {
        let (head, tail) = frame.as_bytes().split_at(cut);
        bench.binary(head);
        bench.binary(tail);
        assert_eq!(bench.take(), [format!("publish x {body}")], "cut at {cut}");
    }
}
