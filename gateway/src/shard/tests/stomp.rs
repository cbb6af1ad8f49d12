//! Dialect `stomp` behind a shard.

use super::*;

pub(super) fn stomp_client(scene: &mut Scene, frames: &str) -> Client {
    let client = scene.pending_in(Dialect::Stomp, Some(Identity::unsigned("ana", None)));
    let text = format!("CONNECT\naccept-version:1.2\n\n\0{frames}");
    scene.shard.receive(scene.now, client.key, Incoming::Text(&text));
    scene.shard.finish_turn(scene.now);
    scene.hub_agrees();
    client.wire.borrow_mut().written.clear();
    client
}

#[test]
fn a_stomp_client_gets_a_frame_for_each_subscription_that_hears_the_message() {
    let mut scene = Scene::new();
    let subscribe = |id: &str, to: &str| format!("SUBSCRIBE\nid:{id}\ndestination:{to}\n\n\0");
    let two = subscribe("sub-0", "/topic/r")
        + &subscribe("sub-1", "/topic/r")
        + "SUBSCRIBE\nid:a\nack:client\ndestination:/user/queue/messages\n\n\0";
    let a = stomp_client(&mut scene, &two);
    let b = stomp_client(&mut scene, &subscribe("sub-0", "/topic/r"));
    let c = stomp_client(&mut scene, "");
    scene.command(vec![Target::Connection(scene.id(&c))], Command::Join { room: "r".into() });
    scene.receipt();

    let part = scene.deliver(Delivery { key: Some("k".into()), ..scene.delivery(vec![room("r")]) });

    assert_eq!((part.matched, part.written, part.filtered), (2, 2, 1), "{part:?}");
    let text = |client: &Client, at: usize| String::from_utf8(payload(&client.wire.borrow().written[at]).to_vec());
    let frame = |id: &str| {
        format!(
            "MESSAGE\nsubscription:{id}\ndestination:/topic/r\nmessage-id:m1\ncontent-type:application/json\ncontent-length:1\n\n7\0"
        )
    };
    assert_eq!((text(&a, 0), text(&a, 1)), (Ok(frame("sub-0")), Ok(frame("sub-1"))));
    assert_eq!(a.wire.borrow().written[0].as_ptr(), b.wire.borrow().written[0].as_ptr(), "encoded once");
    assert_eq!((b.wire.borrow().written.len(), c.wire.borrow().written.len()), (1, 0));
    for client in [&a, &b] {
        client.wire.borrow_mut().written.clear();
    }

    let both = scene.deliver(scene.delivery(vec![room("r"), user("ana")]));
    assert_eq!((both.matched, a.wire.borrow().written.len(), c.wire.borrow().written.len()), (2, 2, 0), "{both:?}");
    let mut asked = scene.delivery(vec![user("ana")]);
    asked.receipt = Some(ReceiptAsk { number: 5, acked: true, timeout_ms: 5000 });
    asked.payload = Bytes::from_static(b"\xff");
    asked.content = Content::Binary;
    let own = scene.deliver(asked);
    assert_eq!((own.matched, own.ackable), (1, 1), "{own:?}");
    assert_eq!(a.wire.borrow().written[2][0], 0x82, "binary");
}
