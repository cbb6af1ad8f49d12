//! Clients that read slowly, or not at all.

use super::client::close;
use super::*;

/// Frames until the outbox is full; how many were taken.
fn fill(host: &TestHost, payload_bytes: usize) -> u64 {
    let mut number: u32 = 0;
    loop {
        let mut payload = vec![b'.'; payload_bytes];
        payload.splice(..8, format!("{number:08}").into_bytes());
        let outgoing = Outgoing { frame: frame::text(&payload), class: Class::Control };
        match host.only(|connection| connection.push(host.now(), outgoing)) {
            Pushed::Queued(last) => assert_eq!(last, u64::from(number) + 1),
            Pushed::Overflow => return u64::from(number),
            Pushed::Dropped => panic!("dropped"),
        }
        number += 1;
    }
}

async fn narrow(scene: &Scene) -> Client {
    let mut client = Client::connect_narrow(scene.plain).await;
    client.upgrade("/ws").await;
    client
}

#[test]
fn a_slow_client_gets_everything_in_order_once_it_reads() {
    run(async {
        for (scene, mut client) in Scene::both().await {
            let host = &scene.host;
            let frames = fill(host, 5000);
            assert!(host.only(|connection| connection.flush(host.now())) < frames);

            for number in 0..frames {
                let (_, payload) = client.frame().await;
                assert_eq!(payload.get(..8), Some(format!("{number:08}").as_bytes()));
            }

            assert_eq!(host.only(|connection| connection.flush(host.now())), frames);
            assert_eq!(host.only(|connection| connection.queued_bytes()), 0);
        }
    });
}

#[test]
fn what_is_written_past_the_queue_comes_in_order_too() {
    run(async {
        for (scene, mut client) in Scene::both().await {
            let host = &scene.host;
            let mut number: u32 = 0;
            let outgoing = |number: u32| {
                let mut payload = vec![b'.'; 5000];
                payload.splice(..8, format!("{number:08}").into_bytes());
                Outgoing { frame: frame::text(&payload), class: Class::Control }
            };
            // Until the kernel takes no more, in the middle of a frame or before one.
            loop {
                let written = host.only(|connection| connection.write_now(host.now(), &outgoing(number)));
                number += u32::from(written != Written::Not);
                if written != Written::Whole {
                    break;
                }
            }
            assert!(number > 1, "the kernel took none");
            let last = host.only(|connection| connection.push(host.now(), outgoing(number)));
            assert_eq!(last, Pushed::Queued(u64::from(number) + 1));
            let behind = host.only(|connection| connection.write_now(host.now(), &outgoing(number)));
            assert_eq!(behind, Written::Not, "past what waits");
            host.only(|connection| connection.flush(host.now()));

            for expected in 0..=number {
                let (_, payload) = client.frame().await;
                assert_eq!(payload.get(..8), Some(format!("{expected:08}").as_bytes()));
            }

            assert_eq!(host.only(|connection| connection.flush(host.now())), u64::from(number) + 1);
        }
    });
}

#[test]
fn a_run_that_the_kernel_takes_in_part_is_counted_to_the_frame() {
    run(async {
        for (scene, mut client) in Scene::both().await {
            let host = &scene.host;
            let mut sent: usize = 0;
            let outgoing = |number: usize| {
                let mut payload = vec![b'.'; 500];
                payload.splice(..8, format!("{number:08}").into_bytes());
                Outgoing { frame: frame::text(&payload), class: Class::Control }
            };
            let taken = loop {
                let mut run = Run::default();
                (sent..sent + 60).for_each(|number| run.push(outgoing(number)));
                let taken = host.only(|connection| connection.write_run(host.now(), &run));
                sent += taken.frames;
                if taken.frames < 60 || taken.waits {
                    break taken;
                }
            };
            assert!(sent > 60, "the kernel took one run at most: {taken:?}");
            let last = host.only(|connection| connection.push(host.now(), outgoing(sent)));
            assert_eq!(last, Pushed::Queued(sent as u64 + 1));
            host.only(|connection| connection.flush(host.now()));

            for expected in 0..=sent {
                let (_, payload) = client.frame().await;
                assert_eq!(payload.get(..8), Some(format!("{expected:08}").as_bytes()));
            }

            assert_eq!(host.only(|connection| connection.flush(host.now())), sent as u64 + 1);
            assert_eq!(scene.cells.frames_sent[Opcode::Text as usize].value(), sent as u64 + 1);
        }
    });
}

#[test]
fn what_fits_the_kernel_is_written_at_once_in_one_call() {
    run(async {
        let scene = Scene::new();
        let mut client = scene.open().await;
        let host = &scene.host;
        let writes = scene.cells.writes.value();
        for _ in 0..50 {
            let outgoing = Outgoing { frame: frame::text(b"burst"), class: Class::Control };
            host.only(|connection| connection.push(host.now(), outgoing));
        }

        let passed = host.only(|connection| connection.flush(host.now()));

        assert_eq!((passed, scene.cells.writes.value() - writes), (50, 1));
        for _ in 0..50 {
            client.expect_text("burst").await;
        }
    });
}

#[test]
fn a_stuck_client_is_told_why_before_what_it_did_not_read() {
    run(async {
        let scene = Scene::new();
        let mut client = narrow(&scene).await;
        let host = &scene.host;
        let frames = fill(host, 5000);
        let passed = host.only(|connection| connection.flush(host.now()));
        host.only(|connection| connection.close(host.now(), 4008, "slow"));

        let mut whole = 0;
        while let (0x81, _) = {
            let frame = client.frame().await;
            if frame.0 == 0x88 {
                assert_eq!(frame.1, b"\x0f\xa8slow");
            }
            frame
        } {
            whole += 1;
        }

        assert!(whole <= passed + 1 && whole < frames, "{whole} of {frames}, {passed} written before");
        client.send(&close(4008)).await;
        assert_eq!(host.closed_by().await, ClosedBy::Server(4008));
    });
}

#[test]
fn age_counts_even_if_the_queue_is_short() {
    run(async {
        let scene = Scene::new();
        let _client = narrow(&scene).await;
        let host = &scene.host;
        fill(host, 5000);

        host.advance(LIMITS.outgoing.age_max_ms + 1);

        // Whichever is seen first, the client is out.
        let verdict = host.only(|connection| connection.tick(host.now()));
        assert!(matches!(verdict, Some(Close::SlowConsumer | Close::Silent)), "{verdict:?}");
    });
}

#[test]
fn pings_of_a_client_that_does_not_read_do_not_pile_up() {
    run(async {
        let scene = Scene::new();
        let mut client = narrow(&scene).await;
        let host = &scene.host;
        fill(host, 5000);

        let pings: Vec<u8> = std::iter::repeat_n(client::frame(9, &[b'p'; 125]), 100).flatten().collect();
        for _ in 0..100 {
            client.send(&pings).await;
            tokio::task::yield_now().await;
            if host.only(|connection| !connection.is_open()) {
                break;
            }
        }

        assert!(host.only(|connection| !connection.is_open()));
        assert!(host.only(|connection| connection.queued_bytes()) <= LIMITS.outgoing.bytes_max);
    });
}

#[test]
fn a_flood_is_handled_in_small_portions() {
    run(async {
        let scene = Scene::new();
        let mut client = scene.open().await;
        let flood: Vec<u8> = std::iter::repeat_n(client::frame(1, b""), 50_000).flatten().collect();
        let sending = tokio::task::spawn_local(async move {
            client.send(&flood).await;
            client
        });

        let (mut seen, mut largest) = (0, 0);
        while seen < 50_000 {
            tokio::task::yield_now().await;
            let now = scene.host.0.received.borrow().len();
            largest = largest.max(now - seen);
            seen = now;
        }

        // Two reads of 16 KiB in frames of six bytes.
        assert!(largest <= 2 * (16 * 1024 / 6 + 1), "{largest} messages between two turns of others");
        drop(sending.await);
    });
}
