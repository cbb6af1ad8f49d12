//! Many clients that do whatever comes to their mind, from a seed.

use super::client::{close, frame};
use super::*;

struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// Sends messages in pieces with pings between, reads the echoes, and ends in one of five ways.
async fn act(mut client: Client, mut seeded: Seeded) {
    for _ in 0..seeded.below(6) {
        let text = "ä".repeat([0, 1, 40, 90, 9000][seeded.below(5)]);
        let mut wire = frame(1, text.as_bytes());
        let pings = seeded.below(3);
        for _ in 0..pings {
            wire.splice(..0, frame(9, b"p"));
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(1 + seeded.below(5000)));
            client.send(now).await;
            rest = later;
            tokio::task::yield_now().await;
        }
        let (mut answers, mut echo) = (0, None);
        while answers < pings || echo.is_none() {
            match client.frame().await {
                (0x8a, payload) if payload == b"p" => answers += 1,
                (0x81, payload) => echo = Some(payload),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(echo.as_deref(), Some(text.as_bytes()));
    }
    match seeded.below(5) {
        0 => {
            client.send(&close(1000)).await;
            assert_eq!(client.expect_close().await, 1000);
            client.expect_end().await;
        }
        1 => {
            client.send(&[0xff, 0xff]).await;
            assert_eq!(client.expect_close().await, 1002);
        }
        2 => client.send(&frame(1, b"unfinished")[..3]).await,
        3 => client.send(&[frame(1, b"bye"), close(1001)].concat()).await,
        _ => {}
    }
}

#[test]
fn every_connection_ends_exactly_once_and_leaves_nothing() {
    const CLIENTS: usize = 60;
    run(async {
        for seed in 0..4 {
            let scene = Scene::new();
            let mut clients = tokio::task::JoinSet::new();
            for number in 0..CLIENTS {
                let mut client = if number % 2 == 0 {
                    Client::connect(scene.plain).await
                } else {
                    Client::connect_tls(scene.tls, &scene.certificate).await
                };
                client.upgrade("/ws").await;
                clients.spawn_local(act(client, Seeded(seed * 1000 + number as u64)));
            }
            while let Some(ended) = clients.join_next().await {
                ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            }

            scene.host.until("all forgotten", |inner| inner.connections.borrow().is_empty()).await;

            assert_eq!(scene.host.0.closed.borrow().len(), CLIENTS, "seed {seed}");
        }
    });
}
