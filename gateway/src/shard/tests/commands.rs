//! Commands of domain services, and questions about connections.

use super::*;

#[test]
fn a_commands_join_is_reported_once_the_hub_has_confirmed_it() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.command(vec![user("ana")], Command::Join { room: "vip".into() });
    let told = scene.told();
    let [ToHub::Join { on_behalf: JoinFor::Command(_), .. }] = &told[..] else { panic!("no receipt yet: {told:?}") };
    scene.port.0.borrow_mut().extend(told);

    let part = scene.receipt();

    assert_eq!((part.matched, part.written), (1, 1));
    assert_eq!(client.seen()[0]["type"], json!("joined"));
    assert_eq!(scene.deliver(scene.delivery(vec![room("vip")])).written, 1);
}

#[test]
fn a_disconnect_takes_only_the_named_device_and_tells_the_hub_why() {
    let mut scene = Scene::new();
    let (ios, web) = (scene.client("ana", Some("ios")), scene.client("ana", Some("web")));
    let command = Command::Disconnect { code: 4001, reason: "bye".into(), device: Some("web".into()) };
    scene.command(vec![user("ana")], command);

    let told = scene.told();

    assert_eq!((ios.closed_with(), web.closed_with()), (None, Some(4001)));
    let unbound = |m: &ToHub| matches!(m, ToHub::Unbind { cause: holdfast_protocol::wire::Cause::Ctl, .. });
    assert_eq!(told.iter().filter(|m| unbound(m)).count(), 1, "{told:?}");
    assert_eq!(scene.deliver(scene.delivery(vec![user("ana")])).matched, 1);
}

#[test]
fn questions_are_answered_as_the_public_sees_them() {
    let mut scene = Scene::new();
    let client = scene.client("ana", Some("ios"));
    scene.joined(&client, "q/1");
    let id = scene.id(&client);

    for (ask, wanted) in [
        (Ask::User { user: "ana".into() }, json!({"connection": id, "device": "ios", "endpoint": "chat", "rooms": 1})),
        (Ask::Room { room: "q/1".into(), after: None, limit: 10 }, json!({"user": "ana", "device": "ios"})),
        (Ask::Connection { connection: id }, json!({"rooms": ["q/1"], "since": "2023-11-14T22:13:20.000Z"})),
    ] {
        scene.hears(ToShard::Ask { question: 9, ask: Arc::new(ask) });
        let told = scene.told();
        let [ToHub::Answered { question: 9, part }] = &told[..] else { panic!("{told:?}") };
        assert_eq!(part.total, 1);
        let entry: Value = serde_json::from_str(&part.entries[0].1).expect("JSON");
        for (field, value) in wanted.as_object().expect("an object") {
            assert_eq!(&entry[field], value, "{entry}");
        }
    }
    scene.hears(ToShard::Ask {
        question: 1,
        ask: Arc::new(Ask::Room { room: "q/1".into(), after: Some(id), limit: 10 }),
    });
    assert!(matches!(&scene.told()[..], [ToHub::Answered { part, .. }] if part.total == 1 && part.entries.is_empty()));
}
