//! Queries and the micro service that answers them.

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use holdfast_harness::wait::bounded;
use holdfast_harness::{Claims, To, cluster, unique};
use holdfast_protocol::token;
use serde_json::{Value, json};

#[tokio::test]
async fn user_query_lists_the_connections() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (user, room) = (unique("ana.b"), unique("r"));
    let claims = Claims::of(&user).device("ios");
    let one = cluster.gateway(0).client().claims(&claims).open().await;
    let two = cluster.gateway(1).client().claims(&claims).path("/ws/crowd/location").open().await;
    two.join(&room).await;

    let answer = service.query(&format!("user.{}", token::encode(&user)), "").await;

    assert_eq!((&answer["user"], &answer["online"]), (&json!(user), &json!(true)), "{answer}");
    let entry = |id: String| {
        let list = answer["connections"].as_array().expect("a list");
        list.iter().find(|entry| entry["connection"] == json!(id)).unwrap_or_else(|| panic!("{id} in {answer}")).clone()
    };
    let (node, other) = (cluster.gateway(0).node(), cluster.gateway(1).node());
    let expected = |id: &str, node: &str, endpoint: &str, rooms: u64| json!({"connection": id, "node": node, "device": "ios", "endpoint": endpoint, "rooms": rooms});
    assert_eq!(entry(one.id()), expected(&one.id(), node, "chat", 0));
    assert_eq!(entry(two.id()), expected(&two.id(), other, "crowd/location", 1));
}

#[tokio::test]
async fn query_about_nobody_is_an_empty_answer() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;

    let user = service.query("user.nobody", "").await;
    let room = service.query("room.nothing", "").await;

    assert_eq!((&user["online"], &user["connections"]), (&json!(false), &json!([])), "{user}");
    assert_eq!((&room["count"], &room["members"], &room["next"]), (&json!(0), &json!([]), &json!(null)), "{room}");
}

#[tokio::test]
async fn room_members_come_by_page() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let room = unique("q/1");
    let subject = format!("room.{}", token::encode(&room));
    let mut ids = BTreeSet::new();
    let mut clients = Vec::new();
    for number in 0..7 {
        let client = cluster.gateway_in_turn(number).connect(&unique("u")).await;
        client.join(&room).await;
        ids.insert(client.id());
        clients.push(client);
    }

    let (mut seen, mut after, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let mut body = json!({"limit": 3});
        if !after.is_null() {
            body["after"] = after;
        }
        let page = service.query(&subject, &body.to_string()).await;
        assert_eq!(page["count"], 7, "{page}");
        let members = page["members"].as_array().expect("a list");
        assert!(members.len() <= 3 && members.iter().all(|member| member["user"].is_string()), "{page}");
        seen.extend(members.iter().map(|member| member["connection"].as_str().expect("an id").to_owned()));
        pages += 1;
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }

    assert_eq!((seen.len(), pages), (7, 3), "{seen:?}");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), ids);
}

#[tokio::test]
async fn connection_query_tells_who_and_where() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (user, room) = (unique("ana"), unique("r"));
    let client = cluster.gateway(1).connect(&user).await;
    client.join(&room).await;

    let answer = service.query(&format!("connection.{}", client.id()), "").await;

    assert_eq!((&answer["connection"], &answer["user"]), (&json!(client.id()), &json!(user)), "{answer}");
    assert_eq!((&answer["node"], &answer["rooms"]), (&json!(cluster.gateway(1).node()), &json!([room])), "{answer}");
    assert!(answer["device"].is_null() && answer["since"].is_string(), "{answer}");
}

#[tokio::test]
async fn unknown_connection_is_404_and_a_malformed_key_400() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let gone = cluster.gateway(0).connect(&unique("ana")).await;
    let id = gone.id();
    gone.close().await;
    service.until_matched(&To::connection(&id), 0).await;

    for connection in [id.as_str(), "AAAAAAAAAAAAAAAAAAAAAA"] {
        let error = service.try_query(&format!("connection.{connection}"), "").await.expect_err("unknown");
        assert!(error.starts_with("404: "), "{connection}: {error}");
    }
    for what in ["user.a=zz", "room.a=41"] {
        let error = service.try_query(what, "").await.expect_err("malformed");
        assert!(error.starts_with("400: "), "{what}: {error}");
    }
    let error = service.try_query("room.r", "{").await.expect_err("no JSON");
    assert!(error.starts_with("400: "), "{error}");
}

#[tokio::test]
async fn nodes_and_stats_tell_of_the_whole() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let client = cluster.gateway(0).connect(&unique("ana")).await;
    client.join(&unique("r")).await;

    let nodes = service.query("nodes", "").await;
    let stats = service.query("stats", "").await;

    let listed = nodes["nodes"].as_array().expect("a list");
    for gateway in cluster.gateways() {
        let node = listed.iter().find(|node| node["node"] == gateway.node()).unwrap_or_else(|| panic!("{nodes}"));
        assert_eq!(node["state"], "live", "{node}");
        assert!(node["connections"].is_u64() && node["version"].is_string(), "{node}");
    }
    assert_eq!(listed.len(), cluster.gateways().len(), "{nodes}");
    assert_eq!((&stats["nodes"], &stats["routers"]), (&json!(2), &json!(2)), "{stats}");
    for count in ["connections", "users", "rooms"] {
        assert!(stats[count].as_u64().is_some_and(|count| count >= 1), "{count}: {stats}");
    }
}

#[tokio::test]
async fn queries_are_a_micro_service_with_one_instance_per_router() {
    let cluster = cluster::shared().await;
    let service = cluster.operator().await;

    for (verb, kind) in [("PING", "ping_response"), ("INFO", "info_response"), ("STATS", "stats_response")] {
        let inbox = service.bus().new_inbox();
        let mut answers = service.bus().subscribe(inbox.clone()).await.expect("subscribe");
        let subject = format!("$SRV.{verb}.holdfast");
        service.bus().publish_with_reply(subject, inbox, bytes::Bytes::new()).await.expect("publish");

        let mut ids = BTreeSet::new();
        for _ in cluster.routers() {
            let answer = bounded(verb, answers.next()).await.expect("subscribed");
            let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
            assert_eq!(answer["name"], "holdfast", "{answer}");
            assert!(answer["type"].as_str().is_some_and(|text| text.ends_with(kind)), "{answer}");
            ids.insert(answer["id"].as_str().expect("an id").to_owned());
            if verb == "INFO" {
                let endpoints = answer["endpoints"].as_array().expect("a list");
                for subject in
                    ["user.*", "room.*", "connection.*", "nodes", "stats"].map(|kind| format!("hf.query.{kind}"))
                {
                    assert!(endpoints.iter().any(|endpoint| endpoint["subject"] == subject), "{subject}: {answer}");
                }
            }
        }
        assert_eq!(ids.len(), cluster.routers().len(), "each router is an instance");
    }
}
