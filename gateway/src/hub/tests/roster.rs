//! What routers are told of users and rooms, and who waits for them.

use super::*;

#[test]
fn a_rooms_first_join_waits_for_each_live_router_and_later_ones_do_not() {
    let mut scene = Scene::new(&[1, 2]);
    scene.beats(3, RouterState::Joining, &[]);
    scene.joins(1, "r");
    let batches = scene.batches();
    assert_eq!((batches.len(), batches[0].seq), (1, 1), "an idle node does not wait for more changes");
    assert_eq!(scene.joined(), []);

    scene.acks(1, 1);
    assert_eq!(scene.joined(), []);
    scene.joins(2, "r");
    assert_eq!(scene.joined(), [], "the room is told, but not known everywhere yet");
    scene.acks(2, 1);

    assert_eq!(scene.joined(), [(1, true), (2, true)]);
    scene.joins(3, "r");
    assert_eq!(scene.joined(), [(3, true)]);
}

#[test]
fn a_router_that_falls_silent_is_not_waited_for() {
    let mut scene = Scene::new(&[1, 2]);
    scene.joins(1, "r");
    scene.acks(1, 1);

    scene.passes(900);
    scene.beats(1, RouterState::Live, &[]);
    assert_eq!(scene.joined(), []);
    scene.passes(200);

    assert_eq!(scene.joined(), [(1, true)]);
}

#[test]
fn a_join_nobody_confirms_is_refused_and_taken_back() {
    let mut scene = Scene::new(&[1]);
    scene.joins(1, "r");
    assert_eq!(scene.batches().len(), 1);

    for _ in 0..4 {
        scene.passes(500);
        scene.beats(1, RouterState::Live, &[]);
    }

    let told = scene.told_shards();
    let refused = |m: &ToShard| matches!(m, ToShard::Joined { result: Err(Failure::Unavailable), .. });
    assert_eq!(told.iter().filter(|(_, m)| refused(m)).count(), 1, "{told:?}");
    scene.passes(5);
    let changes: Vec<_> = scene.batches().into_iter().flat_map(|batch| batch.changes).collect();
    assert_eq!(changes, [Change::Room { room: "r".into(), count: 0, cause: Cause::Close }]);
}

#[test]
fn batches_tell_net_changes() {
    let mut scene = Scene::new(&[1]);
    scene.joins(1, "first");
    assert_eq!(scene.batches().len(), 1);

    for index in 2..12 {
        scene.joins(index, "r");
    }
    scene.joins(20, "brief");
    scene.says(ToHub::Leave { shard: 0, room: "brief".into(), cause: Cause::Close });
    assert_eq!(scene.batches().len(), 0, "the last batch is not 5 ms ago");
    scene.passes(5);

    let batches = scene.batches();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].changes, [Change::Room { room: "r".into(), count: 10, cause: Cause::Connect }]);
}

#[test]
fn digests_and_snapshots_are_the_roster_that_batches_told() {
    let mut scene = Scene::new(&[1]);
    let id = scene.binds(1, "ana", true);
    scene.binds(2, "bob", false);
    scene.joins(1, "r");
    scene.joins(2, "r");
    scene.joins(3, "gone");
    scene.passes(5);
    scene.says(ToHub::Leave { shard: 0, room: "gone".into(), cause: Cause::Close });
    let unbound = ToHub::Unbind { id, user: "bob".into(), shard: 0, cause: Cause::Close, opened: false };
    scene.says(unbound);

    let parts = scene.snapshot();
    let beat = scene.beat();

    assert_eq!((parts.len(), parts[0].last, parts[0].seq), (1, true, beat.seq));
    let mut entries = parts[0].entries.clone();
    entries.retain(|entry| !matches!(entry, SnapshotEntry::Lately(..)));
    entries.sort_by_key(|entry| format!("{entry:?}"));
    let wanted = [
        SnapshotEntry::Claim("ana".into(), id, 7),
        SnapshotEntry::Room("r".into(), 2),
        SnapshotEntry::User("ana".into()),
    ];
    assert_eq!(entries, wanted);
    let mut digests = [0_u64; PARTITIONS];
    for (key, digest) in
        [("ana", digest_of_claim("ana", id)), ("ana", digest_of_user("ana")), ("r", digest_of_room("r", 2))]
    {
        let sum = &mut digests[partition_of_key(key)];
        *sum = sum.wrapping_add(digest);
    }
    assert_eq!((*beat.digests, beat.connections), (digests, 1));
}

#[test]
fn a_snapshot_says_what_came_and_went_since_every_router_has_had_it_for_a_while() {
    fn lately(scene: &mut Scene) -> Vec<(Change, u64)> {
        let entries = scene.snapshot().into_iter().flat_map(|part| part.entries);
        let lately = entries.filter_map(|entry| match entry {
            SnapshotEntry::Lately(change, seq, _) => Some((change, seq)),
            SnapshotEntry::User(_) | SnapshotEntry::Room(..) | SnapshotEntry::Claim(..) => None,
        });
        lately.collect()
    }
    let ana = Change::UserUp { user: "ana".into(), cause: Cause::Connect };
    let room = |count, cause| Change::Room { room: "r".into(), count, cause };
    let mut scene = Scene::new(&[1]);
    scene.binds(1, "ana", false);
    scene.joins(1, "r");
    scene.passes(5);
    scene.acks(1, 2);
    scene.says(ToHub::Leave { shard: 0, room: "r".into(), cause: Cause::Close });
    scene.passes(5);
    scene.passes(30_000);
    let all = [(ana, 1), (room(1, Cause::Connect), 2), (room(0, Cause::Close), 3)];
    assert_eq!(lately(&mut scene), all, "no router is heard: nobody may know");

    scene.beats(1, RouterState::Live, &[]);
    scene.passes(500);
    assert_eq!(lately(&mut scene), [all[2].clone()], "what it has acknowledged before is old enough");
    scene.beats(1, RouterState::Live, &[]);
    scene.acks(1, 3);
    scene.passes(500);
    assert_eq!(lately(&mut scene), []);
}

#[test]
fn large_rosters_go_in_parts() {
    let mut scene = Scene::new(&[1]);
    for index in 0..6000 {
        scene.joins(index, &format!("{index:0>180}"));
    }

    let parts = scene.snapshot();

    assert!(parts.len() > 1);
    let rooms = |entry: &&SnapshotEntry| matches!(entry, SnapshotEntry::Room(..));
    assert_eq!(parts.iter().map(|part| part.entries.iter().filter(rooms).count()).sum::<usize>(), 6000);
    assert!(parts.iter().enumerate().all(|(i, part)| part.part == i as u64 && part.last == (i + 1 == parts.len())));
    assert!(parts.into_iter().all(|part| RouterBound::Snapshot(part).encode().len() <= 512 * 1024));
}
