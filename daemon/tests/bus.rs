//! The bus against a real nats-server.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use holdfast_daemon::bus::{Bus, BusError, BusMetrics, BusSettings, Outgoing, PublishError, Subscription};
use holdfast_daemon::config::{self, Problems, Service};
use holdfast_harness::certificate::Certificate;
use holdfast_harness::eventually;
use holdfast_harness::nats::NatsServer;
use holdfast_harness::proxy::{Link, Proxy};
use holdfast_harness::wait::bounded;
use prometheus::Registry;

holdfast_daemon::settings! {
    /// Nothing but the bus.
    struct Settings {
        /// The bus.
        bus: BusSettings,
    }
}

fn no_rules(_: &Settings, _: &mut Problems) {}

/// Settings as a service would read them.
fn settings(flags: &[(&str, &str)]) -> BusSettings {
    let service = Service { name: "sample", about: "", foreign: &[], rules: no_rules, metrics: || Ok(Registry::new()) };
    let flags: Vec<_> = flags.iter().map(|(key, value)| (format!("bus.{key}"), (*value).to_owned())).collect();
    config::load(&service, None, [], &flags).expect("good settings").settings.bus
}

/// A bus with the registry of its metrics.
struct Scene {
    bus: Bus,
    registry: Registry,
}

impl Scene {
    async fn connecting(settings: &BusSettings) -> Self {
        let registry = Registry::new();
        let metrics = BusMetrics::new(&registry).expect("registered");
        let bus = Bus::connect(settings, &metrics, "test").await.expect("usable settings");
        Self { bus, registry }
    }

    async fn connected(settings: &BusSettings) -> Self {
        let scene = Self::connecting(settings).await;
        scene.until_connected().await;
        scene
    }

    async fn to(server: &NatsServer) -> Self {
        Self::connected(&settings(&[("servers", &url(server))])).await
    }

    async fn until_connected(&self) {
        let mut status = self.bus.status();
        bounded("the bus is connected", status.wait_for(|status| status.connected)).await.expect("the bus lives");
    }

    /// Until the server has done all that was asked so far: a flush proves only that it was written.
    async fn settled(&self) {
        let inbox = self.bus.new_inbox();
        let mut subscription = self.bus.subscribe(inbox.clone(), "inbox").await.expect("subscribed");
        self.bus.try_publish(message(&inbox, "round")).expect("taken");
        next(&mut subscription).await;
    }

    /// The sum of a counter's or gauge's values where a label has this value.
    fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == format!("holdfast_bus_{name}"));
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        let labelled = metrics
            .iter()
            .filter(|metric| label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label));
        labelled.map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
    }
}

fn url(server: &NatsServer) -> String {
    format!("nats://{}", server.address())
}

fn message(subject: &str, payload: impl Into<Bytes>) -> Outgoing {
    Outgoing { subject: subject.to_owned(), payload: payload.into(), ..Outgoing::default() }
}

async fn next(subscription: &mut Subscription) -> Bytes {
    bounded("a message comes", subscription.next()).await.expect("the client lives").payload
}

/// Publishes until it comes back, for a connection that may just be coming about.
async fn until_heard(from: &Bus, subscription: &mut Subscription, subject: &str) {
    eventually("a message goes round", async || {
        from.try_publish(message(subject, "round")).map_err(|error| error.to_string())?;
        match tokio::time::timeout(Duration::from_millis(200), subscription.next()).await {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_burst_beyond_every_queue_of_the_client_arrives_whole_and_in_order() {
    const BURST: u32 = 200_000;
    let server = NatsServer::start("").await;
    let (sender, receiver) = (Scene::to(&server).await, Scene::to(&server).await);
    let mut subscription = receiver.bus.subscribe("burst".to_owned(), "burst").await.expect("subscribed");
    receiver.settled().await;

    // No wait in between: the client's own channel is full after the first few thousand.
    for number in 0..BURST {
        sender.bus.try_publish(message("burst", number.to_be_bytes().to_vec())).expect("taken");
    }
    sender.bus.flush(Duration::from_secs(60)).await.expect("written");

    for number in 0..BURST {
        assert_eq!(next(&mut subscription).await, number.to_be_bytes().as_slice());
    }
    assert_eq!(sender.metric("messages_total", "out"), f64::from(BURST));
    assert_eq!(receiver.metric("received_total", "burst"), f64::from(BURST));
    assert_eq!(receiver.metric("dropped_total", ""), 0.0);
}

#[tokio::test]
async fn publishing_fails_at_once_without_a_connection_and_works_once_there_is_one() {
    let mut server = NatsServer::start("").await;
    let settings = settings(&[("servers", &url(&server)), ("reconnect_delay_max", "100ms")]);
    server.stop();
    let scene = Scene::connecting(&settings).await;
    // Made before there is a connection; it counts from the first one on.
    let mut subscription = scene.bus.subscribe("early".to_owned(), "early").await.expect("subscribed");

    let refused = scene.bus.try_publish(message("early", "lost"));
    server.restart().await;
    scene.until_connected().await;

    assert_eq!(refused, Err(PublishError::Disconnected));
    assert_eq!(scene.metric("publish_refused_total", "disconnected"), 1.0);
    until_heard(&scene.bus, &mut subscription, "early").await;
    assert_eq!(scene.bus.status().borrow().losses, 0);
}

#[tokio::test]
async fn a_lost_connection_is_told_counted_and_made_again_with_its_subscriptions() {
    let mut server = NatsServer::start("").await;
    let scene = Scene::connected(&settings(&[("servers", &url(&server)), ("reconnect_delay_max", "100ms")])).await;
    let mut subscription = scene.bus.subscribe("again".to_owned(), "again").await.expect("subscribed");
    let mut status = scene.bus.status();

    server.stop();
    let lost = *bounded("the loss is told", status.wait_for(|status| !status.connected)).await.expect("alive");
    server.restart().await;
    scene.until_connected().await;

    assert_eq!(lost.losses, 1);
    assert_eq!(scene.bus.status().borrow().losses, 1);
    assert_eq!(scene.metric("reconnects_total", ""), 1.0);
    assert_eq!(scene.metric("connected", ""), 1.0);
    until_heard(&scene.bus, &mut subscription, "again").await;
}

#[tokio::test]
async fn a_silent_connection_is_given_up_and_what_waited_for_it_is_counted() {
    let server = NatsServer::start("").await;
    let proxy = Proxy::start(server.address()).await;
    let through = format!("nats://{}", proxy.address());
    let scene = Scene::connected(&settings(&[("servers", &through), ("ping_interval", "100ms")])).await;
    let mut status = scene.bus.status();

    proxy.set(Link::Stalled);
    // More than sockets and client hold, so that messages wait in the overflow.
    let payload = Bytes::from(vec![0; 4096]);
    let taken = (0..12_000).filter(|_| scene.bus.try_publish(message("stalled", payload.clone())).is_ok()).count();
    bounded("the loss is told", status.wait_for(|status| !status.connected)).await.expect("alive");

    assert!(taken > 8_000, "{taken}");
    assert!(scene.metric("publish_refused_total", "lost") > 0.0);
    assert_eq!(scene.metric("overflow_messages", ""), 0.0);
}

#[tokio::test]
async fn a_full_subscription_loses_messages_and_counts_them_under_its_class() {
    let server = NatsServer::start("").await;
    let sender = Scene::to(&server).await;
    let small = settings(&[("servers", &url(&server)), ("subscription_capacity", "16")]);
    let receiver = Scene::connected(&small).await;
    let mut subscription = receiver.bus.subscribe("full".to_owned(), "narrow").await.expect("subscribed");
    receiver.settled().await;

    for _ in 0..64 {
        sender.bus.try_publish(message("full", "x")).expect("taken");
    }
    eventually("losses are counted", async || match receiver.metric("dropped_total", "narrow") {
        0.0 => Err("none yet".to_owned()),
        _ => Ok(()),
    })
    .await;

    assert_eq!(next(&mut subscription).await, "x");
    assert!(receiver.metric("client_events_total", "slow_consumer") > 0.0);
}

#[tokio::test]
async fn what_nats_cannot_carry_is_refused_and_counted() {
    let server = NatsServer::start("max_payload: 1024").await;
    let scene = Scene::to(&server).await;
    let publish = |subject: &str, bytes: usize| scene.bus.try_publish(message(subject, vec![0; bytes]));

    assert_eq!(scene.bus.max_payload(), 1024);
    assert_eq!(publish("size", 1025), Err(PublishError::TooBig));
    assert_eq!(publish("size", 1024), Ok(()));
    for subject in ["", "a b", "a\r\nPUB b 0\r\n", "a\tb"] {
        assert_eq!(publish(subject, 1), Err(PublishError::Subject), "{subject:?}");
    }
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Hf-Id", "x".repeat(1024).as_str());
    let headed = Outgoing { headers: Some(headers), ..message("size", "x") };
    assert_eq!(scene.bus.try_publish(headed), Err(PublishError::TooBig));
    assert_eq!(scene.metric("publish_refused_total", "too_big"), 2.0);
    assert_eq!(scene.metric("publish_refused_total", "subject"), 4.0);
}

#[tokio::test]
async fn members_of_a_group_share_the_messages_and_an_inbox_has_its_prefix() {
    let server = NatsServer::start("").await;
    let scene = Scene::connected(&settings(&[("servers", &url(&server)), ("inbox_prefix", "_hf.box")])).await;
    let group = || scene.bus.queue_subscribe("shared".to_owned(), "g".to_owned(), "shared");
    let (mut one, mut other) = (group().await.expect("subscribed"), group().await.expect("subscribed"));

    for _ in 0..32 {
        scene.bus.try_publish(message("shared", "x")).expect("taken");
    }
    for _ in 0..32 {
        bounded("one of them gets it", async {
            tokio::select! { got = one.next() => got, got = other.next() => got }
        })
        .await
        .expect("alive");
    }

    assert_eq!(scene.metric("received_total", "shared"), 32.0);
    assert!(scene.bus.new_inbox().starts_with("_hf.box."));
}

/// Flags of the section `bus`.
type Flags<'a> = &'a [(&'static str, &'a str)];

/// A user's NKEY made for this test: seed and public key.
const SEED: &str = "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y";
const PUBLIC: &str = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK";

#[tokio::test]
async fn each_kind_of_credential_opens_a_server_that_wants_it_and_a_wrong_one_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let seed_file = folder.path().join("seed");
    std::fs::write(&seed_file, format!("{SEED}\n")).expect("written");
    let seed_file = seed_file.to_str().expect("UTF-8");
    let nkey_server = format!("authorization {{ users: [ {{ nkey: {PUBLIC} }} ] }}");
    let cases: [(&str, Flags<'_>, Flags<'_>); 3] = [
        ("authorization { token: \"0123456789\" }", &[("token", "0123456789")], &[("token", "wrong")]),
        (
            "authorization { user: ana, password: \"s3cret\" }",
            &[("user", "ana"), ("password", "s3cret")],
            &[("user", "ana"), ("password", "wrong")],
        ),
        (&nkey_server, &[("nkey", seed_file)], &[]),
    ];
    for (server, right, wrong) in cases {
        let server = NatsServer::start(server).await;
        let address = url(&server);
        let with = |extra: &[(&'static str, &str)]| {
            let mut flags = vec![("servers", address.as_str()), ("reconnect_delay_max", "50ms")];
            flags.extend(extra);
            settings(&flags)
        };

        Scene::connected(&with(right)).await;
        let refused = Scene::connecting(&with(wrong)).await;

        // Refused, and tried again for ever.
        eventually("it is refused more than once", async || {
            match refused.metric("client_events_total", "client_error") {
                count if count >= 2.0 => Ok(()),
                count => Err(format!("{count} refusals")),
            }
        })
        .await;
        assert!(!refused.bus.status().borrow().connected);
    }
}

#[tokio::test]
async fn a_server_that_wants_our_certificate_gets_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::make(folder.path());
    let (cert, key) = (path(&certificate.certificate), path(&certificate.key));
    let server = NatsServer::start(&format!(
        "tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {cert:?}, verify: true }}"
    ))
    .await;
    let tls = [("tls.authorities", cert), ("tls.certificate", cert), ("tls.key", key), ("tls.required", "true")];
    let mut flags = vec![("servers", url(&server))];
    flags.extend(tls.map(|(name, value)| (name, value.to_owned())));
    let flags: Vec<_> = flags.iter().map(|(name, value)| (*name, value.as_str())).collect();

    let scene = Scene::connected(&settings(&flags)).await;

    let mut subscription = scene.bus.subscribe("tls".to_owned(), "tls").await.expect("subscribed");
    until_heard(&scene.bus, &mut subscription, "tls").await;
}

/// Says of itself that it is a nats-server of this version, and answers pings.
fn server_that_says(version: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let about = format!("{{\"server_id\":\"X\",\"version\":\"{version}\",\"max_payload\":1048576,\"proto\":1}}");
    let serve = move |stream: TcpStream| {
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(format!("INFO {about}\r\n").as_bytes())?;
        let mut line = String::new();
        while stream.read_line(&mut line)? > 0 {
            if line.starts_with("PING") {
                stream.get_mut().write_all(b"PONG\r\n")?;
            }
            line.clear();
        }
        Ok::<_, io::Error>(())
    };
    thread::spawn(move || listener.incoming().map_while(Result::ok).map(serve).for_each(drop));
    address
}

#[tokio::test]
async fn a_server_that_is_too_old_is_not_taken_for_a_connection() {
    let to = |address: SocketAddr| settings(&[("servers", &format!("nats://{address}"))]);
    let old = Scene::connecting(&to(server_that_says("2.9.25"))).await;
    let new = Scene::connected(&to(server_that_says("2.10.0"))).await;

    let mut status = old.bus.status();
    let seen =
        *bounded("it is looked at", status.wait_for(|status| status.too_old.is_some())).await.expect("the bus lives");

    let why = "nats-server 2.9 is not supported, 2.10 or newer is needed";
    assert_eq!((seen.connected, seen.unmet().as_deref()), (false, Some(why)), "{seen:?}");
    assert_eq!((new.bus.status().borrow().too_old, new.bus.status().borrow().unmet()), (None, None));
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[tokio::test]
async fn unusable_settings_are_an_error_that_names_the_setting() {
    let error = async |flags: &[(&str, &str)]| {
        let metrics = BusMetrics::new(&Registry::new()).expect("registered");
        let made = Bus::connect(&settings(flags), &metrics, "test").await;
        match made.expect_err("unusable") {
            BusError::Settings(error) => error.to_string(),
            other => panic!("{other}"),
        }
    };

    assert_eq!(error(&[("servers", "")]).await, "bus.servers names no server");
    assert_eq!(error(&[("user", "ana")]).await, "bus.user is set without bus.password");
    assert_eq!(error(&[("token", "a"), ("user", "b")]).await, "bus.token and bus.user are both set; choose one");
    assert_eq!(error(&[("nkey", "/nonexistent/seed")]).await, "cannot read bus.nkey from /nonexistent/seed");
    assert_eq!(error(&[("tls.key", "/nonexistent/key")]).await, "bus.tls.key is set without bus.tls.certificate");
}

#[test]
fn a_check_of_the_settings_finds_what_a_start_would_refuse() {
    let problems = |flags: &[(&str, &str)]| {
        let mut problems = Problems::default();
        settings(flags).check(&mut problems);
        problems.to_string()
    };

    assert_eq!(problems(&[]), "");
    assert_eq!(problems(&[("prefix", "acme.hf-2")]), "");
    assert_eq!(problems(&[("password", "x")]), "bus: bus.password is set without bus.user");
    for prefix in ["", "hf.", "hf.*", "h f", ".hf"] {
        assert!(problems(&[("prefix", prefix)]).starts_with("bus.prefix: must be"), "{prefix:?}");
    }
}
