//! Sessions over HTTP: known to routers before anybody is told, found here or not, and forgotten.

use holdfast_protocol::token::RESERVED;
use holdfast_protocol::wire::{Caller, Exchange, ExchangeAsk, Exchanged};

use super::*;
use crate::link::{Asker, ToHubOfSession, ToShardOfSession};

fn name() -> Arc<str> {
    format!("{RESERVED}sockjs/ws/x").into()
}

fn question() -> Exchange {
    let ask = ExchangeAsk::Leave { receiver: 1 };
    Exchange { session: (&*name()).into(), caller: Caller::default(), ask }
}

fn hosts(scene: &mut Scene, index: u32, shared: bool) {
    scene.says(ToHub::Session(ToHubOfSession::Host { conn: conn(1, index), session: name(), shared }));
    scene.passes(5);
}

/// What shards were told of sessions since the last call.
fn hosted(scene: &mut Scene) -> Vec<(u32, bool)> {
    let told = std::mem::take(&mut scene.edge.to_shards).into_iter();
    let hosted = told.filter_map(|(_, message)| match message {
        ToShard::Session(ToShardOfSession::Hosted { conn, ok }) => Some((conn.key.index, ok)),
        _ => None,
    });
    hosted.collect()
}

#[test]
fn a_session_is_hosted_when_every_router_knows() {
    let mut scene = Scene::new(&[1, 2]);
    hosts(&mut scene, 3, true);
    let seq = scene.hub.roster.seq();
    scene.acks(1, seq);
    assert_eq!(hosted(&mut scene), []);

    scene.acks(2, seq);

    assert_eq!(hosted(&mut scene), [(3, true)]);
}

#[test]
fn one_whose_name_says_where_it_is_need_not_wait_and_of_two_the_first_stays() {
    let mut scene = Scene::new(&[1]);
    let seq = scene.hub.roster.seq();
    hosts(&mut scene, 3, false);
    assert_eq!(hosted(&mut scene), [(3, true)]);
    assert_eq!(scene.hub.roster.seq(), seq, "routers are told nothing");

    hosts(&mut scene, 4, false);
    assert_eq!(hosted(&mut scene), [(4, false)]);

    scene.says(ToHub::Session(ToHubOfSession::Unhost { conn: conn(1, 4), session: name() }));
    scene.hub.on_exchange(&mut scene.edge, question(), Asker::Here(1));
    assert!(
        matches!(scene.edge.to_shards[..], [(1, ToShard::Session(ToShardOfSession::Exchange { conn, .. }))] if conn.key.index == 3)
    );
}

#[test]
fn without_routers_a_session_is_refused_and_forgotten() {
    let mut scene = Scene::new(&[1]);
    hosts(&mut scene, 3, true);

    scene.passes(2_500);

    assert_eq!(hosted(&mut scene), [(3, false)]);
    scene.hub.on_exchange(&mut scene.edge, question(), Asker::Here(7));
    assert_eq!(scene.edge.answers, [(7, Ok(Exchanged::Unknown.encode()))]);
}

#[test]
fn requests_of_this_process_need_no_bus_and_others_are_answered_by_it() {
    let mut scene = Scene::new(&[1]);
    hosts(&mut scene, 3, false);
    scene.edge.to_shards.clear();
    scene.edge.published.clear();

    let own = Publication::plain(scene.hub.subjects.exchange(scene.hub.node()), question().encode());
    scene.hub.request(scene.now, &mut scene.edge, 9, own, 1_000);
    scene.hub.on_exchange_message(&mut scene.edge, question().encode(), Some("inbox".into()));
    let asked = std::mem::take(&mut scene.edge.to_shards);
    let askers: Vec<_> = asked
        .into_iter()
        .filter_map(|(_, message)| match message {
            ToShard::Session(ToShardOfSession::Exchange { asker, .. }) => Some(asker),
            _ => None,
        })
        .collect();
    assert_eq!(askers, [Asker::Here(9), Asker::There("inbox".into())]);
    assert_eq!(scene.edge.published, []);

    for asker in askers {
        scene.says(ToHub::Session(ToHubOfSession::Exchanged { asker, answer: Exchanged::Accepted }));
    }
    assert_eq!(scene.edge.answers, [(9, Ok(Exchanged::Accepted.encode()))]);
    let published = scene.edge.published.iter().find(|message| message.subject == "inbox");
    assert_eq!(published.map(|message| message.payload.clone()), Some(Exchanged::Accepted.encode()));
}
