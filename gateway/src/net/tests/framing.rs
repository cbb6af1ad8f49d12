//! SockJS frames on a WebSocket, and pages beside it.

use super::*;

async fn framed(scene: &Scene) -> Client {
    let mut client = Client::connect(scene.plain).await;
    client.upgrade("/sockjs").await;
    client.expect_text("o").await;
    client
}

#[test]
fn frames_bring_messages_and_nothings_bring_none() {
    run(async {
        let scene = Scene::new();
        let mut client = framed(&scene).await;

        for text in ["", "[]", r#"["a","b"]"#, r#""c""#] {
            client.send(&client::frame(1, text.as_bytes())).await;
        }
        for expected in ["a", "b", "c"] {
            client.expect_text(expected).await;
        }
    });
}

#[test]
fn what_is_no_frame_is_told_in_a_frame_and_ends_the_connection() {
    run(async {
        let scene = Scene::new();
        for (broken, code) in [("[\"a", 1002), ("{}", 1002)] {
            let mut client = framed(&scene).await;
            client.send(&client::frame(1, broken.as_bytes())).await;
            let (_, farewell) = client.frame().await;
            assert!(farewell.starts_with(format!("c[{code},").as_bytes()), "{:?}", String::from_utf8_lossy(&farewell));
            assert_eq!(client.expect_close().await, code);
            client.expect_end().await;
        }
    });
}

#[test]
fn heart_beats_are_frames_beside_pings() {
    run(async {
        let scene = Scene::new();
        let mut client = framed(&scene).await;
        scene.host.advance(u64::from(HEARTBEAT_MS));

        scene.host.only(|connection| {
            assert_eq!(connection.tick(Now { ms: u64::from(HEARTBEAT_MS), unix_ms: 0 }), None);
            connection.flush(Now { ms: u64::from(HEARTBEAT_MS), unix_ms: 0 });
        });

        assert_eq!(client.frame().await, (0x89, Vec::new()));
        client.expect_text("h").await;
    });
}

#[test]
fn pages_are_served_on_a_connection_that_stays() {
    run(async {
        let scene = Scene::new();
        let mut client = Client::connect(scene.plain).await;
        for _ in 0..3 {
            let head = client.request("GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert_eq!(client.body(&head).await, b"a page");
        }
        client.upgrade("/ws").await;
        client.send(&client::frame(1, b"still")).await;
        client.expect_text("still").await;
    });
}

#[test]
fn a_connection_of_pages_may_stay_longer_than_a_handshake() {
    run(async {
        let settings = Settings { http_timeout: Duration::from_millis(200), ..Settings::default() };
        let scene = Scene::with(settings);
        let mut client = Client::connect(scene.plain).await;
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(700) {
            let head = client.request("GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            assert_eq!(client.body(&head).await, b"a page");
        }
        assert_eq!(scene.counted(Handshake::Timeout), 0);
        client.expect_end().await;
    });
}
