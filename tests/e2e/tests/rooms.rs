//! Dialect `json`: join, leave, ids, errors, keys and patterns of rooms.

use holdfast_harness::{Claims, To, cluster, unique};
use serde_json::json;

#[tokio::test]
async fn answers_echo_the_id_whatever_it_is() {
    let cluster = cluster::shared().await;
    let room = unique("chat/5");
    let client = cluster.gateway(0).connect(&unique("ana")).await;

    for id in [json!(1), json!(0), json!(-7), json!("a"), json!(""), json!((1_u64 << 53) - 1), json!("한글")] {
        assert_eq!(client.ok(json!({"type": "join", "id": id, "room": room})).await["id"], id);
    }

    assert_eq!(client.ask(json!({"type": "ping", "id": 6})).await, json!({"type": "pong", "id": 6}));
    let wrong = [json!({}), json!(1.5), json!("x".repeat(65)), json!(1_u64 << 53)];
    for id in wrong {
        let mark = client.mark();
        client.tell(json!({"type": "join", "id": id, "room": room})).await;
        let answer = client.frame("an answer", mark, |_| true).await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("bad_message")), "{id}: {answer}");
    }
}

#[tokio::test]
async fn joined_twice_is_one_member_and_left_is_none() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let room = unique("chat/5");
    let client = cluster.gateway(0).connect(&unique("ana")).await;
    client.join(&room).await;
    client.join(&room).await;

    assert_eq!(service.send(To::room(&room)).receipt().await.matched, 1);
    client.message_in(&room).await;
    client.leave(&room).await;

    assert!(service.send(To::room(&room)).receipt().await.offline);
    client.leave(&room).await;
    client.nothing_more().await;
}

#[tokio::test]
async fn message_without_id_is_not_answered_unless_it_fails() {
    let cluster = cluster::shared().await;
    let client = cluster.gateway(0).connect(&unique("ana")).await;
    let mark = client.mark();

    client.tell(json!({"type": "leave", "room": "x"})).await;
    client.tell(json!({"type": "send", "to": "x", "data": 1})).await;
    client.tell(json!({"type": "ack", "ids": ["unknown"]})).await;
    client.ping().await;
    assert_eq!(client.mark(), mark + 1, "the pong alone");

    client.tell(json!({"type": "join"})).await;
    let error = client.frame("an error", mark, |frame| frame["type"] == "error").await;
    assert!(error.get("id").is_none_or(serde_json::Value::is_null), "{error}");
}

#[tokio::test]
async fn room_keys_are_opaque() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (client, stranger) =
        (cluster.gateway(0).connect(&unique("a")).await, cluster.gateway(1).connect(&unique("b")).await);
    let odd = [
        "a.b.c",
        "a b",
        "*",
        ">",
        "a*",
        "chat/>",
        "한글방",
        "=2F",
        "$SYS.x",
        "emoji 🎉/1",
        "a/../b",
        "\"q\"\\",
        "tab\there",
    ];
    let mut rooms: Vec<_> = odd.into_iter().map(unique).collect();
    rooms.push(unique(&"r".repeat(190)));
    for room in &rooms {
        client.join(room).await;
    }

    for room in &rooms {
        let receipt = service.send(To::room(room)).json(&json!(room)).receipt().await;
        assert_eq!(receipt.matched, 1, "{room:?}");
        let message = client.message().await;
        assert_eq!((message.room.as_ref(), &message.data), (Some(room), &json!(room)));
    }
    stranger.nothing_more().await;
}

#[tokio::test]
async fn room_keys_that_are_none_are_refused() {
    let cluster = cluster::shared().await;
    let client = cluster.gateway(0).connect(&unique("ana")).await;

    for room in [json!(""), json!("x".repeat(201)), json!("가".repeat(67)), json!(null), json!(5), json!(["a"])] {
        let error = client.refused(json!({"type": "join", "room": room}), "bad_message").await;
        assert_eq!(error["retry"], false, "{error}");
    }
    client.join(&"가".repeat(66)).await;
}

#[tokio::test]
async fn rooms_claim_says_which_rooms_may_be_joined() {
    let cluster = cluster::shared().await;
    let claims = Claims::of(&unique("ana")).rooms(&["chat/*", "news", "deep/**", "a/*/c"]);
    let client = cluster.gateway(0).client().claims(&claims).open().await;
    let nobody = cluster.gateway(0).client().claims(&Claims::of(&unique("ben")).without("rooms")).open().await;

    for room in ["chat/5", "news", "deep/x", "deep/x/y", "a/b/c"] {
        client.join(room).await;
    }
    for room in ["chat/5/x", "chat", "newsx", "other", "a/b/d", "a/b/b/c", "Chat/5", "deep"] {
        let error = client.refused(json!({"type": "join", "room": room}), "forbidden").await;
        assert_eq!(error["retry"], false, "{error}");
    }
    nobody.refused(json!({"type": "join", "room": "news"}), "forbidden").await;
}

#[tokio::test]
async fn junk_is_answered_with_an_error_and_the_connection_stays() {
    let cluster = cluster::shared().await;
    let client = cluster.gateway(0).connect(&unique("ana")).await;
    let deep = "[".repeat(20_000);
    let junk = [
        "{",
        "null",
        "[]",
        "7",
        "\"x\"",
        "{\"type\":5}",
        "{}",
        "{\"type\":\"join\"}",
        "{\"type\":\"join\",\"id\":{},\"room\":\"x\"}",
        &deep,
        "{\"type\":\"ack\",\"ids\":7}",
        "",
    ];

    for text in junk {
        let mark = client.mark();
        client.tell_text(text).await;
        let answer = client.frame(&format!("an answer to {:.30}", text), mark, |_| true).await;
        assert_eq!(answer["type"], "error", "{text:.30}: {answer}");
        assert!(answer["code"].is_string() && answer["message"].is_string() && answer["retry"] == false, "{answer}");
    }

    let error = client.refused(json!({"type": "fly", "id": 77}), "unknown_type").await;
    assert_eq!(error["id"], 77);
    client.ok(json!({"type": "join", "room": unique("r"), "color": "unknown fields are ignored"})).await;
}

#[tokio::test]
async fn rooms_of_a_connection_are_bounded() {
    let cluster = cluster::shared().await;
    let client = cluster.gateway(0).connect(&unique("hoarder")).await;
    let base = unique("r");

    let (mut joined, mut refusal) = (0, None);
    while joined < 10_000 && refusal.is_none() {
        let answer = client.ask(json!({"type": "join", "room": format!("{base}/{joined}")})).await;
        match answer["type"].as_str() {
            Some("ok") => joined += 1,
            _ => refusal = Some(answer),
        }
    }

    let refusal = refusal.expect("a bound");
    assert_eq!((&refusal["code"], &refusal["retry"]), (&json!("too_many"), &json!(false)), "{refusal}");
    client.leave(&format!("{base}/0")).await;
    client.join(&format!("{base}/again")).await;
}

#[tokio::test]
async fn nothing_of_a_room_comes_before_ok_to_its_join_or_after_ok_to_its_leave() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let room = unique("busy");
    let client = cluster.gateway(0).connect(&unique("ana")).await;
    let stay = cluster.gateway(1).connect(&unique("ben")).await;
    stay.join(&room).await;

    for round in 0..50 {
        let traffic = async {
            for _ in 0..20 {
                service.send(To::room(&room)).publish().await;
            }
            service.send(To::room(&room)).receipt().await;
        };
        let visit = async {
            let mark = client.mark();
            client.ok(json!({"type": "join", "id": format!("j{round}"), "room": room})).await;
            client.ok(json!({"type": "leave", "id": format!("l{round}"), "room": room})).await;
            mark
        };
        let ((), mark) = tokio::join!(traffic, visit);
        client.ping().await;
        let frames = &client.frames()[mark..];
        let at = |id: String| frames.iter().position(|frame| frame["id"] == json!(id)).expect("an answer");
        let (joined, left) = (at(format!("j{round}")), at(format!("l{round}")));
        let outside = frames[..joined].iter().chain(&frames[left..]);
        let early = outside.filter(|frame| frame["type"] == "message").find(|frame| frame["room"] == json!(room));
        assert_eq!(early, None, "round {round}");
    }
}
