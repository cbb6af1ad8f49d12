//! Who comes with a position: served whole and once, or told that it cannot be.

use super::*;

#[test]
fn who_resumes_gets_what_was_missed_and_nothing_twice() {
    let mut scene = Scene::member(10);
    scene.joins_since(2, "e1", 4);
    let mut stream = Stream::of_room(&[3, 5, 8, 12]);
    // While the stream is read, a message goes on to the members; the read may see it too, or not.
    scene.copy(1, 12, 8);
    assert_eq!(scene.granted().len(), 0);
    scene.serve(&stream);

    let granted = scene.granted();
    assert_eq!(granted[0].start, Start { position: position(12), recovery: Some(Recovery::Whole) });
    assert_eq!(replayed(&granted[0]), [5, 8, 12]);

    // What the stream has, but routers have not forwarded yet, comes live.
    stream.messages.push((14, ROOM));
    scene.joins_since(3, "e1", 5);
    scene.joins_since(4, "e1", 8);
    scene.serve(&stream);
    let granted = scene.granted();
    assert_eq!(granted.iter().map(replayed).collect::<Vec<_>>(), [vec![8, 12], vec![12]]);
    scene.copy(2, 14, 12);
    assert_eq!(scene.delivered(), (vec![14], 0));
}

#[test]
fn who_has_seen_more_than_a_look_under_way_is_looked_at_anew() {
    let mut scene = Scene::member(10);
    scene.joins_since(2, "e1", 4);
    let mut stream = Stream::of_room(&[3, 5, 8, 10]);
    let look = scene.published("$JS.API.STREAM.INFO.");
    for answer in stream.answers(&look[0]) {
        scene.hub.on_inbox(scene.now, &mut scene.edge, answer);
    }
    stream.messages.push((12, ROOM));
    scene.copy(1, 12, 10);

    scene.joins_since(3, "e1", 12);
    scene.serve(&stream);

    let granted = scene.granted();
    let whole = Start { position: position(12), recovery: Some(Recovery::Whole) };
    assert_eq!(granted.iter().map(|granted| &granted.start).collect::<Vec<_>>(), [&whole, &whole]);
    assert_eq!(granted.iter().map(replayed).collect::<Vec<_>>(), [vec![5, 8, 10, 12], vec![]]);
}

#[test]
fn who_resumes_gets_what_is_held_behind_a_hole_too() {
    let mut scene = Scene::member(10);
    scene.joins_since(2, "e1", 4);
    // The stream was looked at and read when a copy comes whose predecessor has not reached the members.
    for _look_last_and_two_batches in 0..4 {
        scene.serve_once(&Stream::of_room(&[3, 5, 12, 15, 17]));
    }
    scene.copy(1, 20, 17);

    scene.serve(&Stream::of_room(&[3, 5, 12, 15, 17, 20]));

    let told = scene.told_shards();
    let granted: Vec<_> = told
        .iter()
        .filter_map(|(_, message)| match message {
            ToShard::Joined { result: Ok(granted), .. } => Some((granted.start.position.clone(), replayed(granted))),
            _ => None,
        })
        .collect();
    assert_eq!(granted, [(position(20), vec![5, 12, 15, 17, 20])]);
}

#[test]
fn who_enters_anew_while_the_last_ones_hole_is_read_misses_nothing_that_went_past_the_node() {
    let mut scene = Scene::member(10);
    scene.copy(1, 17, 15);
    for _look_last_and_two_batches in 0..4 {
        scene.serve_once(&Stream::of_room(&[12, 15, 17]));
    }
    scene.says(ToHub::Leave { shard: 0, room: "r".into(), cause: Cause::Close });
    scene.passes(5);
    // Nobody is there: 20 is for other nodes alone.
    scene.marks(25);
    scene.joins_since(3, "e1", 12);
    scene.passes(5);
    let batches = scene.batches();
    scene.acks(1, batches.last().expect("it came anew").seq);

    scene.serve(&Stream::of_room(&[12, 15, 17, 20, 25]));

    let granted = scene.granted();
    assert_eq!((granted[0].start.position.clone(), replayed(&granted[0])), (position(25), vec![15, 17, 20, 25]));
}

#[test]
fn a_replica_that_lags_is_asked_again() {
    let (stream, replica) = (Stream::of_room(&[3, 5, 8, 12]), Stream::of_room(&[3, 5]));

    let mut scene = Scene::member(10);
    scene.copy(1, 12, 8);
    scene.joins_since(2, "e1", 4);
    scene.serve_with_replica(&stream, &replica, 3);
    let granted = scene.granted();
    assert_eq!(granted[0].start, Start { position: position(12), recovery: Some(Recovery::Whole) });
    assert_eq!(replayed(&granted[0]), [5, 8, 12]);

    let mut scene = Scene::member(10);
    scene.copy(1, 20, 17);
    let all = Stream::of_room(&[8, 12, 15, 17, 20]);
    scene.serve_with_replica(&all, &Stream::of_room(&[8, 12]), 3);
    assert_eq!(scene.delivered(), (vec![12, 15, 17, 20], 0), "a hole");

    let mut scene = Scene::member(10);
    scene.packet(2, 1, vec![]);
    scene.marks(16);
    scene.packet(4, 1, vec![]);
    let all = Stream { messages: vec![(14, ROOM), (16, "hf.keep.room.other")], ..Stream::of_room(&[]) };
    scene.serve_with_replica(&all, &Stream::of_room(&[]), 3);
    assert_eq!(scene.delivered(), (vec![14], 0), "after lost packets");
}

#[test]
fn where_all_replicas_lag_for_long_nobody_is_told_that_all_is_there() {
    let (stream, replica) = (Stream::of_room(&[3, 5, 8]), Stream::of_room(&[3]));
    let mut scene = Scene::member(10);
    scene.joins_since(2, "e1", 4);

    scene.serve_with_replica(&stream, &replica, usize::MAX);

    let told = scene.told_shards();
    assert!(matches!(&told[..], [(_, ToShard::Joined { result: Err(_), .. })]), "{told:?}");
}

#[test]
fn a_leader_that_knows_less_than_routers_do_is_not_believed() {
    let mut scene = Scene::member(30);
    scene.joins_since(2, "e1", 20);

    scene.serve(&Stream::of_room(&[5, 8]));

    let told = scene.told_shards();
    assert!(matches!(&told[..], [(_, ToShard::Joined { result: Err(_), .. })]), "not `recovered:false`: {told:?}");
}

#[test]
fn who_missed_nothing_needs_no_read() {
    let mut scene = Scene::member(10);

    scene.joins_since(2, "e1", 10);

    let granted = scene.granted();
    assert_eq!(granted[0].start, Start { position: position(10), recovery: Some(Recovery::Whole) });
    assert!(scene.published("$JS.API.").is_empty());
}

#[test]
fn what_cannot_be_told_for_sure_is_not_recovered() {
    let stream = Stream { first: 5, ..Stream::of_room(&[5, 8]) };
    let full = Stream { per_subject_max: 2, ..Stream::of_room(&[5, 8]) };
    for (stream, epoch, since, whole, first) in [
        (&stream, "e1", 3, false, 5),
        (&stream, "e1", 4, true, 5),
        (&stream, "e0", 6, false, 5),
        (&stream, "e1", 99, false, 5),
        (&full, "e1", 4, false, 1),
        (&full, "e1", 5, true, 1),
    ] {
        let mut scene = Scene::member(10);
        scene.joins_since(2, epoch, since);
        scene.serve(stream);

        let granted = scene.granted();
        let recovery = if whole { Recovery::Whole } else { Recovery::Lost { first: position(first) } };
        assert_eq!(granted[0].start, Start { position: position(10), recovery: Some(recovery) }, "{epoch} {since}");
        assert!(whole || replayed(&granted[0]).is_empty());
    }
}

#[test]
fn what_the_limits_cut_while_the_stream_is_read_is_not_called_recovered() {
    let before = Stream { per_subject_max: 4, ..Stream::of_room(&[5, 8, 12]) };
    let after = Stream { per_subject_max: 4, ..Stream::of_room(&[8, 12, 14, 15]) };
    let mut scene = Scene::member(10);
    scene.joins_since(2, "e1", 4);
    // Its state, and its last message.
    scene.serve_once(&before);
    scene.serve_once(&before);

    scene.serve(&after);

    let granted = scene.granted();
    assert!(matches!(granted[0].start.recovery, Some(Recovery::Lost { .. })), "5 is gone: {granted:?}");
    assert_eq!(replayed(&granted[0]), [0_u64; 0]);
}

#[test]
fn a_read_that_fails_refuses_the_join() {
    let mut scene = Scene::member(10);
    scene.joins_since(2, "e1", 4);

    scene.passes(5000);

    let told = scene.told_shards();
    let refused = |m: &ToShard| matches!(m, ToShard::Joined { result: Err(_), .. });
    assert_eq!(told.iter().filter(|(_, m)| refused(m)).count(), 1, "{told:?}");
}

#[test]
fn who_has_seen_more_than_the_members_gets_nothing_twice() {
    let mut scene = Scene::member(10);
    let stream = Stream::of_room(&[8, 12, 20]);

    scene.joins_since(2, "e1", 12);
    scene.serve(&stream);

    let told = scene.told_shards();
    let [(_, ToShard::Deliver(first)), (_, ToShard::Deliver(second)), (_, ToShard::Joined { result: Ok(granted), .. })] =
        &told[..]
    else {
        panic!("{told:?}")
    };
    let seq = |shared: &SharedDelivery| shared.delivery.kept.as_ref().map(|kept| kept.seq);
    assert_eq!((seq(first), seq(second)), (Some(12), Some(20)), "the members first");
    assert_eq!((granted.start.position.clone(), replayed(granted)), (position(20), vec![20]));
    scene.copy(1, 20, 12);
    scene.copy(2, 21, 20);
    assert_eq!(scene.delivered(), (vec![21], 0));
}

#[test]
fn who_has_seen_more_than_what_can_be_read_is_let_in_ahead_of_the_members() {
    let mut scene = Scene::member(10);
    scene.joins_since(2, "e1", 20);
    // What the member may have missed is cut.
    let stream = Stream { first: 18, ..Stream::of_room(&[18, 20]) };
    scene.serve(&stream);

    let granted = scene.granted();
    assert_eq!((granted[0].start.position.clone(), granted[0].is_ahead), (position(20), true));
    scene.joins_since(3, "e1", 10);
    scene.serve(&Stream::of_room(&[12]));
    assert!(!scene.granted()[0].is_ahead);
}
