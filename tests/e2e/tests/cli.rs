//! The command line against a running fleet: what it prints, and the statuses scripts branch on.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::process::{Output, Stdio};

use holdfast_harness::wait::bounded;
use holdfast_harness::{Client, Cluster, cluster, credentials, deployed, eventually, unique};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Runs `holdfast` with these arguments and this standard input, to its end.
async fn holdfast<A: AsRef<OsStr>>(cluster: &Cluster, arguments: &[A], input: &str) -> Output {
    let mut command = Command::from(cluster.command("holdfast", cluster.nats().address()));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("start holdfast");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    // A command that does not read its input may be gone already.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    bounded("holdfast ends", child.wait_with_output()).await.expect("run holdfast")
}

/// Arguments with which the command line client connects as that user, whose rights are those of `deploy/nats`.
fn as_user(user: &str, arguments: &[&str]) -> Vec<String> {
    let (password, inboxes) = (deployed::password_of(user), deployed::inboxes_of(user));
    let connect = ["--bus-user", user, "--bus-password", &password, "--inbox-prefix", &inboxes];
    [arguments, &connect].concat().into_iter().map(str::to_owned).collect()
}

/// The same for one that is to succeed with a line of JSON.
async fn answer<A: AsRef<OsStr> + Debug>(cluster: &Cluster, arguments: &[A]) -> Value {
    let output = holdfast(cluster, arguments, "").await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}"))).collect()
}

#[tokio::test]
async fn send_prints_the_receipt_and_reaches_the_client() {
    let cluster = cluster::shared().await;
    let user = unique("ana@example.com");
    let client: Client = cluster.gateway(0).connect(&user).await;

    let receipt = answer(&cluster, &["send", "user", &user, r#"{"hi":1}"#, "--type", "greeting", "--json"]).await;

    assert_eq!((&receipt["matched"], &receipt["offline"]), (&json!(1), &json!(false)), "{receipt}");
    let message = client.message().await;
    assert_eq!((message.data, message.event.as_deref()), (json!({"hi": 1}), Some("greeting")));
}

#[tokio::test]
async fn kept_send_says_where_it_is_stored() {
    let cluster = cluster::shared().await;
    let user = unique("ana");

    let first = holdfast(&cluster, &["send", "user", &user, "x", "--keep"], "").await;

    let said = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(first.status.success() && said.starts_with("stored in HF_KEPT at "), "{first:?}");
}

#[tokio::test]
async fn doctor_finds_a_whole_fleet_good() {
    let cluster = cluster::shared().await;

    for role in ["operator", "service", "gateway", "router"] {
        let found = answer(&cluster, &as_user(role, &["doctor", "--role", role, "--json"])).await;
        let bad: Vec<_> =
            found["findings"].as_array().into_iter().flatten().filter(|it| it["state"] == "bad").collect();
        assert!(bad.is_empty() && found["good"] == true, "{role}: {found}");
    }
}

#[tokio::test]
async fn doctor_gives_a_restored_stream_another_epoch_and_the_fleet_notices() {
    let cluster = Cluster::builder().routers(2).gateways(1).start().await;
    let client: Client = cluster.gateway(0).connect("ana").await;
    client.join("r").await;
    let keep = async |data: &str| {
        let stored = holdfast(&cluster, &["send", "room", "r", data, "--keep"], "").await;
        assert!(stored.status.success(), "{stored:?}");
    };
    keep("1").await;
    client.until_messages(1).await;
    let old = client.frames_of("message").remove(0);

    let said = answer(&cluster, &as_user("router", &["doctor", "--new-epoch", "--json"])).await;

    assert_eq!(said["before"], old["epoch"], "{said}");
    let other: Client = cluster.gateway(0).connect("ben").await;
    eventually("positions are of the new epoch", async || {
        let ok = other.ok(json!({ "type": "join", "room": "elsewhere" })).await;
        other.ok(json!({ "type": "leave", "room": "elsewhere" })).await;
        if ok["position"]["epoch"] == said["epoch"] { Ok(()) } else { Err(ok.to_string()) }
    })
    .await;
    keep("2").await;
    client.until_messages(2).await;
    let new = client.frames_of("message").remove(1);
    assert_eq!((&new["epoch"], &new["data"]), (&said["epoch"], &json!(2)), "{new}");
    let since = json!({ "epoch": old["epoch"], "seq": old["seq"] });
    let ok = other.ok(json!({ "type": "join", "room": "r", "since": since })).await;
    assert_eq!((&ok["recovered"], &ok["first"]["epoch"]), (&json!(false), &said["epoch"]), "{ok}");
    client.ping().await;
    assert_eq!(client.data(), [json!(1), json!(2)], "what was there before is no news");
}

#[tokio::test]
async fn doctor_names_what_is_denied_and_who_is_missing() {
    let config = r#"authorization { users: [
        { user: full, password: pw-of-a-test },
        { user: poor, password: pw-of-a-test, permissions: {
            publish: { deny: ["hf.ctl.>"] }, subscribe: { allow: ["_INBOX.>"] } } } ] }"#;
    let cluster = Cluster::builder().routers(0).gateways(0).nats_config(config).start().await;
    let doctor =
        async |user| holdfast(&cluster, &["doctor", "--bus-user", user, "--bus-password", "pw-of-a-test"], "").await;

    let poor = doctor("poor").await;
    let wrong = doctor("nobody").await;

    let said = String::from_utf8_lossy(&poor.stdout).into_owned();
    assert_eq!(poor.status.code(), Some(1), "{said}");
    for line in [
        "BAD   permissions: may not hear hf.event.>",
        "BAD   permissions: may not publish on hf.ctl.user.holdfast-doctor",
        "BAD   routers: ",
        "good  connection: ",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("hf.send.user"), "{said}");
    let said = String::from_utf8_lossy(&wrong.stdout).into_owned();
    assert!(
        wrong.status.code() == Some(1) && said.contains("BAD   connection") && !said.contains("pw-of-a-test"),
        "{said}"
    );
}

#[tokio::test]
async fn doctor_looks_at_the_settings_of_a_service_and_the_certificates_in_them() {
    let cluster = Cluster::builder().tls().start().await;
    let folder = cluster.folder().to_owned();
    let certificate = cluster.certificate();
    let good = folder.join("good.toml");
    let tls = format!("certificate = {:?}\nkey = {:?}", certificate.certificate, certificate.key);
    let jwt = "[auth.jwt]\nsecret = \"0123456789abcdef0123456789abcdef\"\n";
    std::fs::write(&good, format!("{jwt}[tls]\n{tls}\n")).expect("written");
    let wrong = folder.join("wrong.toml");
    std::fs::write(&wrong, format!("{jwt}[listen]\naddres = \"127.0.0.1:1\"\n")).expect("written");
    let lost = folder.join("lost.toml");
    std::fs::write(&lost, format!("{jwt}[tls]\ncertificate = \"/nowhere\"\nkey = \"/nowhere\"\n")).expect("written");
    let doctor = async |file: &std::path::Path| {
        let file = file.display().to_string();
        let arguments = as_user("gateway", &["doctor", "--role", "gateway", "--config", &file, "--json"]);
        holdfast(&cluster, &arguments, "").await
    };

    let found = doctor(&good).await;
    let said: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    let about = |what: &str| -> Vec<String> {
        let list = said["findings"].as_array().into_iter().flatten().filter(|it| it["what"] == what);
        list.map(|it| format!("{}: {}", it["state"].as_str().unwrap_or("-"), it["said"].as_str().unwrap_or("-")))
            .collect()
    };
    assert!(about("configuration")[0].starts_with("good: "), "{said}");
    assert!(about("certificate")[0].contains(" days"), "{said}");
    assert!(found.status.success(), "{said}");

    for (file, wanted) in [(&wrong, "did you mean listen.address"), (&lost, "cannot read /nowhere")] {
        let found = doctor(file).await;
        let said = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(found.status.code() == Some(1) && said.contains(wanted), "{wanted}: {said}");
        assert!(!said.contains("0123456789abcdef"), "{said}");
    }
}

#[tokio::test]
async fn nobody_no_router_and_nonsense_have_statuses_of_their_own() {
    // Another prefix is denied where there are permissions, and then nobody answers.
    let cluster = Cluster::builder().open_bus().start().await;
    let nobody = unique("nobody");
    for (arguments, status) in [
        (&["send", "user", &nobody, "x"][..], 3),
        (&["query", "user", &nobody], 3),
        (&["query", "room", &nobody], 3),
        (&["query", "connection", &nobody], 3),
        (&["send", "user", &nobody, "x", "--prefix", "other"], 4),
        (&["send", "user", &nobody], 2),
        (&["query", "nodes", "--server", "nats://127.0.0.1:1"], 1),
    ] {
        let output = holdfast(&cluster, arguments, "").await;

        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
    }
}

#[tokio::test]
async fn commands_and_queries_tell_of_the_same_room() {
    let cluster = cluster::shared().await;
    let (user, room) = (unique("ben"), unique("cli/room"));
    let client = cluster.gateway(1).connect(&user).await;

    let receipt = answer(&cluster, &["ctl", "user", &user, "join", &room, "--json"]).await;

    assert_eq!(receipt["written"], 1, "{receipt}");
    let members = holdfast(&cluster, &["query", "room", &room, "--every", "--json"], "").await;
    assert_eq!(
        lines(&members).iter().map(|member| member["connection"].clone()).collect::<Vec<_>>(),
        [json!(client.id())]
    );
}

#[tokio::test]
async fn a_minted_token_opens_a_connection_that_joins_hears_and_closes() {
    let cluster = cluster::shared().await;
    let (user, room) = (unique("cid"), unique("cli/talk"));
    let minted = ["token", "--secret", credentials::SECRET, "--user", &user, "--rooms", "cli/*", "--json"];
    let token = answer(&cluster, &minted).await;
    let url = format!("ws://{}/ws/chat", cluster.gateway(0).listen());
    let token = token["token"].as_str().expect("a token");

    let input = format!("/join {room}\n/join elsewhere\n/ping\n");
    let output = holdfast(&cluster, &["connect", &url, "--token", token, "--json"], &input).await;

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut said: Vec<_> = lines(&output).iter().map(|frame| (frame["type"].clone(), frame["id"].clone())).collect();
    assert_eq!(said.remove(0).0, "welcome");
    // Answers may overtake one another.
    said.sort_by_key(|(_, id)| id.as_u64());
    assert_eq!(said, [(json!("ok"), json!(1)), (json!("error"), json!(2)), (json!("pong"), json!(3))]);
}

#[tokio::test]
async fn a_bad_token_is_refused_with_a_reason() {
    let cluster = cluster::shared().await;
    let url = format!("ws://{}/ws/chat", cluster.gateway(0).listen());

    let output = holdfast(&cluster, &["connect", &url, "--token", "bad"], "").await;

    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("401"), "{output:?}");
}
