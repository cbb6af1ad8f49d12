//! After the handshake: messages, and each way a connection can end.

use super::client::{close, frame};
use super::*;

#[test]
fn messages_arrive_whole_over_both_transports() {
    run(async {
        for (scene, mut client) in Scene::both().await {
            let large: String = "häuser ".repeat(8000);
            let wire =
                [frame(1, b"small"), frame(1, large.as_bytes()), frame(2, &[0xff; 200]), frame(1, b"last")].concat();
            for piece in wire.chunks(1000) {
                client.send(piece).await;
                tokio::task::yield_now().await;
            }

            client.expect_text("small").await;
            client.expect_text(&large).await;
            assert_eq!(client.frame().await, (0x82, vec![0xff; 200]));
            client.expect_text("last").await;
            assert_eq!(scene.cells.frames_received[Opcode::Text as usize].value(), 3);
            assert_eq!(scene.cells.frames_sent[Opcode::Binary as usize].value(), 1);
        }
    });
}

#[test]
fn pings_are_answered_in_order_and_pongs_taken() {
    run(async {
        for (_, mut client) in Scene::both().await {
            client.send(&[frame(9, b"one"), frame(10, b"unasked"), frame(1, b"text"), frame(9, b"")].concat()).await;

            assert_eq!(client.frame().await, (0x8a, b"one".to_vec()));
            client.expect_text("text").await;
            assert_eq!(client.frame().await, (0x8a, Vec::new()));
        }
    });
}

#[test]
fn the_clients_close_is_answered_with_its_code_and_we_end_the_stream() {
    run(async {
        for (code, answer, by) in [(Some(1000), 1000, 1000), (Some(4321), 4321, 4321), (None, 0, 1005)] {
            for (scene, mut client) in Scene::both().await {
                let wire = code.map_or_else(|| frame(8, b""), close);
                // What comes behind a close frame means nothing.
                client.send(&[wire, frame(1, b"void")].concat()).await;

                let (first, payload) = client.frame().await;
                let expected = if answer == 0 { Vec::new() } else { u16::to_be_bytes(answer).to_vec() };
                assert_eq!((first, payload), (0x88, expected));
                client.expect_end().await;
                assert_eq!(scene.host.closed_by().await, ClosedBy::Client(by));
                assert!(scene.host.0.received.borrow().is_empty());
            }
        }
    });
}

#[test]
fn our_close_waits_for_the_clients() {
    run(async {
        for (scene, mut client) in Scene::both().await {
            let host = &scene.host;
            host.only(|connection| connection.close(host.now(), 4003, "token expired"));
            let (first, payload) = client.frame().await;
            assert_eq!((first, payload), (0x88, b"\x0f\xa3token expired".to_vec()));
            client.send(&frame(1, b"crossing")).await;
            host.until("the message", |inner| !inner.received.borrow().is_empty()).await;
            let late = Outgoing { frame: frame::text(b"late"), class: Class::Control };
            assert_eq!(host.only(|connection| connection.push(host.now(), late)), Pushed::Dropped);
            assert!(host.0.closed.borrow().is_empty());

            client.send(&close(4003)).await;

            client.expect_end().await;
            assert_eq!(host.closed_by().await, ClosedBy::Server(4003));
        }
    });
}

#[test]
fn a_client_that_does_not_answer_our_close_is_dropped() {
    run(async {
        for (scene, mut client) in Scene::both().await {
            let host = &scene.host;
            host.only(|connection| connection.close(host.now(), 1012, ""));
            assert_eq!(client.expect_close().await, 1012);
            host.advance(CLOSE_WAIT_MS - 1);
            assert_eq!(host.only(|connection| connection.tick(host.now())), None);
            tokio::task::yield_now().await;
            assert!(host.0.closed.borrow().is_empty());

            host.advance(1);
            host.only(|connection| connection.tick(host.now()));

            assert_eq!(host.closed_by().await, ClosedBy::Server(1012));
            client.expect_end().await;
        }
    });
}

#[test]
fn a_broken_frame_ends_the_connection_at_once() {
    run(async {
        for (bytes, code) in [
            (vec![0x81, 0x01, b'x'], 1002),
            (frame(3, b""), 1002),
            (frame(1, b"\xff"), 1007),
            (vec![0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 2, 3, 4], 1009),
        ] {
            for (scene, mut client) in Scene::both().await {
                client.send(&[frame(1, b"before"), bytes.clone(), frame(1, b"behind")].concat()).await;

                client.expect_text("before").await;
                assert_eq!(client.expect_close().await, code);
                client.expect_end().await;
                assert_eq!(scene.host.closed_by().await, ClosedBy::Server(code));
                assert_eq!(*scene.host.0.received.borrow(), ["before"]);
            }
        }
    });
}

#[test]
fn our_last_words_reach_a_client_that_still_sends() {
    run(async {
        let scene = Scene::new();
        let mut client = scene.open().await;
        // Far more than is read before the fault: unread bytes would make the kernel reset the connection.
        let flood = vec![0xff; 4_000_000];

        client.send(&flood).await;

        assert_eq!(client.expect_close().await, 1002);
        client.expect_end().await;
    });
}

#[test]
fn a_client_that_vanishes_is_forgotten() {
    run(async {
        for (scene, client) in Scene::both().await {
            drop(client);

            assert_eq!(scene.host.closed_by().await, ClosedBy::Network);
            assert!(scene.host.0.connections.borrow().is_empty());
        }
    });
}

#[test]
fn a_reset_is_the_networks_doing() {
    run(async {
        let scene = Scene::new();
        let tcp = tokio::net::TcpStream::connect(scene.plain).await.unwrap();
        socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
        let mut client = Client { stream: Box::new(tcp), read: Vec::new() };
        client.upgrade("/ws").await;

        drop(client);

        assert_eq!(scene.host.closed_by().await, ClosedBy::Network);
    });
}

#[test]
fn silence_is_noticed_and_any_byte_is_life() {
    run(async {
        let scene = Scene::new();
        let mut client = scene.open().await;
        let host = &scene.host;
        let heartbeat = u64::from(HEARTBEAT_MS);

        host.advance(heartbeat - 1);
        assert_eq!((host.tick(), host.only(|connection| connection.queued_bytes())), (None, 0));
        host.advance(1);
        assert_eq!(host.tick(), None);
        assert_eq!(client.frame().await, (0x89, Vec::new()));

        // One byte of a frame is enough.
        host.advance(heartbeat);
        let before = scene.cells.received_bytes.value();
        client.send(&[0x8a]).await;
        host.until("the byte", |_| scene.cells.received_bytes.value() > before).await;
        for _ in 0..2 {
            host.advance(heartbeat);
            assert_eq!(host.tick(), None);
        }
        host.advance(heartbeat / 2);
        assert_eq!(host.tick(), None);
        host.advance(1);
        assert_eq!(host.tick(), Some(Close::Silent));
    });
}

#[test]
fn a_gateway_that_stood_still_asks_before_it_calls_a_client_silent() {
    run(async {
        let scene = Scene::new();
        let mut client = scene.open().await;
        let host = &scene.host;
        let heartbeat = u64::from(HEARTBEAT_MS);

        host.advance(heartbeat * 100);
        assert_eq!(host.tick(), None);
        assert_eq!(client.frame().await, (0x89, Vec::new()));

        host.advance(heartbeat);
        assert_eq!(host.tick(), None);
        host.advance(heartbeat / 2);
        assert_eq!(host.tick(), None);
        host.advance(1);
        assert_eq!(host.tick(), Some(Close::Silent), "not for ever");
    });
}

#[test]
fn a_busy_host_stops_reading_for_a_while() {
    run(async {
        let scene = Scene::new();
        let mut client = scene.open().await;
        scene.host.0.busy.set(true);
        client.send(&frame(1, b"patience")).await;
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert!(scene.host.0.received.borrow().is_empty());

        scene.host.0.busy.set(false);

        client.expect_text("patience").await;
    });
}

#[test]
fn an_idle_connection_is_a_few_words() {
    assert!(size_of::<Connection>() <= 208, "{}", size_of::<Connection>());
    assert!(size_of::<driver::Driver<TestHost>>() <= 40, "{}", size_of::<driver::Driver<TestHost>>());
}
