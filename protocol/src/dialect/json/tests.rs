//! What is read of clients and written to them, case by case.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::id::{ConnectionId, NodeId};
use crate::position::{Position, Recovery, Start};
use crate::wire::{Content, Delivery, Kept, ReceiptAsk, Target, Text};

fn parsed(text: &str) -> Result<(Option<String>, ClientMessage<'_>), (Option<String>, ErrorCode)> {
    let id = |id: Option<MessageId>| id.map(|id| id.as_json().to_owned());
    let head = read(text).map_err(|rejection| (id(rejection.id), rejection.code))?;
    let body = head.body().map_err(|rejection| (id(rejection.id), rejection.code))?;
    Ok((id(head.id), body))
}

#[test]
fn each_type_is_read() {
    for (text, message) in [
        (
            r#"{"type":"auth","token":"a.b.c"}"#,
            ClientMessage::Auth { token: "a.b.c".into(), device: None, since: None },
        ),
        (
            r#"{"type":"auth","token":"t","device":"ios"}"#,
            ClientMessage::Auth { token: "t".into(), device: Some("ios".into()), since: None },
        ),
        (
            r#"{"type":"auth","token":"t","device":null,"since":null}"#,
            ClientMessage::Auth { token: "t".into(), device: None, since: None },
        ),
        (
            r#"{"type":"auth","token":"t","since":{"epoch":"\u0065.1","seq":0}}"#,
            ClientMessage::Auth { token: "t".into(), device: None, since: Position::new("e.1", 0) },
        ),
        (r#"{"type":"join","room":"chat/5"}"#, ClientMessage::Join { room: "chat/5".into(), since: None }),
        (
            r#"{"type":"join","room":"r","since":{"epoch":"e","seq":17,"more":1}}"#,
            ClientMessage::Join { room: "r".into(), since: Position::new("e", 17) },
        ),
        (r#"{"type":"leave","room":"\u0072\n"}"#, ClientMessage::Leave { room: "r\n".into() }),
        (r#"{"type":"send","to":"x"}"#, ClientMessage::Send { to: vec!["x".into()], data: "" }),
        (
            r#"{"type":"request","to":"a.b","data":{},"timeout":2000}"#,
            ClientMessage::Request { to: vec!["a".into(), "b".into()], data: "{}", timeout_ms: Some(2000) },
        ),
        (
            r#"{"type":"history","room":"r"}"#,
            ClientMessage::History { room: "r".into(), cursor: Cursor::NEWEST, limit: 50 },
        ),
        (
            r#"{"type":"history","room":"r","before":18}"#,
            ClientMessage::History {
                room: "r".into(),
                cursor: Cursor::Before(Mark { epoch: None, seq: 18 }),
                limit: 50,
            },
        ),
        (
            r#"{"type":"history","room":"r","before":null,"after":{"epoch":"e","seq":0},"limit":500}"#,
            ClientMessage::History {
                room: "r".into(),
                cursor: Cursor::After(Mark { epoch: Some("e".into()), seq: 0 }),
                limit: 500,
            },
        ),
        (r#"{"type":"ack","ids":["a",""]}"#, ClientMessage::Ack { ids: vec!["a".into(), "".into()] }),
        (" \n{\"type\":\"ping\",\"room\":7,\"x\":[[[]]],\"token\":{}}\t", ClientMessage::Ping),
    ] {
        assert_eq!(parsed(text), Ok((None, message)), "{text}");
    }
}

#[test]
fn data_passes_as_it_was_written() {
    for data in [
        "null",
        "1.50",
        "12345678901234567890.1200",
        r#""\u00e9\/""#,
        "{ \"d\":1,\n \"d\":2 }",
        "\"\u{2028}한\"",
        r#""\ud800""#,
        &format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)),
    ] {
        let text = format!(r#"{{"data": {data} ,"to":"x","type":"send"}}"#);

        assert_eq!(parsed(&text), Ok((None, ClientMessage::Send { to: vec!["x".into()], data })));
    }
}

#[test]
fn ids_are_echoed_as_written() {
    let longest = format!("\"{}\"", "x".repeat(64));
    let escaped = format!("\"{}\"", "\\u0041".repeat(64));
    for id in
        ["0", "-0", "1", "9007199254740991", "-9007199254740991", "\"\"", "\"한글\"", "\"\\u00e9\"", &longest, &escaped]
    {
        let text = format!(r#"{{"type":"ping","id":{id}}}"#);
        assert_eq!(parsed(&text), Ok((Some(id.to_owned()), ClientMessage::Ping)));

        let head = read(&text).unwrap();
        assert_eq!(String::from_utf8(pong(head.id.as_ref())).unwrap(), format!(r#"{{"type":"pong","id":{id}}}"#));
    }
}

#[test]
fn what_is_no_id_is_answered_without_one() {
    let long = format!("\"{}\"", "x".repeat(65));
    let long_escaped = format!("\"{}\"", "\\u0041".repeat(65));
    for id in [
        "9007199254740992",
        "-9007199254740992",
        "123456789012345678901234567890",
        "1.0",
        "1e2",
        "null",
        "true",
        "{}",
        "[1]",
        "\"\\ud800\"",
        &long,
        &long_escaped,
    ] {
        let text = format!(r#"{{"type":"ping","id":{id}}}"#);
        assert_eq!(parsed(&text), Err((None, ErrorCode::BadMessage)), "{id}");
    }
}

#[test]
fn junk_is_a_bad_message() {
    let deep = "[".repeat(20_000);
    let deep_objects = r#"{"a":"#.repeat(20_000);
    let deep_room = format!(r#"{{"type":"join","room":{}{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    let long_key = format!(r#"{{"type":"join","room":"{}"}}"#, "가".repeat(67));
    for text in [
        "",
        "{",
        "null",
        "[]",
        "7",
        "\"x\"",
        "{}",
        r#"["ping"]"#,
        r#"{"type":5}"#,
        r#"{"type":null}"#,
        r#"{"type":"ping","type":"ping"}"#,
        r#"{"type":"ping"} {}"#,
        r#"{"type":"ping",}"#,
        r#"{"type":"join"}"#,
        r#"{"type":"join","room":""}"#,
        r#"{"type":"join","room":null}"#,
        r#"{"type":"join","room":5}"#,
        r#"{"type":"join","room":["a"]}"#,
        r#"{"type":"join","id":{},"room":"x"}"#,
        r#"{"type":"join","room":"x","since":7}"#,
        r#"{"type":"join","room":"x","since":["e",7]}"#,
        r#"{"type":"join","room":"x","since":{"epoch":"e"}}"#,
        r#"{"type":"join","room":"x","since":{"epoch":"e","seq":-1}}"#,
        r#"{"type":"join","room":"x","since":{"epoch":"e","seq":1.5}}"#,
        r#"{"type":"join","room":"x","since":{"epoch":"e","seq":9007199254740992}}"#,
        r#"{"type":"join","room":"x","since":{"epoch":"","seq":1}}"#,
        r#"{"type":"join","room":"x","since":{"epoch":"\u0000","seq":1}}"#,
        r#"{"type":"auth","token":"t","since":"e.1"}"#,
        r#"{"type":"leave"}"#,
        r#"{"type":"auth"}"#,
        r#"{"type":"auth","token":null}"#,
        r#"{"type":"auth","token":7}"#,
        r#"{"type":"auth","token":"t","device":7}"#,
        r#"{"type":"auth","token":"t","device":""}"#,
        r#"{"type":"auth","token":"t","device":"x\r\nHf-User: root"}"#,
        r#"{"type":"auth","token":"t","device":" x"}"#,
        r#"{"type":"send"}"#,
        r#"{"type":"send","to":""}"#,
        r#"{"type":"send","to":"a..b"}"#,
        r#"{"type":"send","to":5}"#,
        r#"{"type":"request","to":"x","timeout":0}"#,
        r#"{"type":"request","to":"x","timeout":30001}"#,
        r#"{"type":"request","to":"x","timeout":"5s"}"#,
        r#"{"type":"ack"}"#,
        r#"{"type":"ack","ids":7}"#,
        r#"{"type":"ack","ids":[7]}"#,
        "\u{feff}{}",
        &deep,
        &deep_objects,
        &deep_room,
        &long_key,
    ] {
        let shown: String = text.chars().take(60).collect();
        assert_eq!(parsed(text), Err((None, ErrorCode::BadMessage)), "{shown}");
    }
}

#[test]
fn a_page_of_history_has_one_end_and_a_bounded_length() {
    for text in [
        r#"{"type":"history","before":1}"#,
        r#"{"type":"history","room":"x","before":1,"after":1}"#,
        r#"{"type":"history","room":"x","before":"1"}"#,
        r#"{"type":"history","room":"x","before":-1}"#,
        r#"{"type":"history","room":"x","before":9007199254740992}"#,
        r#"{"type":"history","room":"x","after":{"seq":1}}"#,
        r#"{"type":"history","room":"x","after":["e",1]}"#,
        r#"{"type":"history","room":"x","after":1,"limit":0}"#,
        r#"{"type":"history","room":"x","after":1,"limit":501}"#,
        r#"{"type":"history","room":"x","after":1,"limit":"9"}"#,
    ] {
        assert_eq!(parsed(text), Err((None, ErrorCode::BadMessage)), "{text}");
    }
}

#[test]
fn an_error_names_the_message() {
    assert_eq!(parsed(r#"{"type":"fly","id":77}"#), Err((Some("77".into()), ErrorCode::UnknownType)));
    assert_eq!(parsed(r#"{"type":5,"id":"a"}"#), Err((Some("\"a\"".into()), ErrorCode::BadMessage)));
    assert_eq!(parsed(r#"{"id":1,"type":"join"}"#), Err((Some("1".into()), ErrorCode::BadMessage)));
}

fn message(content: Content, payload: &'static [u8]) -> Delivery {
    Delivery {
        targets: vec![Target::All],
        id: Text::from("m1"),
        event: None,
        content,
        payload: Bytes::from_static(payload),
        received_ms: 0,
        expires_ms: None,
        key: None,
        destination: None,
        only: Vec::new(),
        except_connections: Vec::new(),
        except_users: Vec::new(),
        receipt: None,
        trace: None,
        kept: None,
    }
}

#[track_caller]
fn check(written: Vec<u8>, expected: &str) {
    let written = String::from_utf8(written).unwrap();
    assert_eq!(written, expected);
    serde_json::from_str::<Value>(&written).unwrap();
}

#[test]
fn payloads_are_inserted_by_what_they_are() {
    for (content, payload, field) in [
        (Content::Json, &b"{\"n\":1.50,\n \"u\":\"\\u00e9\\/\"}"[..], "\"data\":{\"n\":1.50,\n \"u\":\"\\u00e9\\/\"}"),
        (Content::Json, b" 7 ", "\"data\": 7 "),
        (Content::Text, b"a \"q\" \\ \n\r\t\x01\x7f", "\"data\":\"a \\\"q\\\" \\\\ \\n\\r\\t\\u0001\u{7f}\""),
        (Content::Text, "한글 \u{2028}🎉".as_bytes(), "\"data\":\"한글 \u{2028}🎉\""),
        (Content::Text, b"", "\"data\":\"\""),
        (Content::Binary, b"", "\"data\":\"\""),
        (Content::Binary, b"\x00\xff", "\"base64\":\"AP8=\""),
        (Content::Text, b"\xff", "\"base64\":\"/w==\""),
    ] {
        check(delivery(&message(content, payload), None), &format!("{{\"type\":\"message\",\"id\":\"m1\",{field}}}"));
    }
}

#[test]
fn a_delivery_says_where_it_belongs() {
    let mut full = message(Content::Json, b"1");
    full.event = Some(Text::from("message.new"));
    full.kept = Some(Kept { epoch: Text::from("e"), seq: 18, previous: 17 });
    full.receipt = Some(ReceiptAsk { number: 1, acked: true, timeout_ms: 5000 });

    check(
        delivery(&full, Some("\"q\"\\")),
        r#"{"type":"message","id":"m1","room":"\"q\"\\","event":"message.new","data":1,"seq":18,"epoch":"e","ack":true}"#,
    );

    full.receipt = Some(ReceiptAsk { number: 1, acked: false, timeout_ms: 400 });
    full.kept = None;
    check(delivery(&full, None), r#"{"type":"message","id":"m1","event":"message.new","data":1}"#);
}

#[test]
fn answers_have_the_form_of_the_contract() {
    let id = MessageId::parse("5").unwrap();
    let some = Some(&id);
    let at = |seq| Position::new("\"e", seq);
    let kept = |seq, delivery| Delivery { kept: Some(Kept { epoch: Text::from("e"), seq, previous: 0 }), ..delivery };
    let page = [kept(7, message(Content::Json, b"{\"n\":1}")), kept(9, message(Content::Binary, b"\0"))];
    for (written, expected) in [
        (ok(&id), json!({"type":"ok","id":5})),
        (ok_refreshed(&id, Some(99)), json!({"type":"ok","id":5,"expires":99})),
        (ok_refreshed(&id, None), json!({"type":"ok","id":5,"expires":null})),
        (ok_joined(&id, &Start::default()), json!({"type":"ok","id":5})),
        (
            ok_joined(&id, &Start { position: at(17), recovery: None }),
            json!({"type":"ok","id":5,"position":{"epoch":"\"e","seq":17}}),
        ),
        (
            ok_joined(&id, &Start { position: at(17), recovery: Some(Recovery::Whole) }),
            json!({"type":"ok","id":5,"position":{"epoch":"\"e","seq":17},"recovered":true}),
        ),
        (
            ok_joined(&id, &Start { position: at(17), recovery: Some(Recovery::Lost { first: at(9) }) }),
            json!({"type":"ok","id":5,"position":{"epoch":"\"e","seq":17},"recovered":false,
                   "first":{"epoch":"\"e","seq":9}}),
        ),
        (
            ok_joined(&id, &Start { position: None, recovery: Some(Recovery::Lost { first: None }) }),
            json!({"type":"ok","id":5,"recovered":false}),
        ),
        (history(some, "r", &[], None), json!({"type":"history","id":5,"messages":[],"more":false})),
        (
            history(None, "r\"", &page, at(9).as_ref()),
            json!({"type":"history","more":true,"next":{"epoch":"\"e","seq":9},"messages":[
                {"type":"message","id":"m1","room":"r\"","data":{"n":1},"seq":7,"epoch":"e"},
                {"type":"message","id":"m1","room":"r\"","base64":"AA==","seq":9,"epoch":"e"}]}),
        ),
        (pong(some), json!({"type":"pong","id":5})),
        (pong(None), json!({"type":"pong"})),
        (
            error(some, ErrorCode::Forbidden, "no", false),
            json!({"type":"error","id":5,"code":"forbidden","message":"no","retry":false}),
        ),
        (
            error(None, ErrorCode::BadMessage, "a \"b\"", false),
            json!({"type":"error","code":"bad_message","message":"a \"b\"","retry":false}),
        ),
        (
            service_error(some, 404, "no such page"),
            json!({"type":"error","id":5,"code":"service","status":404,"message":"no such page","retry":false}),
        ),
        (reply(some, b"{\"a\":[1]}"), json!({"type":"reply","id":5,"data":{"a":[1]}})),
        (reply(some, b"words"), json!({"type":"reply","id":5,"data":"words"})),
        (reply(some, b""), json!({"type":"reply","id":5,"data":""})),
        (reply(some, b"\xff"), json!({"type":"reply","id":5,"base64":"/w=="})),
        (gap(Gap::All), json!({"type":"gap","all":true})),
        (gap(Gap::Own), json!({"type":"gap"})),
        (gap(Gap::Room("chat/5")), json!({"type":"gap","room":"chat/5"})),
        (goaway(1200, "drain"), json!({"type":"goaway","retry_after":1200,"reason":"drain"})),
        (joined("r\n", None), json!({"type":"joined","room":"r\n"})),
        (joined("r", at(3).as_ref()), json!({"type":"joined","room":"r","position":{"epoch":"\"e","seq":3}})),
        (left("r"), json!({"type":"left","room":"r"})),
    ] {
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), expected);
    }
}

#[test]
fn the_welcome_is_complete() {
    let node = NodeId::gateway([7; 8]);
    let connection = ConnectionId::new(node, [1; 16]);
    let id = MessageId::parse("\"a\"").unwrap();
    let mut shown = Welcome {
        id: None,
        connection,
        user: "ü 42",
        node,
        heartbeat: Duration::from_secs(25),
        expires: None,
        device: None,
        start: &Start::default(),
    };

    assert_eq!(
        serde_json::from_slice::<Value>(&welcome(&shown)).unwrap(),
        json!({"type":"welcome","connection":connection.to_string(),"user":"ü 42","node":node.to_string(),
               "heartbeat":25,"expires":null})
    );

    shown.id = Some(&id);
    shown.expires = Some(1_900_000_000);
    shown.device = Some("ios");
    shown.heartbeat = Duration::from_millis(500);
    let written: Value = serde_json::from_slice(&welcome(&shown)).unwrap();
    assert_eq!(
        (&written["id"], &written["expires"], &written["device"], &written["heartbeat"]),
        (&json!("a"), &json!(1_900_000_000), &json!("ios"), &json!(0.5))
    );

    let start = Start { position: Position::new("e", 4), recovery: Some(Recovery::Whole) };
    shown.start = &start;
    let written: Value = serde_json::from_slice(&welcome(&shown)).unwrap();
    assert_eq!((&written["position"], &written["recovered"]), (&json!({"epoch":"e","seq":4}), &json!(true)));
}
