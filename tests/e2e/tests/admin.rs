//! The admin listener, configuration, the echo route, the end of a process.

use std::process::Command;

use holdfast_harness::client::{Payload, RawFrame, opcode};
use holdfast_harness::{Claims, Cluster, Gateway, To, cluster, eventually, http, unique};
use serde_json::json;

#[tokio::test]
async fn admin_answers_on_its_own_listener_only() {
    let cluster = cluster::shared().await;
    let service = cluster.service().await;
    let (user, room) = (unique("ana"), unique("secret-room"));
    let client = cluster.gateway(0).connect(&user).await;
    client.join(&room).await;
    service.send(To::user(&user)).receipt().await;

    let gateways = cluster.gateways().iter().map(|gateway| (gateway.admin(), "holdfast_gateway_"));
    let routers = cluster.routers().iter().map(|router| (router.admin(), "holdfast_router_"));
    for (admin, prefix) in gateways.chain(routers) {
        for path in ["/livez", "/readyz"] {
            assert_eq!(http::get(admin, path).await.status, 200, "{prefix} {path}");
        }
        let metrics = http::get(admin, "/metrics").await;
        assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{metrics:?}");
        assert!(metrics.body.contains(prefix) && metrics.body.contains("# TYPE"), "{}", metrics.body);
        for key in [user.as_str(), &room, &client.id()] {
            assert!(!metrics.body.contains(key), "a label per user, room or connection: {key}");
        }
    }
    for gateway in cluster.gateways() {
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(http::get(gateway.listen(), path).await.status, 404, "public {path}");
        }
    }
}

#[tokio::test]
async fn ready_line_names_what_a_launcher_needs() {
    let cluster = cluster::shared().await;

    for (daemon, service, fields) in [
        (&**cluster.gateway(0), "gateway", &["node", "listen", "admin"][..]),
        (&**cluster.router(0), "router", &["node", "admin"][..]),
    ] {
        let ready = daemon.ready();
        assert_eq!(ready["service"], service, "{ready}");
        assert!(fields.iter().all(|field| ready[field].is_string()), "{ready}");
    }
}

#[tokio::test]
async fn gateway_without_a_router_is_live_and_not_ready_and_says_why() {
    let cluster = Cluster::builder().routers(0).start().await;
    let gateway = cluster.gateway(0);

    let unready = http::get(gateway.admin(), "/readyz").await;
    let refused = gateway.client().user("ana").refused().await;

    assert_eq!(http::get(gateway.admin(), "/livez").await.status, 200);
    assert!(unready.status == 503 && unready.body.contains("router"), "{unready:?}");
    assert!(refused.status == 503 && refused.header("retry-after").is_some(), "{refused:?}");
}

#[tokio::test]
async fn connection_that_cannot_be_welcomed_for_want_of_a_router_is_closed_with_1014() {
    let mut cluster = Cluster::builder().start().await;
    // By hand: the library behind the other clients does not know this code.
    let mut pending = cluster.gateway(0).client().raw().await;

    cluster.remove_router(0);
    eventually("the gateway misses its router", async || {
        let answer = http::get(cluster.gateway(0).admin(), "/readyz").await;
        if answer.status == 503 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let auth = json!({"type": "auth", "token": Claims::of("ana").sign()}).to_string();
    pending.send(RawFrame::new(opcode::TEXT, auth.as_bytes())).await;

    assert_eq!(pending.close_code().await, 1014);
}

#[tokio::test]
async fn processes_wait_for_a_bus_that_is_not_there_yet() {
    let mut cluster = Cluster::builder().routers(0).gateways(0).start().await;
    cluster.nats().stop();
    let command = cluster.command("holdfast-router", cluster.nats().address());
    let router = holdfast_harness::process::Process::spawn("early router", command);

    cluster.nats_mut().restart().await;

    let ready = router.ready().await.unwrap_or_else(|failed| panic!("{failed:?}"));
    assert_eq!(ready["service"], "router", "{ready}");
}

/// A variable and its value; `None` takes it away.
type Setting<'a> = (&'a str, Option<&'a str>);

#[tokio::test]
async fn start_is_refused_where_it_would_be_unsafe_or_wrong() {
    let cluster = Cluster::builder().routers(0).gateways(0).start().await;
    let dev = ("HOLDFAST_PROFILE", Some("dev"));
    let secret = "HOLDFAST_AUTH__JWT__SECRET";
    let cases: [(&[Setting<'_>], &str); 7] = [
        (&[dev, ("HOLDFAST_LISTEN__ADDRESS", Some("0.0.0.0:0"))], "dev"),
        (&[("HOLDFAST_PROFILE", Some("nonsense"))], "profile"),
        (&[(secret, None)], "auth"),
        (&[(secret, Some("short"))], "secret"),
        (&[("HOLDFAST_LISTEN__ADDRESS", Some("0.0.0.0:0"))], "plaintext"),
        (&[("HOLDFAST_DRAIN__DELAY", Some("5"))], "drain.delay"),
        (&[("HOLDFAST_TLS__CERTIFICATE", Some("/nowhere/at/all.pem"))], "tls"),
    ];

    for (settings, reason) in cases {
        let (status, output) = cluster.gateway_refuses(settings, &[]).await;

        assert!(!status.success(), "{settings:?}: {status}");
        assert!(output.contains(reason), "{settings:?}: {reason} is not in: {output}");
        assert!(!output.contains("panicked"), "{output}");
    }
}

#[tokio::test]
async fn address_in_use_and_unknown_flags_end_the_start_with_a_clear_line() {
    let cluster = Cluster::builder().start().await;
    let taken = cluster.gateway(0).listen().to_string();

    let (in_use, said) = cluster.gateway_refuses(&[("HOLDFAST_LISTEN__ADDRESS", Some(&taken))], &[]).await;
    assert!(!in_use.success() && said.contains(&taken), "{in_use}: {said}");
    for arguments in [&["--nonsense"][..], &["--config", "/nowhere.toml"], &["--drain.delay", "5"]] {
        let (status, said) = cluster.gateway_refuses(&[], arguments).await;
        assert!(!status.success() && !said.contains("panicked"), "{arguments:?}: {status}: {said}");
    }
}

#[tokio::test]
async fn processes_end_in_order_without_a_bus_too() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_DRAIN__DELAY", "100ms").start().await;
    let client = cluster.gateway(0).connect("ana").await;

    cluster.nats().stop();
    cluster.gateway(0).terminate();
    cluster.router(0).terminate();

    assert_eq!(client.ended().await.code, 1012);
    assert_eq!(cluster.gateway(0).ended().await.code(), Some(0));
    assert_eq!(cluster.router(0).ended().await.code(), Some(0));
}

#[tokio::test]
async fn bus_with_users_and_passwords_is_connected_to() {
    let users = r#"
        authorization { users = [{user: fleet, password: "s3cret"}, {user: guest, password: guest}] }
        no_auth_user: guest
    "#;
    let cluster = Cluster::builder()
        .nats_config(users)
        .setting("HOLDFAST_BUS__USER", "fleet")
        .setting("HOLDFAST_BUS__PASSWORD", "s3cret")
        .start()
        .await;

    cluster.gateway(0).connect("ana").await;

    assert!(!cluster.gateway(0).output().contains("s3cret") && !cluster.router(0).output().contains("s3cret"));
}

#[tokio::test]
async fn secret_of_digits_is_raw_bytes() {
    let secret = "0123456789012345678901234567890123456789";
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_AUTH__JWT__SECRET", secret).start().await;
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    let token = Claims::of("ana").sign_with(&jsonwebtoken::Header::default(), &key);

    cluster.gateway(0).client().bearer(&token).open().await;
}

#[tokio::test]
async fn variables_that_kubernetes_injects_only_warn() {
    let cluster = Cluster::builder()
        .setting("HOLDFAST_GATEWAY_PORT", "tcp://10.0.0.1:80")
        .setting("HOLDFAST_GATEWAY_SERVICE_HOST", "10.0.0.1")
        .setting("HOLDFAST_PORT", "tcp://10.0.0.2:1")
        .start()
        .await;

    cluster.gateway(0).connect("ana").await;

    assert!(cluster.gateway(0).tail(200).contains("HOLDFAST_GATEWAY_PORT"), "{}", cluster.gateway(0).tail(200));
}

#[tokio::test]
async fn flags_beat_the_environment_and_the_environment_beats_the_file() {
    let cluster = Cluster::builder().routers(0).gateways(0).start().await;
    let file = cluster.folder().join("holdfast.toml");
    std::fs::write(&file, "[drain]\ndelay = \"1s\"\nwindow = \"2s\"\n[roster]\nlinger = \"3s\"\n").expect("write");
    let print = |environment: &[(&str, &str)]| {
        let mut command: Command = cluster.command("holdfast-gateway", cluster.nats().address());
        command.args(["config", "print", "--config"]).arg(&file).envs(environment.iter().copied());
        let output = command.output().expect("run the gateway");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };

    let printed = print(&[("HOLDFAST_DRAIN__DELAY", "4s")]);

    let line =
        |key: &str| printed.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {printed}"));
    assert!(line("drain.delay").contains("4s") && line("drain.delay").contains("HOLDFAST_DRAIN__DELAY"), "{printed}");
    assert!(line("drain.window").contains("2s") && line("drain.window").contains("holdfast.toml"), "{printed}");
    assert!(!printed.contains(holdfast_harness::credentials::SECRET), "secrets are redacted: {printed}");
}

#[tokio::test]
async fn fleets_with_prefixes_of_their_own_share_a_bus() {
    let cluster = Cluster::builder().prefix("fleet-b").start().await;
    let service = cluster.service().await;
    let mut everything = service.listen("hf.>").await;
    let mut upstream = service.listen("fleet-b.up.chat.x").await;
    let client = cluster.gateway(0).connect("ana").await;

    client.join("r").await;
    assert_eq!(service.send(To::room("r")).receipt().await.matched, 1);
    client.ok(json!({"type": "send", "to": "x", "data": 1})).await;
    upstream.next().await;

    let strays = everything.so_far().await;
    assert!(strays.is_empty(), "{strays:?}");
}

#[tokio::test]
async fn unknown_key_in_a_file_is_named_with_the_nearest_known_one() {
    let cluster = Cluster::builder().routers(0).gateways(0).start().await;
    let file = cluster.folder().join("wrong.toml");
    std::fs::write(&file, "[drain]\ndelai = \"1s\"\n[lissten]\naddress = \"127.0.0.1:0\"\n").expect("write");
    let mut command = cluster.command("holdfast-gateway", cluster.nats().address());

    let output = command.args(["config", "check", "--config"]).arg(&file).output().expect("run the gateway");

    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    for word in ["delai", "delay", "lissten", "listen"] {
        assert!(said.contains(word), "all problems at once, {word}: {said}");
    }
}

#[tokio::test]
async fn default_configuration_passes_its_own_check() {
    let cluster = Cluster::builder().routers(0).gateways(0).start().await;

    for program in ["holdfast-gateway", "holdfast-router"] {
        let printed =
            cluster.command(program, cluster.nats().address()).args(["config", "default"]).output().expect("run");
        let file = cluster.folder().join(format!("{program}.toml"));
        std::fs::write(&file, &printed.stdout).expect("write");
        let mut command = cluster.command(program, cluster.nats().address());
        let check = command.args(["config", "check", "--config"]).arg(&file).output().expect("run");

        assert!(printed.status.success() && check.status.success(), "{program}: {check:?}");
    }
}

#[tokio::test]
async fn echo_route_is_off_by_default_and_echoes_without_credentials_where_configured() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_ECHO__PATH", "/echo").start().await;
    let shared = cluster::shared().await;
    let client = cluster.gateway(0).client().protocols(&[]).path("/echo").endpoint_default().await;

    client.tell("hi").await;
    client.tell_binary(&[0, 255]).await;
    client.tell(&"x".repeat(200_000)).await;
    client.tell("").await;

    assert_eq!(client.payload().await, Payload::text("hi"));
    assert_eq!(client.payload().await, Payload::Binary(vec![0, 255]));
    assert_eq!(client.payload().await, Payload::Text("x".repeat(200_000)));
    assert_eq!(client.payload().await, Payload::text(""));
    client.close().await;
    assert_eq!(shared.gateway(0).client().path("/echo").refused().await.status, 404);
}

async fn unready(gateway: &Gateway) {
    eventually("the gateway is unready", async || {
        let answer = http::get(gateway.admin(), "/readyz").await;
        if answer.status == 503 && answer.body.contains("drain") { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

#[tokio::test]
async fn sigterm_drains_with_goaway_then_1012_and_exits_0() {
    let cluster = Cluster::builder()
        .gateways(2)
        .gateway_setting("HOLDFAST_DRAIN__DELAY", "1s")
        .gateway_setting("HOLDFAST_DRAIN__WINDOW", "2s")
        .start()
        .await;
    let service = cluster.service().await;
    let gateway = cluster.gateway(0);
    let clients = [gateway.connect("ana").await, gateway.connect("ben").await];

    gateway.terminate();
    unready(gateway).await;
    let during = service.send(To::user("ana")).receipt().await;

    assert_eq!(during.matched, 1, "delivery goes on: {during:?}");
    for client in &clients {
        let goaway = client.frame("goaway", 0, |frame| frame["type"] == "goaway").await;
        assert!(goaway["retry_after"].is_u64() && goaway["reason"] == "drain", "{goaway}");
        assert_eq!(client.ended().await.code, 1012);
        assert_eq!(client.frames_of("goaway").len(), 1, "sent once");
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
    service.until_matched(&To::user("ana"), 0).await;
}

#[tokio::test]
async fn second_sigterm_closes_what_is_left_at_once() {
    let cluster = Cluster::builder()
        .gateway_setting("HOLDFAST_DRAIN__DELAY", "10m")
        .gateway_setting("HOLDFAST_DRAIN__WINDOW", "10m")
        .start()
        .await;
    let gateway = cluster.gateway(0);
    let client = gateway.connect("ana").await;
    let mut deaf = gateway.client().user("deaf").raw_welcomed().await;

    gateway.terminate();
    unready(gateway).await;
    gateway.terminate();

    assert_eq!(client.ended().await.code, 1012);
    assert_eq!(gateway.ended().await.code(), Some(0), "also where a client never answers the close");
    assert_eq!(deaf.close_code().await, 1012);
}

#[tokio::test]
async fn node_can_be_drained_and_uncordoned_by_command() {
    let cluster = Cluster::builder()
        .gateways(2)
        .gateway_setting("HOLDFAST_DRAIN__DELAY", "500ms")
        .gateway_setting("HOLDFAST_DRAIN__WINDOW", "1s")
        .start()
        .await;
    let service = cluster.operator().await;
    let gateway = cluster.gateway(0);
    let client = gateway.connect("ana").await;
    let node = To::Node(gateway.node().to_owned());

    service.ctl(node.clone(), &json!({"do": "drain"})).receipt().await;
    client.frame("goaway", 0, |frame| frame["type"] == "goaway").await;
    assert_eq!(client.ended().await.code, 1012);
    unready(gateway).await;
    service.ctl(node, &json!({"do": "uncordon"})).receipt().await;

    cluster.whole().await;
    gateway.connect("ana").await;
    assert!(gateway.is_running(), "a drained node does not end by itself");
}
