//! From the request to the answer.

use super::client::UPGRADE;
use super::*;

#[test]
fn the_answer_is_the_one_of_rfc_6455() {
    run(async {
        let scene = Scene::new();
        let mut client = Client::connect(scene.plain).await;

        let head = client.upgrade("/ws").await.to_ascii_lowercase();

        assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        assert!(head.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
        assert!(!head.contains("sec-websocket-protocol") && !head.contains("sec-websocket-extensions"), "{head}");
        assert_eq!(scene.counted(Handshake::Ok), 1);
    });
}

#[test]
fn the_chosen_sub_protocol_is_named_and_no_other() {
    run(async {
        let scene = Scene::new();
        let mut client = Client::connect(scene.plain).await;

        let offer = "Sec-WebSocket-Protocol: holdfast.v1.json, base64url.bearer.holdfast.secret\r\n";
        let head = client.request(&format!("GET /ws?json HTTP/1.1\r\n{UPGRADE}{offer}\r\n")).await;

        assert!(head.to_ascii_lowercase().contains("\r\nsec-websocket-protocol: holdfast.v1.json\r\n"), "{head}");
        assert!(!head.contains("secret"), "{head}");
    });
}

#[test]
fn frames_behind_the_request_are_not_lost() {
    run(async {
        let scene = Scene::new();
        let mut client = Client::connect(scene.plain).await;
        let text = client::frame(1, b"early");
        let (front, back) = text.split_at(4);

        let request =
            [format!("GET /ws HTTP/1.1\r\n{UPGRADE}\r\n").as_bytes(), &client::frame(1, b"bird"), front].concat();
        client.send(&request).await;
        client.head().await;
        client.expect_text("bird").await;
        client.send(back).await;

        client.expect_text("early").await;
    });
}

#[test]
fn refused_upgrades_close_the_connection() {
    run(async {
        let scene = Scene::new();
        for (request, status) in [
            (format!("GET /nowhere HTTP/1.1\r\n{UPGRADE}\r\n"), "404"),
            (format!("POST /ws HTTP/1.1\r\n{UPGRADE}\r\n"), "405"),
            (format!("GET /ws?unavailable HTTP/1.1\r\n{UPGRADE}\r\n"), "503"),
            (format!("GET /ws HTTP/1.1\r\n{}\r\n", UPGRADE.replace("13", "12")), "426"),
            (format!("GET /ws HTTP/1.1\r\n{UPGRADE}Content-Length: 5\r\n\r\nhello"), "400"),
            (format!("GET /ws HTTP/1.0\r\n{UPGRADE}\r\n"), "400"),
        ] {
            let mut client = Client::connect(scene.plain).await;

            // What comes behind must not be taken for a request.
            let head = client.request(&format!("{request}GET /ws HTTP/1.1\r\n{UPGRADE}\r\n")).await;

            assert_eq!(head.split(' ').nth(1), Some(status), "{request}");
            assert!(head.to_ascii_lowercase().contains("connection: close"), "{request}: {head}");
            client.body(&head).await;
            client.expect_end().await;
        }
        assert_eq!(scene.counted(Handshake::Ok), 0);
    });
}

#[test]
fn headers_that_go_with_a_refusal_are_sent() {
    run(async {
        let scene = Scene::new();
        for (request, header) in [
            (format!("POST /ws HTTP/1.1\r\n{UPGRADE}\r\n"), "allow: get"),
            (format!("GET /ws?unavailable HTTP/1.1\r\n{UPGRADE}\r\n"), "retry-after: 2"),
            (format!("GET /ws HTTP/1.1\r\n{}\r\n", UPGRADE.replace("13", "12")), "sec-websocket-version: 13"),
        ] {
            let head = Client::connect(scene.plain).await.request(&request).await;

            assert!(head.to_ascii_lowercase().contains(&format!("\r\n{header}\r\n")), "{head}");
        }
    });
}

#[test]
fn a_plain_request_keeps_the_connection_for_a_real_one() {
    run(async {
        let scene = Scene::new();
        let mut client = Client::connect(scene.plain).await;

        let head = client.request("GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 400"), "{head}");
        client.body(&head).await;
        let head = client.upgrade("/ws").await;

        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    });
}

#[test]
fn heads_are_bounded_in_size_and_time() {
    run(async {
        let scene = Scene::with(Settings { head_timeout: Duration::from_millis(50), ..Settings::default() });
        let mut large = Client::connect(scene.plain).await;
        let filler = "a".repeat(40 * 1024);
        let head = large.request(&format!("GET /ws HTTP/1.1\r\n{UPGRADE}X: {filler}\r\n\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 431"), "{head}");

        let mut slow = Client::connect(scene.plain).await;
        slow.send(b"GET /ws HTTP/1.1\r\nHost: ").await;
        slow.expect_end().await;
        assert_eq!(scene.counted(Handshake::Timeout), 1);
    });
}

#[test]
fn plain_http_on_the_tls_address_is_answered() {
    run(async {
        let scene = Scene::new();
        let mut client = Client::connect(scene.tls).await;

        let head = client.upgrade("/ws").await;

        assert!(head.starts_with("HTTP/1.1 400"), "{head}");
        client.body(&head).await;
        client.expect_end().await;
        assert_eq!(scene.counted(Handshake::Tls), 1);
    });
}

#[test]
fn a_tls_handshake_that_stalls_or_breaks_is_ended() {
    run(async {
        let scene = Scene::with(Settings { tls_timeout: Duration::from_millis(50), ..Settings::default() });
        let mut silent = Client::connect(scene.tls).await;
        silent.expect_end().await;
        let mut half = Client::connect(scene.tls).await;
        half.send(&[0x16, 3, 1, 1, 0, 1]).await;
        half.expect_end().await;
        assert_eq!(scene.counted(Handshake::Timeout), 2);

        let mut broken = Client::connect(scene.tls).await;
        broken.send(&[0x16, 3, 1, 0, 4, 1, 0, 0, 0]).await;
        assert_eq!(broken.take(1).await, [21]);
        assert_eq!(scene.counted(Handshake::Tls), 1);
    });
}

#[test]
fn the_echo_route_has_limits_of_its_own() {
    run(async {
        let scene = Scene::new();
        let mut client = Client::connect(scene.plain).await;
        client.upgrade("/echo").await;
        let large = vec![b'x'; 60_000];

        client.send(&[client::frame(1, &large), client::frame(9, b"?"), client::close(1001)].concat()).await;

        assert_eq!(client.frame().await, (0x81, large));
        assert_eq!(client.frame().await, (0x8a, b"?".to_vec()));
        assert_eq!(client.expect_close().await, 1001);
        client.expect_end().await;
        assert!(scene.host.0.received.borrow().is_empty());
    });
}

#[test]
fn no_connection_is_accepted_after_stopping() {
    run(async {
        let net = Net::new(TestHost::default(), Settings::default(), Arc::default(), open_door());
        let socket = listener::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        let address = socket.local_addr().unwrap();
        net.serve(Listening { socket, tls: None, proxied: false }).unwrap();

        net.stop_accepting();
        net.ended().await;

        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    });
}
