//! Clients' messages and requests to domain services.

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use holdfast_harness::service::header;
use holdfast_harness::{Claims, Client, cluster, unique};
use serde_json::{Value, json};

fn identity(message: &Message, client: &Client) {
    assert_eq!(header(message, "Hf-User"), Some(client.welcome("user").as_str()));
    assert_eq!(header(message, "Hf-Connection"), Some(client.id().as_str()));
    assert_eq!(header(message, "Hf-Node"), Some(client.welcome("node").as_str()));
    assert!(header(message, "Hf-Id").is_some_and(|id| !id.is_empty()), "{:?}", message.headers);
}

#[tokio::test]
async fn send_is_published_with_the_verified_identity_and_the_payload_as_written() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (user, to) = (unique("ana"), unique("new"));
    let attributes = json!({"role": "admin", "plan": "pro"});
    let claims = Claims::of(&user).device("ios").attributes(attributes.clone());
    let client = cluster.gateway(0).client().claims(&claims).open().await;
    let mut upstream = service.listen(&format!("hf.up.chat.message.{to}")).await;
    let exact = r#"{"t":1.50, "s":"\u00e9","n":12345678901234567890}"#;

    client.tell_text(&format!(r#"{{"type":"send","id":1,"to":"message.{to}","data":{exact}}}"#)).await;

    let message = upstream.next().await;
    client.frame("ok", 0, |frame| *frame == json!({"type": "ok", "id": 1})).await;
    assert_eq!(message.payload, Bytes::from(exact), "each byte as the client wrote it");
    identity(&message, &client);
    assert_eq!((header(&message, "Hf-Device"), header(&message, "Hf-Endpoint")), (Some("ios"), Some("chat")));
    assert_eq!(header(&message, "Hf-Roles"), Some("admin"));
    let sent: Value = serde_json::from_str(header(&message, "Hf-Attributes").expect("attributes")).expect("JSON");
    assert_eq!(sent, attributes);
}

#[tokio::test]
async fn send_without_data_has_no_payload_and_null_is_null() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let to = unique("x");
    let client = cluster.gateway(0).connect(&unique("ana")).await;
    let mut upstream = service.listen(&format!("hf.up.chat.{to}")).await;

    client.tell(json!({"type": "send", "to": to})).await;
    client.tell(json!({"type": "send", "to": to, "data": null})).await;

    let (none, null) = (upstream.next().await, upstream.next().await);
    assert_eq!((&none.payload[..], &null.payload[..]), (&b""[..], &b"null"[..]));
    assert_eq!(header(&null, "Hf-Device"), None, "no device, no header");
}

#[tokio::test]
async fn endpoint_is_one_token_so_that_none_can_speak_for_another() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let mut upstream = service.listen("hf.up.>").await;
    let user = unique("ana");
    let nested = cluster.gateway(0).client().path("/ws/crowd/location").user(&user).open().await;
    let outer = cluster.gateway(0).client().path("/ws/crowd").user(&user).open().await;

    nested.ok(json!({"type": "send", "to": "update", "data": 1})).await;
    outer.ok(json!({"type": "send", "to": "location.update", "data": 1})).await;

    for (subject, endpoint) in
        [("hf.up.crowd=2Flocation.update", "crowd/location"), ("hf.up.crowd.location.update", "crowd")]
    {
        let message = upstream.next_where(|message| header(message, "Hf-User") == Some(&user)).await;
        assert_eq!((message.subject.as_str(), header(&message, "Hf-Endpoint")), (subject, Some(endpoint)));
    }
}

#[tokio::test]
async fn identity_headers_are_raw_text_in_any_script() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (user, to) = (unique("ü: 한, \"42\""), unique("x"));
    let attributes = json!({"name": "한글 ü", "list": [1, "a"], "deep": {"x": null}});
    let claims = Claims::of(&user).device("tél").attributes(attributes.clone()).with("roles", json!(["ä", "b c"]));
    let client = cluster.gateway(0).client().claims(&claims).open().await;
    let mut upstream = service.listen(&format!("hf.up.chat.{to}")).await;

    client.ok(json!({"type": "send", "to": to, "data": 1})).await;

    let message = upstream.next().await;
    assert_eq!((header(&message, "Hf-User"), header(&message, "Hf-Device")), (Some(user.as_str()), Some("tél")));
    assert_eq!(header(&message, "Hf-Roles"), Some("ä,b c"));
    let sent: Value = serde_json::from_str(header(&message, "Hf-Attributes").expect("attributes")).expect("JSON");
    assert_eq!(sent, attributes);
}

#[tokio::test]
async fn upstream_order_is_kept() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let to = unique("seq");
    let client = cluster.gateway(1).connect(&unique("ana")).await;
    let mut upstream = service.listen(&format!("hf.up.chat.{to}")).await;

    for number in 0..1000 {
        client.tell(json!({"type": "send", "to": to, "data": number})).await;
    }

    for number in 0..1000 {
        assert_eq!(upstream.next().await.payload, Bytes::from(number.to_string()));
    }
}

#[tokio::test]
async fn request_is_answered_by_whoever_serves_it() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (user, to) = (unique("ana"), unique("page"));
    let client = cluster.gateway(0).connect(&user).await;
    let _server = service
        .serve(&format!("hf.req.chat.{to}"), |message| async move {
            let user = header(&message, "Hf-User")?.to_owned();
            let got: Value = serde_json::from_slice(&message.payload).ok()?;
            Some((HeaderMap::new(), Bytes::from(json!({"user": user, "got": got}).to_string())))
        })
        .await;

    let answer = client.ask(json!({"type": "request", "id": 5, "to": to, "data": {"p": 1}})).await;

    assert_eq!(answer, json!({"type": "reply", "id": 5, "data": {"user": user, "got": {"p": 1}}}));
}

#[tokio::test]
async fn pending_request_holds_up_no_other() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (mute, quick) = (unique("mute"), unique("quick"));
    let client = cluster.gateway(0).connect(&unique("ana")).await;
    let _mute = service.serve(&format!("hf.req.chat.{mute}"), |_| async { None }).await;
    let echo = |message: Message| async move { Some((HeaderMap::new(), message.payload)) };
    let _quick = service.serve(&format!("hf.req.chat.{quick}"), echo).await;

    client.tell(json!({"type": "request", "id": "slow", "to": mute, "timeout": 2000})).await;
    for number in 0..20 {
        let answer = client.ask(json!({"type": "request", "to": quick, "data": number})).await;
        assert_eq!((&answer["type"], &answer["data"]), (&json!("reply"), &json!(number)), "{answer}");
    }

    let late = client.frame("an answer to the slow one", 0, |frame| frame["id"] == "slow").await;
    assert_eq!((&late["type"], &late["code"]), (&json!("error"), &json!("timeout")), "{late}");
    assert!(late["retry"].is_boolean(), "{late}");
}

#[tokio::test]
async fn service_error_and_no_responder_are_clear_errors() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let bad = unique("bad");
    let client = cluster.gateway(0).connect(&unique("ana")).await;
    let refuse = |_| async {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Service-Error-Code", "404");
        headers.insert("Nats-Service-Error", "no such page");
        Some((headers, Bytes::new()))
    };
    let _server = service.serve(&format!("hf.req.chat.{bad}"), refuse).await;

    let error = client.refused(json!({"type": "request", "to": bad}), "service").await;
    assert_eq!((&error["status"], &error["message"]), (&json!(404), &json!("no such page")), "{error}");
    client.refused(json!({"type": "request", "to": unique("nobody")}), "no_responder").await;
    client.ok(json!({"type": "send", "to": unique("nobody"), "data": 1})).await;
}

#[tokio::test]
async fn client_can_set_no_header_and_publish_nowhere_else() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let user = unique("mallory");
    let handshake = cluster.gateway(0).client().user(&user).header("Hf-User", "root").header("Hf-Roles", "admin");
    let client = handshake.header("traceparent", "junk").open().await;
    let mut bus = service.listen("hf.up.>").await;
    let accepted = ["a b", "a\r\nPUB x 1", "a\tb", "$SYS.x", "한.글", ">", "*", "a.>", "/etc", "a/b"];
    let refused = [
        json!("a..b"),
        json!(".a"),
        json!("a."),
        json!(""),
        json!("."),
        json!("x".repeat(65)),
        json!(["a"; 17].join(".")),
        json!(null),
        json!(5),
    ];

    for to in &refused {
        client.refused(json!({"type": "send", "to": to, "data": 1}), "bad_message").await;
    }
    for to in accepted {
        let extra = json!({"type": "send", "to": to, "data": 1, "headers": {"Hf-User": "root"}, "Hf-Roles": "admin"});
        client.ok(extra).await;
    }

    let mine: Vec<_> = bus
        .so_far()
        .await
        .into_iter()
        .filter(|message| header(message, "Hf-Connection") == Some(&client.id()))
        .collect();
    assert_eq!(mine.len(), accepted.len());
    for (message, to) in mine.iter().zip(accepted) {
        let tokens: Vec<_> = to.split('.').map(holdfast_protocol::token::encode).collect();
        assert_eq!(message.subject.as_str(), format!("hf.up.chat.{}", tokens.join(".")));
        assert_eq!((header(message, "Hf-User"), header(message, "Hf-Roles")), (Some(user.as_str()), None));
    }
}
