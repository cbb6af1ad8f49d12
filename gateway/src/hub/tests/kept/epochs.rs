//! The stream is made anew, or given another epoch.

use super::*;

#[test]
fn messages_of_another_stream_never_go_out_as_ones_of_the_old() {
    let (old, new) = (Stream::of_room(&[5, 8, 12]), Stream { epoch: "e2", ..Stream::of_room(&[5, 9, 13]) });
    for answered in 0..4 {
        let mut scene = Scene::member(10);
        scene.joins_since(2, "e1", 4);
        let (conn, room) = (conn(0, 1), "r".into());
        scene.says(ToHub::History { conn, ticket: 5, room, from: Cursor::NEWEST, limit: 9, callout: None });
        for _ in 0..answered {
            scene.serve_once(&old);
        }

        scene.serve(&new);

        let told = scene.told_shards();
        let mut seen = Vec::new();
        for (_, message) in &told {
            match message {
                ToShard::Joined { result: Ok(granted), .. } => {
                    let lost = matches!(&granted.start.recovery, Some(Recovery::Lost { .. }));
                    let of = granted.start.position.as_ref().map(|position| &*position.epoch);
                    assert!(lost && of == Some("e2") && replayed(granted).is_empty(), "{answered}: {granted:?}");
                }
                ToShard::Deliver(shared) => {
                    seen.extend(shared.delivery.kept.as_ref().map(|kept| (kept.epoch.to_string(), kept.seq)));
                }
                ToShard::History { result: Ok(page), .. } => {
                    assert!(answered > 1 && page.messages.len() == 3, "the old one, whole: {answered} {page:?}");
                }
                _ => {}
            }
        }
        let all = [5, 9, 13].map(|seq| ("e2".to_owned(), seq));
        assert_eq!(seen, all, "{answered}: to the members, all is news");
        assert!(told.iter().any(|(_, message)| matches!(message, ToShard::Joined { .. })), "{answered}");
    }
}

#[test]
fn a_resume_that_waits_while_the_stream_is_replaced_is_told_that_it_is() {
    let (old, new) = (Stream::of_room(&[5, 8, 12]), Stream { epoch: "e2", ..Stream::of_room(&[1]) });
    let mut scene = Scene::member(10);
    scene.joins_since(2, "e1", 4);
    // The state of the old stream is known; then a router names the new one.
    scene.serve_once(&old);
    let under_way = scene.published("$JS.API.");
    let Item::Deliver(mut other) = delivery(vec![Target::Room("r".into())], 1) else { unreachable!() };
    other.kept = Some(Kept { epoch: "e2".into(), seq: 1, previous: 0 });
    scene.packet(1, 1, vec![Item::Deliver(other)]);
    scene.serve(&new);
    for request in &under_way {
        for answer in old.answers(request) {
            scene.hub.on_inbox(scene.now, &mut scene.edge, answer);
        }
    }

    let granted = scene.granted();
    assert_eq!(granted.len(), 1);
    assert!(matches!(granted[0].start.recovery, Some(Recovery::Lost { .. })), "{granted:?}");
    assert_eq!(granted[0].start.position.as_ref().map(|position| &*position.epoch), Some("e2"));
}

#[test]
fn who_comes_with_a_place_in_a_stream_that_the_node_has_yet_to_hear_of_resumes_from_there() {
    let mut scene = Scene::member(10);
    scene.joins_since(2, "e2", 1);

    scene.serve(&Stream { epoch: "e2", ..Stream::of_room(&[1, 2]) });

    let told = scene.told_shards();
    let mut seen = Vec::new();
    for (_, message) in &told {
        match message {
            ToShard::Deliver(shared) => seen.extend(shared.delivery.kept.as_ref().map(|kept| kept.seq)),
            ToShard::Joined { result: Ok(granted), .. } => {
                assert_eq!(granted.start.recovery, Some(Recovery::Whole));
                assert_eq!((replayed(granted), granted.start.position.as_ref().map(|it| it.seq)), (vec![2], Some(2)));
                assert_eq!(seen, [1, 2], "what it would get again otherwise");
            }
            _ => {}
        }
    }
    assert_eq!(seen, [1, 2], "to the member, all is news");
    assert!(told.iter().any(|(_, message)| matches!(message, ToShard::Joined { .. })));
}

#[test]
fn another_epoch_is_believed_when_the_stream_says_so() {
    let mut scene = Scene::member(10);
    let Item::Deliver(mut other) = delivery(vec![Target::Room("r".into())], 1) else { unreachable!() };
    other.kept = Some(Kept { epoch: "e2".into(), seq: 1, previous: 0 });
    scene.packet(1, 1, vec![Item::Deliver(other)]);
    assert_eq!(scene.delivered(), (vec![], 0));

    scene.serve(&Stream { epoch: "e2", ..Stream::of_room(&[1, 2]) });

    assert_eq!(scene.delivered(), (vec![1, 2], 0), "all of it is news");
    scene.copy(2, 11, 10);
    assert_eq!(scene.delivered(), (vec![], 0), "the old one's time is over");
}

#[test]
fn what_an_epoch_has_from_before_it_is_no_news() {
    let mut scene = Scene::member(10);
    let Item::Deliver(mut other) = delivery(vec![Target::Room("r".into())], 1) else { unreachable!() };
    other.kept = Some(Kept { epoch: "e2".into(), seq: 4, previous: 3 });
    scene.packet(1, 1, vec![Item::Deliver(other)]);

    scene.serve(&Stream { epoch: "e2", epoch_from: "3", ..Stream::of_room(&[1, 2, 3, 4]) });

    assert_eq!(scene.delivered(), (vec![4], 0));
}
