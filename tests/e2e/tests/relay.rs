//! The listener for back ends that speak STOMP over TCP: what they send reaches clients, what they subscribe to comes.

use holdfast_harness::client::{BareClient, Payload};
use holdfast_harness::cluster::Builder;
use holdfast_harness::{Claims, Cluster, To, wait};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const PASSCODE: &str = "a passcode of the tests";

async fn cluster() -> Cluster {
    builder().start().await
}

fn builder() -> Builder {
    // What back ends publish by a gateway is more than `deploy/nats` lets gateways publish unless asked.
    Cluster::builder()
        .open_bus()
        .gateways(2)
        .gateway_setting("HOLDFAST_STOMP_RELAY__LISTEN", "127.0.0.1:0")
        .gateway_setting("HOLDFAST_STOMP_RELAY__LOGIN", "spring")
        .gateway_setting("HOLDFAST_STOMP_RELAY__PASSCODE", PASSCODE)
        .gateway_setting("HOLDFAST_STOMP_RELAY__SESSIONS", "2")
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A back end, by hand.
struct BackEnd {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

impl BackEnd {
    async fn open(cluster: &Cluster) -> Self {
        Self { stream: Box::new(Self::dial(cluster).await), read: Vec::new() }
    }

    async fn open_tls(cluster: &Cluster) -> Self {
        let stream = Self::dial(cluster).await;
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(cluster.certificate().client(rustls::DEFAULT_VERSIONS));
        let stream = connector.connect(name, stream).await.expect("TLS");
        Self { stream: Box::new(stream), read: Vec::new() }
    }

    async fn dial(cluster: &Cluster) -> TcpStream {
        let ready = cluster.gateway(0).ready();
        let address = ready["listen_relay"].as_str().unwrap_or_else(|| panic!("listen_relay in {ready}"));
        TcpStream::connect(address).await.expect("connect")
    }

    async fn connected(cluster: &Cluster) -> Self {
        Self::open(cluster).await.logged_in().await
    }

    async fn logged_in(mut self) -> Self {
        let back_end = &mut self;
        let connect = format!("CONNECT\naccept-version:1.1,1.2\nlogin:spring\npasscode:{PASSCODE}\nhost:x\n\n\0");
        back_end.say(&connect).await;
        assert!(back_end.frame().await.starts_with("CONNECTED\nversion:1.2\n"));
        self
    }

    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("write");
        self.stream.flush().await.expect("flush");
    }

    /// The next frame; empty at the end.
    async fn frame(&mut self) -> String {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == 0) {
                let frame: Vec<u8> = self.read.drain(..=end).collect();
                return String::from_utf8(frame).expect("text").trim_matches(['\0', '\n']).to_owned();
            }
            let length = wait::bounded("a frame", self.stream.read_buf(&mut self.read)).await.expect("read");
            if length == 0 {
                return String::new();
            }
        }
    }
}

async fn client(cluster: &Cluster, user: &str, destination: &str) -> BareClient {
    let client = cluster.gateway(1).client().protocols(&["v12.stomp"]).endpoint_default().await;
    client.tell(&format!("CONNECT\naccept-version:1.2\ntoken:{}\n\n\0", Claims::of(user).sign())).await;
    client.payload().await;
    client.tell(&format!("SUBSCRIBE\nid:s\ndestination:{destination}\nreceipt:r\n\n\0")).await;
    client.payload().await;
    client
}

async fn text(client: &BareClient) -> String {
    match client.payload().await {
        Payload::Text(text) => text,
        Payload::Binary(bytes) => panic!("binary: {bytes:?}"),
    }
}

#[tokio::test]
async fn a_back_end_publishes_to_rooms_and_users_in_order() {
    let cluster = cluster().await;
    let room = client(&cluster, "ana", "/topic/chat/5").await;
    let own = client(&cluster, "ben", "/user/queue/notifications").await;
    let mut spring = BackEnd::connected(&cluster).await;

    for number in 0..100 {
        spring.say(&format!("SEND\ndestination:/topic/chat/5\ncontent-type:text/plain\n\n{number}\0")).await;
    }
    let unresolved = "SEND\ndestination:/topic/unresolved-user\nsimpOrigDestination:/user/ben/queue/notifications\n";
    spring.say(&format!("{unresolved}content-type:application/json\nreceipt:r\n\n{{}}\0")).await;
    assert_eq!(spring.frame().await, "RECEIPT\nreceipt-id:r");

    for number in 0..100 {
        let frame = text(&room).await;
        assert!(frame.contains("\ndestination:/topic/chat/5\n"), "{frame}");
        assert!(frame.ends_with(&format!("\n\n{number}\0")), "{frame}");
    }
    let frame = text(&own).await;
    assert!(frame.contains("\ndestination:/user/queue/notifications\n") && frame.ends_with("{}\0"), "{frame}");
    spring.say("DISCONNECT\nreceipt:bye\n\n\0").await;
    assert_eq!(spring.frame().await, "RECEIPT\nreceipt-id:bye");
    assert_eq!(spring.frame().await, "", "the gateway closes");
}

#[tokio::test]
async fn a_back_end_s_transaction_is_published_in_order_when_it_is_committed() {
    let cluster = cluster().await;
    let room = client(&cluster, "ana", "/topic/chat/6").await;
    let mut spring = BackEnd::connected(&cluster).await;
    let send = |transaction: &str, body: &str| format!("SEND\ndestination:/topic/chat/6\n{transaction}\n{body}\0");
    spring.say("BEGIN\ntransaction:t\n\n\0BEGIN\ntransaction:u\n\n\0").await;
    spring.say(&send("transaction:t\n", "2")).await;
    spring.say(&send("transaction:u\n", "never")).await;
    spring.say(&send("", "1")).await;
    spring.say(&send("transaction:t\n", "3")).await;
    spring.say("ABORT\ntransaction:u\n\n\0COMMIT\ntransaction:t\nreceipt:r\n\n\0").await;
    assert_eq!(spring.frame().await, "RECEIPT\nreceipt-id:r");

    for expected in ["1", "2", "3"] {
        let frame = text(&room).await;
        assert!(frame.ends_with(&format!("\n\n{expected}\0")), "{frame}");
    }
}

#[tokio::test]
async fn a_back_end_may_speak_tls_and_then_must() {
    let cluster = builder().tls().gateway_setting("HOLDFAST_STOMP_RELAY__TLS", "true").start().await;
    let mut spring = BackEnd::open_tls(&cluster).await.logged_in().await;
    spring.say("SUBSCRIBE\nid:1\ndestination:/topic/registry\nreceipt:s\n\n\0").await;
    assert_eq!(spring.frame().await, "RECEIPT\nreceipt-id:s");
    let body = "x".repeat(200_000);
    spring.say(&format!("SEND\ndestination:/topic/registry\n\n{body}\0")).await;
    let heard = spring.frame().await;
    assert!(heard.starts_with("MESSAGE\n") && heard.ends_with(&body), "{} bytes", heard.len());

    let mut plain = BackEnd::open(&cluster).await;
    plain.say("CONNECT\naccept-version:1.2\n\n\0").await;
    assert!(!plain.frame().await.contains("CONNECTED"), "no STOMP in the clear");
}

#[tokio::test]
async fn a_back_end_hears_what_is_published_to_its_rooms() {
    let cluster = cluster().await;
    let service = cluster.service().await;
    let mut spring = BackEnd::connected(&cluster).await;
    spring.say("SUBSCRIBE\nid:sys-1\ndestination:/topic/registry\nreceipt:s\n\n\0").await;
    assert_eq!(spring.frame().await, "RECEIPT\nreceipt-id:s");

    service.send(To::room("registry")).payload("users").header("Hf-Id", "m-1").publish().await;
    let heard = spring.frame().await;
    assert!(heard.starts_with("MESSAGE\nsubscription:sys-1\ndestination:/topic/registry\nmessage-id:m-1\n"), "{heard}");
    assert!(heard.ends_with("\n\nusers"), "{heard}");

    spring.say("UNSUBSCRIBE\nid:sys-1\n\n\0SEND\ndestination:/topic/registry\nreceipt:r\n\nx\0").await;
    assert_eq!(spring.frame().await, "RECEIPT\nreceipt-id:r");
}

#[tokio::test]
async fn strangers_and_too_many_are_refused() {
    let cluster = cluster().await;
    let mut stranger = BackEnd::open(&cluster).await;
    stranger.say("CONNECT\naccept-version:1.2\nlogin:spring\npasscode:guest\n\n\0").await;
    assert!(stranger.frame().await.starts_with("ERROR\nmessage:login or passcode is wrong\n"));
    assert_eq!(stranger.frame().await, "");
    drop(stranger);
    let first = BackEnd::connected(&cluster).await;
    let second = BackEnd::connected(&cluster).await;

    assert_eq!(BackEnd::open(&cluster).await.frame().await, "", "the third is one too many");
    drop((first, second));
}

#[tokio::test]
async fn a_node_that_drains_sends_back_ends_away_one_by_one_and_loses_nothing_of_theirs() {
    let cluster = builder()
        .gateway_setting("HOLDFAST_DRAIN__DELAY", "10ms")
        .gateway_setting("HOLDFAST_DRAIN__WINDOW", "3s")
        .start()
        .await;
    let room = client(&cluster, "ana", "/topic/chat/8").await;
    let mut back_ends = [BackEnd::connected(&cluster).await, BackEnd::connected(&cluster).await];

    cluster.gateway(0).terminate();
    wait::eventually("the listener is closed", async || {
        let address = cluster.gateway(0).ready()["listen_relay"].as_str().expect("an address").to_owned();
        if TcpStream::connect(address).await.is_ok() { Err("it accepts".to_owned()) } else { Ok(()) }
    })
    .await;

    let [first, second] = &mut back_ends;
    let go = async |back_end: &mut BackEnd| {
        let goodbye = back_end.frame().await;
        assert!(goodbye.starts_with("ERROR\nmessage:the node is going away\n"), "{goodbye}");
        // As if it did not know yet.
        back_end.say("SEND\ndestination:/topic/chat/8\n\nlate\0").await;
    };
    tokio::join!(go(first), go(second));
    for _ in &back_ends {
        assert!(text(&room).await.ends_with("\n\nlate\0"));
    }
    for mut back_end in back_ends {
        assert_eq!(back_end.frame().await, "", "the gateway closes");
    }
    assert_eq!(cluster.gateway(0).ended().await.code(), Some(0));
}
