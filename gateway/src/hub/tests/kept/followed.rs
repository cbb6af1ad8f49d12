//! Which router has followed the stream, and what its marks prove of what came before.

use super::*;

#[test]
fn where_all_routers_are_new_the_stream_is_read_for_what_none_of_them_forwarded() {
    let mut scene = Scene::member(10);
    scene.copy(1, 12, 8);
    scene.delivered();
    // The only router dies, 14 is stored, and another one comes that begins behind it, at a lower term.
    scene.now.ms += 5000;
    scene.marks_of(2, 1, 15);
    scene.told_shards();
    scene.joins(2, "r");
    scene.acks(2, 1);
    assert_eq!(scene.granted()[0].start.position, position(12), "14 is still to come");

    let messages = vec![(12, ROOM), (14, ROOM), (15, "hf.keep.room.other")];
    scene.serve(&Stream { messages, ..Stream::of_room(&[]) });
    assert_eq!(scene.delivered(), (vec![14], 0));

    scene.marks_of(2, 1, 16);
    assert!(scene.published("$JS.API.").is_empty(), "what it forwards from now on is whole");
}

#[test]
fn a_copy_that_comes_before_the_first_mark_proves_nothing_of_those_behind_it() {
    let mut scene = Scene::new(&[1]);
    scene.joins(1, "r");
    scene.acks(1, 1);
    scene.copy(1, 11, 8);
    // One router says 13, and another has 12 under way still.
    scene.marks(13);
    scene.told_shards();

    scene.serve(&Stream { messages: vec![(11, ROOM), (12, ROOM), (13, "hf.keep.room.other")], ..Stream::of_room(&[]) });

    assert_eq!(scene.delivered(), (vec![12], 0));
}

#[test]
fn a_router_that_joins_anew_has_followed_nothing_whatever_it_said_before() {
    let mut scene = Scene::member(10);
    for (state, kept) in [(RouterState::Joining, None), (RouterState::Live, None), (RouterState::Live, position(15))] {
        assert!(scene.published("$JS.API.").is_empty());
        scene.now.ms += 100;
        let beat = RouterBeat { state, kept, ..mark_of(1, 1, 0) };
        scene.hub.on_router_beat(scene.now, &mut scene.edge, beat.encode());
    }
    let messages = vec![(14, ROOM), (15, "hf.keep.room.other")];
    scene.told_shards();
    scene.serve(&Stream { messages, ..Stream::of_room(&[]) });

    assert_eq!(scene.delivered(), (vec![14], 0));
}

#[test]
fn a_silent_router_is_waited_for_until_another_has_taken_its_share() {
    let mut scene = Scene::member(10);
    let beats = |scene: &mut Scene, number, seq, owners: &[u8]| {
        let live = owners.iter().map(|number| router(*number)).collect();
        let beat = RouterBeat { live, ..mark_of(number, 1, seq) };
        scene.hub.on_router_beat(scene.now, &mut scene.edge, beat.encode());
        scene.hub.note_safe(scene.now);
    };
    let packets = |scene: &mut Scene, number| {
        scene.packet(number, 1, vec![]);
        let packet = Packet { router: router(2), number, term: 1, items: vec![] };
        scene.bound(&NodeBound::Packet(packet));
    };
    for number in 1..3 {
        beats(&mut scene, 1, 10, &[1, 2]);
        beats(&mut scene, 2, 10, &[1, 2]);
        packets(&mut scene, number);
    }
    // Router 1 says nothing any more; 12 was its to forward.
    let mut told = Vec::new();
    for (number, owners) in (3..).zip([&[1, 2][..], &[1, 2], &[1, 2], &[1, 2], &[1, 2], &[2], &[2]]) {
        scene.now.ms += 1000;
        beats(&mut scene, 2, 15, owners);
        let packet = Packet { router: router(2), number, term: 1, items: vec![] };
        scene.bound(&NodeBound::Packet(packet));
        scene.hub.note_safe(scene.now);
        scene.told_shards();
        scene.joins(u32::try_from(number).expect("small"), "r");
        scene.acks(2, 1);
        told.extend(scene.granted().into_iter().filter_map(|granted| granted.start.position).map(|it| it.seq));
    }

    assert_eq!(told, [10, 10, 10, 10, 10, 15, 15]);
}

#[test]
fn a_router_that_was_never_heard_is_waited_for_while_another_counts_it_among_the_owners() {
    let mut scene = Scene::member(10);
    let mut told = Vec::new();
    // Router 2 died before this node came, and 12 was its to forward; router 1 stood still and has not given it up yet.
    for (number, owners) in (1..).zip([&[1, 2][..], &[1, 2], &[1]]) {
        let live = owners.iter().map(|number| router(*number)).collect();
        let beat = RouterBeat { live, ..mark_of(1, 1, 15) };
        scene.hub.on_router_beat(scene.now, &mut scene.edge, beat.encode());
        scene.hub.note_safe(scene.now);
        scene.packet(number, 1, vec![]);
        scene.hub.note_safe(scene.now);
        scene.told_shards();
        scene.joins(u32::try_from(number + 1).expect("small"), "r");
        told.extend(scene.granted().into_iter().filter_map(|granted| granted.start.position).map(|it| it.seq));
        scene.now.ms += 300;
    }

    assert_eq!(told, [10, 10, 15]);
}

#[test]
fn one_that_dies_soon_after_another_has_taken_nothing_of_its_share() {
    let mut scene = Scene::member(10);
    let works = |scene: &mut Scene, number, packet, seq, owners: &[u8]| {
        let live = owners.iter().map(|number| router(*number)).collect();
        let beat = RouterBeat { live, ..mark_of(number, 1, seq) };
        scene.hub.on_router_beat(scene.now, &mut scene.edge, beat.encode());
        scene.hub.note_safe(scene.now);
        let packet = Packet { router: router(number), number: packet, term: 1, items: vec![] };
        scene.bound(&NodeBound::Packet(packet));
        scene.hub.note_safe(scene.now);
    };
    works(&mut scene, 1, 1, 10, &[1, 2]);
    works(&mut scene, 2, 1, 10, &[1, 2]);
    // Router 1 is dead, 12 was its to forward; router 2 lives on for a moment.
    scene.now.ms += 300;
    works(&mut scene, 2, 2, 15, &[1, 2]);
    scene.now.ms += 2_800;
    works(&mut scene, 3, 1, 20, &[3]);
    scene.told_shards();
    scene.joins(3, "r");
    scene.acks(3, 1);
    assert_eq!(scene.granted()[0].start.position, position(10), "12 is still to come");

    scene.now.ms += 1_000;
    works(&mut scene, 3, 2, 20, &[3]);
    scene.serve(&Stream { messages: vec![(12, ROOM), (20, "hf.keep.room.other")], ..Stream::of_room(&[]) });

    assert_eq!(scene.delivered(), (vec![12], 0));
}

#[test]
fn a_first_member_stands_behind_all_that_any_router_had_forwarded_before() {
    let mut scene = Scene::new(&[1]);
    scene.marks(10);
    // Up to 14 has gone where it was for, while the room was not here; then the router dies.
    scene.marks_of(1, 2, 14);
    scene.packet(1, 2, vec![]);
    scene.now.ms += 2_000;
    let beat = RouterBeat { kept: None, ..mark_of(2, 2, 0) };
    scene.hub.on_router_beat(scene.now, &mut scene.edge, beat.encode());
    scene.joins(1, "r");
    scene.acks(2, 1);
    assert_eq!(scene.granted()[0].start.position, position(14), "12 was never to come here");

    scene.hub.note_safe(scene.now);
    scene.now.ms += 1_500;
    scene.marks_of(2, 3, 20);
    let messages = vec![(12, ROOM), (17, ROOM), (20, "hf.keep.room.other")];
    scene.serve(&Stream { messages, ..Stream::of_room(&[]) });

    assert_eq!(scene.delivered(), (vec![17], 0));
}

#[test]
fn each_section_has_its_own_routers_to_follow_the_stream() {
    let section = |number: u8| holdfast_protocol::token::partition_of_token(router(number).as_str()) % 2;
    let mut others = (2..).filter(|number| section(*number) != section(1));
    let (other, heir) = (others.next().expect("ids differ"), others.next().expect("they do"));
    let mut scene = Scene::new(&[1]);
    let beats = |scene: &mut Scene, number, seq| {
        let mut beat = mark_of(number, 1, seq);
        beat.sections = 2;
        scene.hub.on_router_beat(scene.now, &mut scene.edge, beat.encode());
        !scene.published("$JS.API.").is_empty()
    };

    assert!(!beats(&mut scene, 1, 10) && !beats(&mut scene, other, 10));
    for seq in 11..16 {
        scene.now.ms += 1000;
        assert!(!beats(&mut scene, 1, seq), "nobody could forward what is read");
    }
    assert!(beats(&mut scene, heir, 16), "of this section something may have gone past");
}

#[test]
fn a_router_that_goes_leaves_nothing_behind_where_another_has_followed() {
    let mut scene = Scene::member(10);
    scene.marks_of(2, 1, 10);
    for number in 1..3 {
        scene.marks(12);
        scene.marks_of(2, 1, 12);
        scene.packet(number, 1, vec![]);
        let packet = Packet { router: router(2), number, term: 1, items: vec![] };
        scene.bound(&NodeBound::Packet(packet));
    }

    for seq in 12..17 {
        scene.now.ms += 1000;
        scene.marks_of(2, 2, seq);
    }

    assert!(scene.published("$JS.API.").is_empty());
}

#[test]
fn a_mark_whose_packets_were_lost_hides_nothing() {
    let mut scene = Scene::member(10);
    scene.copy(1, 12, 8);
    // Packet 2 carried 14 and was lost; the beat behind it was not.
    scene.marks(14);
    scene.marks(15);
    scene.told_shards();
    scene.joins(2, "r");
    assert_eq!(scene.granted()[0].start.position, position(12));

    scene.packet(3, 1, vec![]);
    let messages = vec![(12, ROOM), (14, ROOM), (15, "hf.keep.room.other")];
    scene.serve(&Stream { messages, ..Stream::of_room(&[]) });

    assert_eq!(scene.delivered(), (vec![14], 0));
}
