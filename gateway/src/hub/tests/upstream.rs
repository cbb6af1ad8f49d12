//! Messages and requests of clients, on their way to domain services and back.

use super::*;

fn sender(scene: &Scene) -> Box<Sender> {
    Box::new(Sender {
        id: ConnectionId::new(scene.hub.node(), [3; 16]),
        endpoint: Arc::new(Endpoint { name: "crowd/location".into(), rules: Arc::new(Rules::json()) }),
        identity: Some(Arc::new(crate::auth::Identity::unsigned("ána", None))),
        device: None,
        trace: None,
    })
}

fn publishes(scene: &mut Scene, ticket: u32) {
    let sender = sender(scene);
    let to = Outward::Service(vec!["message".to_owned(), "new".to_owned()]);
    let (conn, payload) = (conn(0, 1), Bytes::from_static(b"1"));
    scene.says(ToHub::Publish { conn, ticket: Some(ticket), sender, to, said: None, payload });
}

fn inbox(subject: &str, error: Option<(u16, String)>, no_responders: bool) -> Received {
    Received {
        subject: subject.to_owned(),
        payload: Bytes::from_static(b"{}"),
        no_responders,
        error,
        ..Received::default()
    }
}

#[test]
fn a_message_upstream_is_confirmed_by_the_marker_behind_it() {
    let mut scene = Scene::new(&[1]);
    publishes(&mut scene, 4);
    let up = scene.published("hf.up.");
    let markers = scene.published("_INBOX.");
    assert_eq!(up[0].subject, "hf.up.crowd=2Flocation.message.new");
    let header = |name| up[0].headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_str());
    assert_eq!((header("Hf-User"), header("Hf-Endpoint")), (Some("ána"), Some("crowd/location")));
    assert_eq!((header("Hf-Node"), header("Hf-Device")), (Some(scene.hub.node().as_str()), None));
    assert!(scene.told_shards().is_empty());

    scene.hub.on_inbox(scene.now, &mut scene.edge, inbox(&markers[0].subject, None, false));

    let told = scene.told_shards();
    assert!(matches!(&told[..], [(0, ToShard::Published { ticket: 4, result: Ok(()), .. })]), "{told:?}");
}

#[test]
fn a_message_that_nobody_can_vouch_for_is_an_error() {
    let unavailable = |told: &[(u16, ToShard)]| {
        matches!(told, [(0, ToShard::Published { result: Err(Failure::BusUnavailable), .. })])
    };
    let mut scene = Scene::new(&[1]);
    publishes(&mut scene, 1);
    scene.passes(2000);
    assert!(unavailable(&scene.told_shards()), "the marker did not come back");

    publishes(&mut scene, 2);
    scene.hub.on_bus(scene.now, &mut scene.edge, false);
    scene.edge.away = true;
    let told = scene.told_shards();
    assert!(unavailable(&told[..1]), "{told:?}");

    publishes(&mut scene, 3);
    assert!(unavailable(&scene.told_shards()));
}

#[test]
fn requests_end_with_a_reply_an_error_or_a_time_out() {
    let mut scene = Scene::new(&[1]);
    let mut replies = Vec::new();
    for ticket in 1..=4 {
        let (sender, timeout) = (sender(&scene), Duration::from_secs(5));
        let (to, payload) = (vec!["page".to_owned()], Bytes::new());
        scene.says(ToHub::Request { conn: conn(0, 1), ticket, sender, to, said: None, payload, timeout });
        let request = scene.published("hf.req.crowd=2Flocation.page").pop().expect("published");
        replies.push(request.reply.expect("an inbox"));
    }
    let error = Some((404, "no such page".to_owned()));

    for message in [inbox(&replies[0], None, false), inbox(&replies[1], error, false), inbox(&replies[2], None, true)] {
        scene.hub.on_inbox(scene.now, &mut scene.edge, message);
    }
    scene.passes(5000);

    let told = scene.told_shards();
    let results: Vec<_> = told
        .into_iter()
        .filter_map(
            |(_, m)| if let ToShard::Replied { ticket, result, .. } = m { Some((ticket, result)) } else { None },
        )
        .collect();
    let service = Failure::Service { status: 404, message: "no such page".into() };
    let wanted = [Ok(Bytes::from_static(b"{}")), Err(service), Err(Failure::NoResponders), Err(Failure::Timeout)];
    assert_eq!(results, (1..).zip(wanted).collect::<Vec<_>>());
    scene.hub.on_inbox(scene.now, &mut scene.edge, inbox(&replies[3], None, false));
    assert!(scene.told_shards().is_empty(), "too late");
}
