//! HTTP/2 for pages, and for nothing else.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;

use super::*;

#[derive(Clone)]
struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(future));
    }
}

type Sender = SendRequest<Empty<Bytes>>;

fn settings() -> Settings {
    Settings { http2: true, ..Settings::default() }
}

async fn http2(client: Client) -> Sender {
    let (sender, connection) = handshake(Local, TokioIo::new(client.stream)).await.unwrap();
    drop(tokio::task::spawn_local(connection));
    sender
}

fn get(sender: &mut Sender, path: &str) -> impl Future<Output = hyper::Result<Response<RequestBody>>> + use<> {
    let request = Request::builder().uri(format!("https://localhost{path}"));
    sender.send_request(request.body(Empty::new()).unwrap())
}

async fn check_pages(client: Client) {
    let mut sender = http2(client).await;
    let (first, second) = (get(&mut sender, "/page"), get(&mut sender, "/page"));
    let websocket = get(&mut sender, "/ws");

    for answer in [first.await.unwrap(), second.await.unwrap()] {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "a page");
    }
    assert_eq!(websocket.await.unwrap().status(), 400, "there is no upgrade in HTTP/2");
}

#[test]
fn pages_are_served_over_one_connection_and_websockets_are_not() {
    run(async {
        let scene = Scene::with(settings());
        check_pages(Client::connect_tls_with(scene.tls, &scene.certificate, &["h2", "http/1.1"]).await).await;
        check_pages(Client::connect(scene.plain).await).await;
    });
}

#[test]
fn who_offers_http_1_1_alone_gets_it() {
    run(async {
        let scene = Scene::with(settings());
        let tls = Client::connect_tls_with(scene.tls, &scene.certificate, &["http/1.1"]).await;
        for mut client in [tls, Client::connect(scene.plain).await] {
            client.upgrade("/ws").await;
            client.send(&client::frame(1, b"x")).await;
            client.expect_text("x").await;
        }
    });
}

#[test]
fn a_request_in_pieces_is_not_taken_for_http_2() {
    run(async {
        let scene = Scene::with(settings());
        let mut client = Client::connect(scene.plain).await;
        client.send(b"P").await;
        tokio::task::yield_now().await;

        let head = client.request("OST /page HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;

        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    });
}

#[test]
fn without_pages_there_is_no_http_2_in_the_clear() {
    run(async {
        let scene = Scene::new();
        let sender = handshake(Local, TokioIo::new(Client::connect(scene.plain).await.stream)).await;
        let (mut sender, connection) = sender.unwrap();
        drop(tokio::task::spawn_local(connection));

        assert!(get(&mut sender, "/page").await.is_err());
    });
}

#[test]
fn who_gives_its_requests_up_at_once_is_sent_away() {
    run(async {
        let scene = Scene::with(settings());
        let mut sender = http2(Client::connect(scene.plain).await).await;
        assert_eq!(get(&mut sender, "/page").await.unwrap().status(), 200);

        let mut given_up = 0;
        while sender.ready().await.is_ok() {
            tokio::select! {
                answer = get(&mut sender, "/never") => {
                    assert!(answer.is_err(), "nothing answers it but the end");
                    break;
                }
                // It is given up when it is being answered, and no sooner.
                () = scene.host.until("asked for", |inner| inner.received.borrow().len() > given_up) => {}
            }
            given_up += 1;
            assert!(given_up < 2_000, "it may go on for ever");
        }

        assert!(given_up > 90, "{given_up}");
        let mut other = http2(Client::connect(scene.plain).await).await;
        assert_eq!(get(&mut other, "/page").await.unwrap().status(), 200);
    });
}
