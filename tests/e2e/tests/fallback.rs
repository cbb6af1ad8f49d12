//! Dialect `json` without WebSocket: events, streams, polls, at any gateway.

use std::net::SocketAddr;

use holdfast_harness::client::HttpSession;
use holdfast_harness::{Claims, Cluster, To, http, unique};
use serde_json::{Value, json};

const PATH: &str = "/ws/chat/_http";

async fn cluster(gateways: usize) -> Cluster {
    let builder = Cluster::builder().gateways(gateways).gateway_setting("HOLDFAST_FALLBACK__PATHS", "/ws/**");
    builder.start().await
}

/// A new session as `user`: its URLs.
async fn open(gateway: SocketAddr, user: &str) -> HttpSession {
    let opened = HttpSession::at(PATH).user(user).request(gateway, "POST", "open", "").await;
    assert_eq!(opened.status, 200, "{opened:?}");
    session_of(&opened.body)
}

fn session_of(body: &str) -> HttpSession {
    let body: Value = serde_json::from_str(body).expect("JSON");
    HttpSession::at(&format!("{PATH}/{}", body["session"].as_str().expect("a session")))
}

fn lines(body: &str) -> Vec<Value> {
    body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn streams_events_and_polls_carry_the_dialect_from_any_gateway() {
    let cluster = cluster(3).await;
    let service = cluster.service().await;
    let [first, second, third] = [0, 1, 2].map(|number| cluster.gateway(number).listen());
    for (what, prefix) in [("events", "data: "), ("stream", "")] {
        let (user, room) = (unique("ana"), unique("room"));
        let session = open(first, &user).await;
        let mut stream = session.stream(second, "GET", what).await;
        let mut next = async || {
            let line = stream.words().await;
            let text = line.strip_prefix(prefix).unwrap_or_else(|| panic!("{line}"));
            serde_json::from_str::<Value>(text).expect("JSON")
        };
        assert_eq!(next().await["type"], "welcome");
        let join = json!({"type": "join", "id": 1, "room": room}).to_string();
        assert_eq!(session.request(third, "POST", "send", &join).await.status, 204);
        assert_eq!(next().await["type"], "ok");
        for number in 0..50 {
            service.send(To::room(&room)).payload(format!("[{number},\n{number}]")).receipt().await;
        }
        for number in 0..50 {
            assert_eq!(next().await["data"], json!([number, number]));
        }
        let again = session.request(first, "GET", "poll", "").await;
        assert_eq!(again.status, 409, "one receives already: {again:?}");
        let away = json!({"do": "disconnect", "code": 4001, "reason": "bye"});
        service.ctl(To::user(&user), &away).receipt().await;
        assert_eq!(next().await, json!({"type": "close", "code": 4001, "reason": "bye"}));
        while let Some(line) = stream.line().await {
            assert_eq!(line, "", "only the end of the event");
        }
    }

    let session = open(first, "eve").await;
    assert_eq!(lines(&session.request(second, "GET", "poll", "").await.body)[0]["type"], "welcome");
    let pings = "{\"type\":\"ping\",\n\"id\":1}\n{\"type\":\"ping\",\"id\":2}";
    assert_eq!(session.request(third, "POST", "send", pings).await.status, 204);
    let pongs = session.request(first, "GET", "poll", "").await;
    assert_eq!(pongs.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(lines(&pongs.body), [json!({"type": "pong", "id": 1}), json!({"type": "pong", "id": 2})]);
}

#[tokio::test]
async fn a_session_may_begin_without_credential_and_resume_with_a_position() {
    let cluster = cluster(2).await;
    let service = cluster.service().await;
    let [first, second] = [0, 1].map(|number| cluster.gateway(number).listen());
    let (user, room) = (unique("ana"), unique("room"));
    let opened = HttpSession::at(PATH).request(first, "POST", "open", "").await;
    let session = session_of(&opened.body);
    let auth = json!({"type": "auth", "id": 1, "token": Claims::of(&user).sign()}).to_string();
    assert_eq!(session.request(second, "POST", "send", &auth).await.status, 204);
    assert_eq!(lines(&session.request(second, "GET", "poll", "").await.body)[0]["user"], json!(user));
    let join = json!({"type": "join", "id": 2, "room": room}).to_string();
    session.request(first, "POST", "send", &join).await;
    let ok = lines(&session.request(second, "GET", "poll", "").await.body).remove(0);
    for number in 0..3 {
        crate::kept::keep(&service, &format!("keep.room.{room}"), &json!(number)).await;
    }

    let after = open(second, &user).await;
    let join = json!({"type": "join", "id": 3, "room": room, "since": ok["position"]}).to_string();
    let mut stream = after.stream(first, "GET", "stream").await;
    stream.words().await;
    after.request(second, "POST", "send", &join).await;
    let resumed: Value = serde_json::from_str(&stream.words().await).expect("JSON");
    assert_eq!(resumed["recovered"], true, "{resumed}");
    for number in 0..3 {
        let message: Value = serde_json::from_str(&stream.words().await).expect("JSON");
        assert_eq!(message["data"], number);
    }
}

#[tokio::test]
async fn what_is_wrong_is_a_status() {
    let cluster = cluster(1).await;
    let address = cluster.gateway(0).listen();
    let session = open(address, "ana").await;

    let nobody = HttpSession::at(&format!("{PATH}/g00000000000AAAAAAAAAAAAAAAAAAAAAA"));
    for (session, method, what, body, status) in [
        (&session, "POST", "send", "not JSON", 400),
        (&session, "POST", "send", "", 400),
        (&session, "GET", "send", "", 405),
        (&session, "POST", "poll", "", 405),
        (&session, "GET", "nothing", "", 404),
        (&nobody, "POST", "send", "{}", 404),
        (&nobody, "GET", "poll", "", 404),
        (&nobody, "GET", "events", "", 404),
    ] {
        let answer = session.request(address, method, what, body).await;
        assert_eq!(answer.status, status, "{method} {what} {body:?}: {answer:?}");
    }
    let huge = "1".repeat(257 * 1024);
    assert_eq!(session.request(address, "POST", "send", &huge).await.status, 413);
    let refused = HttpSession::at(PATH).header("Authorization", "Bearer x").request(address, "POST", "open", "").await;
    assert_eq!(refused.status, 401);
    let stranger = HttpSession::at(PATH).header("Origin", "https://evil.example");
    assert_eq!(stranger.request(address, "POST", "open", "").await.status, 403);
    let off = Cluster::builder().start().await;
    assert_eq!(http::request(off.gateway(0).listen(), "POST", "/ws/chat/_http/open", &[]).await.status, 405);
}
