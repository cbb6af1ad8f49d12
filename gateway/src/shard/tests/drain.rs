//! Connections that are sent away.

use super::*;
use crate::shard::Age;

impl Scene {
    /// Lets time pass in ticks; who was closed with 1012, by how many milliseconds had passed.
    fn closes(&mut self, clients: &[Client], ms: u64) -> Vec<Option<u64>> {
        let start_ms = self.now.ms;
        let mut closed = vec![None; clients.len()];
        for _ in 0..ms.div_ceil(50) {
            self.now = Now { ms: self.now.ms + 50, unix_ms: self.now.unix_ms + 50 };
            self.shard.tick(self.now);
            self.shard.finish_turn(self.now);
            for (client, at) in clients.iter().zip(&mut closed) {
                if at.is_none() && client.closed_with() == Some(1012) {
                    *at = Some(self.now.ms - start_ms);
                }
            }
        }
        closed
    }
}

/// The slots that clients were told last, in milliseconds; `None` where one was told nothing.
fn slots(clients: &[Client]) -> Vec<Option<u64>> {
    let told = clients.iter().map(|client| client.seen().into_iter().rfind(|frame| frame["type"] == "goaway"));
    told.map(|frame| frame.and_then(|frame| frame["retry_after"].as_u64())).collect()
}

fn clients(scene: &mut Scene, count: usize) -> Vec<Client> {
    (0..count).map(|number| scene.client(&format!("u{number}"), None)).collect()
}

#[test]
fn a_drain_tells_everybody_a_slot_of_their_own_and_closes_each_at_it() {
    let mut scene = Scene::new();
    let clients = clients(&mut scene, 10);
    scene.hears(ToShard::Drain { window_ms: 2000, rate_milli: None });

    let slots: Vec<u64> = slots(&clients).into_iter().map(|slot| slot.expect("told at once")).collect();
    assert!(slots.is_sorted() && slots[0] >= 200, "nobody at once: {slots:?}");
    for (place, slot) in (0..).zip(&slots) {
        let from = 200 + place * 180;
        assert!((from..from + 180).contains(slot), "evenly over the window, with jitter: {slots:?}");
    }
    let closed = scene.closes(&clients, 2050);
    for (slot, closed) in slots.iter().zip(&closed) {
        let closed = closed.expect("closed within the window");
        assert!((*slot..slot + 50).contains(&closed), "{slots:?} {closed:?}");
    }
    for client in &clients {
        scene.shard.closed(scene.now, client.key, ClosedBy::Server(1012));
    }
    scene.shard.finish_turn(scene.now);
    let told = scene.told();
    assert_eq!(told.iter().filter(|m| matches!(m, ToHub::Empty { shard: 0 })).count(), 1, "{told:?}");
}

#[test]
fn a_busy_fleet_stretches_the_window_and_slots_are_told_as_they_come_near() {
    let mut scene = Scene::new();
    let clients = clients(&mut scene, 20);
    // 5 per second: 4 s for what was to take one.
    scene.hears(ToShard::Drain { window_ms: 1000, rate_milli: Some(5000) });

    let told = slots(&clients).iter().filter(|slot| slot.is_some()).count();
    assert!((4..=6).contains(&told), "a window ahead: {told}");
    let closed = scene.closes(&clients, 4500);
    let closed: Vec<u64> = closed.into_iter().map(|at| at.expect("closed in the end")).collect();
    for second in 0..4 {
        let count = closed.iter().filter(|at| (second * 1000..(second + 1) * 1000).contains(*at)).count();
        assert!((3..=6).contains(&count), "{count} in second {second}: {closed:?}");
    }
}

#[test]
fn a_slot_that_was_told_comes_later_where_the_fleet_has_less_to_spare_and_never_sooner() {
    let mut scene = Scene::new();
    let clients = clients(&mut scene, 10);
    scene.hears(ToShard::Drain { window_ms: 1000, rate_milli: None });
    let slots: Vec<u64> = slots(&clients).into_iter().flatten().collect();
    assert_eq!(slots.len(), 10);

    scene.hears(ToShard::Pace { rate_milli: Some(4000) });
    let closed = scene.closes(&clients, 1000);
    let so_far = closed.iter().flatten().count();
    assert!((3..=6).contains(&so_far), "four per second: {closed:?}");

    scene.hears(ToShard::Pace { rate_milli: None });
    let rest = scene.closes(&clients, 100);
    assert_eq!(rest.iter().flatten().count(), 10, "{rest:?}");
}

#[test]
fn a_connection_that_comes_during_a_drain_is_sent_away_too() {
    let mut scene = Scene::new();
    let mut all = clients(&mut scene, 3);
    scene.hears(ToShard::Drain { window_ms: 1000, rate_milli: None });
    let late = scene.pending(Some(Identity::unsigned("late", None)));
    scene.hub_agrees();
    all.push(late);

    let closed = scene.closes(&all, 1100);

    assert!(closed.iter().all(Option::is_some), "{closed:?}");
    assert!(slots(&all)[3].is_some(), "and told");
}

#[test]
fn who_leaves_by_itself_takes_nobodys_time_and_an_uncordon_spares_the_rest() {
    let mut scene = Scene::new();
    let clients = clients(&mut scene, 4);
    scene.hears(ToShard::Drain { window_ms: 10_000, rate_milli: None });
    assert_eq!(scene.shard.cells().leaving.value(), 4);

    scene.shard.closed(scene.now, clients[0].key, ClosedBy::Client(1000));
    scene.closes(&clients, 50);
    assert_eq!(scene.shard.cells().leaving.value(), 3);
    scene.hears(ToShard::Uncordon);

    let closed = scene.closes(&clients, 11_000);
    assert!(closed.iter().all(Option::is_none), "{closed:?}");
    assert_eq!(scene.shard.cells().leaving.value(), 0);
}

#[test]
fn the_slot_of_one_that_left_by_itself_holds_up_nobody_who_is_sent_away_later() {
    let mut scene = Scene::new();
    let clients = clients(&mut scene, 2);
    scene.hears(ToShard::Shed { count: 1, window_ms: 10_000, rate_milli: None });
    let first = slots(&clients).iter().position(Option::is_some).expect("one was told");
    scene.shard.closed(scene.now, clients[first].key, ClosedBy::Client(1000));

    scene.hears(ToShard::Shed { count: 1, window_ms: 100, rate_milli: None });

    let other = &clients[1 - first..][..1];
    let closed = scene.closes(other, 200);
    assert!(slots(other)[0].is_some_and(|slot| slot <= 100) && closed[0].is_some(), "{closed:?}");
}

#[test]
fn after_an_uncordon_the_next_drain_tells_everybody_their_new_slot() {
    let mut scene = Scene::new();
    let clients = clients(&mut scene, 4);
    scene.hears(ToShard::Drain { window_ms: 10_000, rate_milli: None });
    assert!(slots(&clients).iter().all(Option::is_some));
    scene.hears(ToShard::Uncordon);
    scene.closes(&clients, 3_000);

    scene.hears(ToShard::Drain { window_ms: 2_000, rate_milli: None });

    let slots = slots(&clients);
    let closed = scene.closes(&clients, 2_050);
    for (slot, closed) in slots.iter().zip(&closed) {
        let (slot, closed) = (slot.expect("told again"), closed.expect("closed within the window"));
        assert!((slot..slot + 50).contains(&closed), "{slots:?} {closed}");
    }
}

#[test]
fn a_shed_takes_as_many_as_it_says_and_tells_why() {
    let mut scene = Scene::new();
    let clients = clients(&mut scene, 10);
    scene.hears(ToShard::Shed { count: 3, window_ms: 1000, rate_milli: None });

    let told: Vec<_> = clients.iter().flat_map(Client::seen).collect();
    assert!(told.len() == 3 && told.iter().all(|frame| frame["reason"] == "shed"), "{told:?}");
    let closed = scene.closes(&clients, 1100);
    assert_eq!(closed.iter().flatten().count(), 3);
}

#[test]
fn connections_are_sent_away_at_an_age_of_their_own() {
    let mut scene = Scene::new();
    scene.shard.settings.age = Some(Age { max_ms: 10_000, jitter_ms: 5_000 });
    let clients = clients(&mut scene, 200);

    let early = scene.closes(&clients, 10_000);
    assert!(early.iter().all(Option::is_none), "nobody before the age: {early:?}");
    // The age, the jitter, a sweep, and the notice.
    let closed = scene.closes(&clients, 7_500);
    assert!(closed.iter().all(Option::is_some), "{closed:?}");
    let first = closed.iter().flatten().min().expect("some");
    let last = closed.iter().flatten().max().expect("some");
    assert!(last - first > 3_000, "spread by the jitter: {first} to {last}");
    let told: Vec<_> = clients.iter().flat_map(Client::seen).collect();
    assert!(told.len() == 200 && told.iter().all(|frame| frame["reason"] == "age"), "{told:?}");
}

#[test]
fn a_clock_that_jumps_makes_nobody_older_or_younger() {
    const DAY_MS: u64 = 86_400_000;
    for jump in [DAY_MS, DAY_MS.wrapping_neg()] {
        let mut scene = Scene::new();
        scene.now.unix_ms += 2 * DAY_MS;
        scene.shard.settings.age = Some(Age { max_ms: 10_000, jitter_ms: 5_000 });
        let clients = clients(&mut scene, 50);

        scene.now.unix_ms = scene.now.unix_ms.wrapping_add(jump);

        let early = scene.closes(&clients, 10_000);
        assert!(early.iter().all(Option::is_none), "all at once, for a clock that was set: {early:?}");
        let closed = scene.closes(&clients, 7_500);
        assert!(closed.iter().all(Option::is_some), "{closed:?}");
    }
}

#[test]
fn connections_that_are_nobodys_go_when_the_bus_does() {
    let mut scene = Scene::new();
    let (somebody, nobody) = (scene.client("ana", None), scene.pending(None));

    scene.hears(ToShard::Unserved);

    assert_eq!((somebody.closed_with(), nobody.closed_with()), (None, Some(Close::BusGone.code())));
}
