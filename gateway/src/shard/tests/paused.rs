//! Pauses, and kept messages that a connection catches up with.

use super::*;

fn kept(scene: &Scene, seq: u64) -> Delivery {
    let kept = Some(Kept { epoch: "e".into(), seq, previous: seq - 1 });
    Delivery { kept, id: format!("m{seq}").into(), ..scene.delivery(vec![room("r")]) }
}

/// What the stream has, read for one who was behind.
fn granted(scene: &Scene, seqs: impl IntoIterator<Item = u64>) -> Granted {
    let messages = seqs.into_iter().map(|seq| Arc::new(SharedDelivery::kept(kept(scene, seq)))).collect();
    let start = Start { position: None, recovery: Some(Recovery::Whole) };
    Granted { start, replay: Replay { messages, skip: 0 }, ..Granted::default() }
}

/// What a shard asks the stream for: the connection, the room, and from behind which position.
fn asked(told: &[ToHub]) -> Option<(ConnRef, Option<Arc<str>>, u64)> {
    told.iter().find_map(|message| match message {
        ToHub::Replay { conn, room, since, .. } => Some((*conn, room.clone(), *since)),
        _ => None,
    })
}

fn ids(client: &Client) -> Vec<Value> {
    client.seen().iter().map(|message| message["id"].clone()).collect()
}

fn tick(scene: &mut Scene) {
    scene.now.ms += 1000;
    scene.shard.tick(scene.now);
    scene.shard.finish_turn(scene.now);
}

#[test]
fn a_paused_client_gets_nothing_and_a_gap_on_resume() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.joined(&client, "r");
    scene.command(vec![user("ana")], Command::Pause);
    assert_eq!(scene.receipt().written, 1);

    let part = scene.deliver(scene.delivery(vec![room("r")]));
    assert_eq!((part.matched, part.dropped), (1, 1));
    assert!(client.seen().is_empty());
    scene.command(vec![user("ana")], Command::Resume);

    assert_eq!(client.seen(), [json!({"type": "gap", "room": "r"})]);
}

#[test]
fn a_client_with_a_gap_for_all_in_its_queue_is_told_which_kept_messages_are_lost() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.joined(&client, "r");
    client.wire.borrow_mut().clogged = true;

    scene.hears(ToShard::Lost);
    scene.hears(ToShard::KeptGap { target: room("r") });
    scene.hears(ToShard::KeptGap { target: user("ana") });
    scene.hears(ToShard::KeptGap { target: Target::All });
    client.wire.borrow_mut().clogged = false;
    scene.deliver(kept(&scene, 5));

    let gaps = [json!({"type": "gap", "all": true}), json!({"type": "gap", "room": "r"}), json!({"type": "gap"})];
    let seen = client.seen();
    assert_eq!(seen[..3], gaps);
    assert_eq!((seen.len(), &seen[3]["id"]), (4, &json!("m5")));
}

#[test]
fn a_paused_client_gets_kept_messages_on_resume_before_live_ones() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.joined(&client, "r");
    scene.command(vec![user("ana")], Command::Pause);
    scene.receipt();
    let part = scene.deliver(kept(&scene, 5));
    assert_eq!((part.queued, part.dropped), (1, 0));
    scene.command(vec![user("ana")], Command::Resume);
    let told = scene.told();
    let Some((conn, asked_room, since @ 4)) = asked(&told) else { panic!("{told:?}") };
    assert_eq!(scene.deliver(kept(&scene, 7)).queued, 1, "behind what is being read");
    assert!(client.seen().is_empty());

    let granted = granted(&scene, [5, 7]);
    scene.hears(ToShard::Replayed { conn, room: asked_room, since, result: Ok(granted) });
    assert_eq!(scene.deliver(kept(&scene, 9)).written, 1);

    assert_eq!(ids(&client), ["m5", "m7", "m9"]);
}

#[test]
fn who_resumes_gets_the_answer_then_the_past_then_the_present() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.says(&client, &json!({"type": "join", "id": 1, "room": "r", "since": {"epoch": "e", "seq": 3}}));
    let told = scene.told();
    let [ToHub::Join { conn, on_behalf, room: name, since: Some(since), .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(since.seq, 3);
    let old = Delivery { id: "old".into(), ..scene.delivery(vec![room("r")]) };
    let position = Position::new("e", 4);
    let granted = Granted {
        start: Start { position, recovery: Some(Recovery::Whole) },
        replay: Replay { messages: [Arc::new(SharedDelivery::kept(old))].into(), skip: 0 },
        ..Granted::default()
    };
    let (conn, on_behalf, room_name) = (*conn, *on_behalf, Arc::clone(name));
    scene.hears(ToShard::Joined { conn, on_behalf, room: room_name, result: Ok(granted) });
    scene.deliver(scene.delivery(vec![room("r")]));

    let seen = client.seen();
    assert_eq!((&seen[0]["recovered"], &seen[0]["position"]["seq"]), (&json!(true), &json!(4)));
    assert_eq!((&seen[1]["id"], &seen[2]["id"]), (&json!("old"), &json!("m1")));
}

#[test]
fn who_is_ahead_of_the_members_is_not_shown_what_they_still_miss() {
    let mut scene = Scene::new();
    let (member, ahead) = (scene.client("ana", None), scene.client("ben", None));
    scene.joined(&member, "r");
    scene.says(&ahead, &json!({"type": "join", "id": 1, "room": "r", "since": {"epoch": "e", "seq": 20}}));
    let told = scene.told();
    let [ToHub::Join { conn, on_behalf, room: name, .. }] = &told[..] else { panic!("{told:?}") };
    let start = Start { position: Position::new("e", 20), recovery: Some(Recovery::Whole) };
    let granted = Granted { start, is_ahead: true, ..Granted::default() };
    scene.hears(ToShard::Joined { conn: *conn, on_behalf: *on_behalf, room: Arc::clone(name), result: Ok(granted) });
    ahead.seen();

    let parts: Vec<_> = [15, 20, 21].map(|seq| scene.deliver(kept(&scene, seq))).into();

    assert_eq!(ids(&member), ["m15", "m20", "m21"]);
    assert_eq!(ids(&ahead), ["m21"]);
    assert_eq!(parts.iter().map(|part| (part.matched, part.filtered)).collect::<Vec<_>>(), [(1, 1), (1, 1), (2, 0)]);
}

#[test]
fn a_slow_client_is_caught_up_from_the_stream_once_it_has_read_what_waits() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.joined(&client, "r");
    let scope = scene.shard.table.rooms.find("r").expect("it is in");
    client.wire.borrow_mut().clogged = true;
    scene.deliver(kept(&scene, 3));
    // The queue was full, and kept messages from 5 on gave way.
    client.wire.borrow_mut().behind = vec![(scope, NonZeroU64::new(5).expect("not 0"))];
    assert_eq!(scene.deliver(scene.delivery(vec![user("ana")])).queued, 1);
    assert_eq!(scene.deliver(kept(&scene, 6)).queued, 1, "it will be read from the stream");
    tick(&mut scene);
    assert_eq!(asked(&scene.told()), None, "not before it has read");

    client.wire.borrow_mut().clogged = false;
    tick(&mut scene);
    assert_eq!(ids(&client), ["m3", "m1"]);
    let Some((conn, room, since)) = asked(&scene.told()) else { panic!("nothing was asked for") };
    assert_eq!((room.as_deref(), since), (Some("r"), 4));
    tick(&mut scene);
    assert_eq!(asked(&scene.told()), None, "once");
    let granted = granted(&scene, [5, 6]);
    scene.hears(ToShard::Replayed { conn, room, since, result: Ok(granted) });
    assert_eq!(scene.deliver(kept(&scene, 7)).written, 1);
    assert_eq!(ids(&client), ["m5", "m6", "m7"]);
}

#[test]
fn what_was_asked_for_before_a_room_was_left_is_not_the_answer_to_what_is_missed_afterwards() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.joined(&client, "r");
    let misses = |scene: &mut Scene, seq| {
        scene.command(vec![user("ana")], Command::Pause);
        scene.receipt();
        scene.deliver(kept(scene, seq));
        scene.command(vec![user("ana")], Command::Resume);
        let told = scene.told();
        asked(&told).unwrap_or_else(|| panic!("{told:?}"))
    };
    let (conn, name, since) = misses(&mut scene, 5);
    let late = ToShard::Replayed { conn, room: name, since, result: Ok(granted(&scene, [5])) };
    scene.says(&client, &json!({"type": "leave", "id": 1, "room": "r"}));
    client.seen();
    scene.joined(&client, "r");
    let (conn, room, since) = misses(&mut scene, 9);
    let due = ToShard::Replayed { conn, room, since, result: Ok(granted(&scene, [9])) };
    client.seen();

    scene.hears(late);
    assert_eq!(ids(&client), Vec::<Value>::new());
    scene.hears(due);
    assert_eq!(ids(&client), ["m9"]);
}

#[test]
fn what_does_not_fit_of_the_past_comes_when_the_client_has_read_the_rest() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    client.wire.borrow_mut().queue_max = 3;
    scene.says(&client, &json!({"type": "join", "id": 1, "room": "r", "since": {"epoch": "e", "seq": 3}}));
    let told = scene.told();
    let [ToHub::Join { conn, on_behalf, room, .. }] = &told[..] else { panic!("{told:?}") };
    let (conn, on_behalf, name) = (*conn, *on_behalf, Arc::clone(room));

    // The answer and two messages fit.
    let past = granted(&scene, 4..=8);
    scene.hears(ToShard::Joined { conn, on_behalf, room: name, result: Ok(past) });

    assert_eq!(client.closed_with(), None, "too much of the past is nobody's fault");
    assert_eq!(ids(&client)[1..], ["m4", "m5"]);
    let Some((conn, room, since @ 5)) = asked(&scene.told()) else { panic!("the rest is not asked for") };
    let rest = granted(&scene, 6..=8);
    scene.hears(ToShard::Replayed { conn, room, since, result: Ok(rest) });
    assert_eq!(ids(&client), ["m6", "m7", "m8"]);
    assert_eq!(asked(&scene.told()), None);
    assert_eq!(scene.deliver(kept(&scene, 9)).written, 1);
}

#[test]
fn what_had_fitted_of_the_past_and_gives_way_later_is_read_again_too() {
    let mut scene = Scene::new();
    let client = scene.client("ana", None);
    scene.joined(&client, "r");
    let scope = scene.shard.table.rooms.find("r").expect("it is in");
    let behind_from = |seq: u64| vec![(scope, NonZeroU64::new(seq).expect("not 0"))];
    client.wire.borrow_mut().clogged = true;
    scene.deliver(scene.delivery(vec![user("ana")]));
    client.wire.borrow_mut().behind = behind_from(9);
    scene.deliver(scene.delivery(vec![user("ana")]));
    client.wire.borrow_mut().behind = behind_from(4);
    scene.deliver(scene.delivery(vec![user("ana")]));

    client.wire.borrow_mut().clogged = false;
    tick(&mut scene);

    assert_eq!(asked(&scene.told()).map(|(_, _, since)| since), Some(3));
}

#[test]
fn what_a_read_brings_is_counted_in_the_receipt_and_not_written() {
    let mut scene = Scene::new();
    let (member, other) = (scene.client("ana", None), scene.client("bob", None));
    scene.joined(&member, "r");
    let before = (member.seen().len(), other.seen().len());

    let copy = SharedDelivery::new(kept(&scene, 4), scene.router);
    scene.hears(ToShard::Count(Arc::new(copy)));

    assert_eq!(scene.receipt(), ReceiptPart { number: 5, matched: 1, queued: 1, ..ReceiptPart::default() });
    assert_eq!((member.seen().len(), other.seen().len()), before);
}
