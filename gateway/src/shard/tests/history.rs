//! Pages of history: what of them a connection may see.

use holdfast_protocol::position::Position;
use holdfast_protocol::wire::{Condition, Delivery};
use serde_json::json;

use super::{Scene, room};
use crate::link::{ToHub, ToShard};
use crate::session::HistoryPage;

#[test]
fn history_has_only_what_a_member_would_have_got_and_what_still_has_its_time() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.says(&client, &json!({"type": "history", "id": 1, "room": "r"}));
    let told = scene.told();
    let [ToHub::History { conn, ticket, .. }] = &told[..] else { panic!("{told:?}") };
    let (conn, ticket) = (*conn, *ticket);

    let message = |id: &str| Delivery { id: id.into(), ..scene.delivery(vec![room("r")]) };
    let past = scene.now.unix_ms - 1;
    let messages = vec![
        message("for all"),
        Delivery { only: vec![Condition { name: "role".into(), value: "admin".into() }], ..message("for admins") },
        Delivery { except_users: vec!["ana".into()], ..message("not for ana") },
        Delivery { except_users: vec!["ben".into()], ..message("not for ben") },
        Delivery { expires_ms: Some(past), ..message("late") },
    ];
    let next = Position::new("e", 4);
    scene.hears(ToShard::History { conn, ticket, result: Ok(HistoryPage { messages, next }) });

    let seen = client.seen();
    let ids: Vec<_> = seen[0]["messages"].as_array().unwrap_or(&Vec::new()).iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, ["for all", "not for ben"]);
    assert_eq!((&seen[0]["more"], &seen[0]["next"]["seq"]), (&json!(true), &json!(4)));
}
