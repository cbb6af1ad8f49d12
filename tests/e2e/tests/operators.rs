//! What operators ask of one process over its admin listener, by HTTP and by `holdfast admin`.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;

use holdfast_harness::client::HttpSession;
use holdfast_harness::http::{self, Response};
use holdfast_harness::process::Process;
use holdfast_harness::wait::bounded;
use holdfast_harness::{Cluster, Folder, cluster, eventually, unique};
use serde_json::{Value, json};
use tokio::process::Command;

const TOKEN: &str = "a-token-of-the-tests";

async fn ask(admin: SocketAddr, path: &str) -> Value {
    let answer = http::get(admin, path).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {answer:?}"))
}

async fn post(admin: SocketAddr, path: &str, fields: &str, body: &str) -> Response {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n{fields}");
    http::exchange(admin, format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes()).await
}

/// Runs `holdfast admin` against this listener; its status and what it printed.
async fn holdfast(cluster: &Cluster, admin: SocketAddr, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::from(cluster.command("holdfast", cluster.nats().address()));
    command.arg("admin").args(arguments).args(["--url", &format!("http://{admin}")]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = bounded("holdfast ends", command.output()).await.expect("run holdfast");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said.into_owned())
}

fn ids(page: &Value) -> Vec<String> {
    let list = page["connections"].as_array().expect("a list");
    let mut ids: Vec<_> = list.iter().map(|entry| entry["connection"].as_str().expect("an id").to_owned()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn connections_are_found_by_user_room_and_address() {
    let cluster = cluster::shared().await;
    let gateway = cluster.gateway(0);
    let (user, room) = (unique("ana"), unique("ops/room & more"));
    let (first, second) = (gateway.connect(&user).await, gateway.connect(&user).await);
    first.join(&room).await;
    let mut both = vec![first.id(), second.id()];
    both.sort_unstable();
    let admin = gateway.admin();

    let of_user = ask(admin, &format!("/admin/connections?user={user}")).await;
    assert_eq!(ids(&of_user), both);
    let escaped = room.replace('/', "%2F").replace(' ', "+").replace('&', "%26");
    let in_room = ask(admin, &format!("/admin/connections?room={escaped}")).await;
    assert_eq!(ids(&in_room), [first.id()]);
    let from_here = ask(admin, &format!("/admin/connections?user={user}&address=127.0.0.1")).await;
    assert_eq!(ids(&from_here), both);
    let from_elsewhere = ask(admin, "/admin/connections?address=192.0.2.1").await;
    assert_eq!((ids(&from_elsewhere).len(), &from_elsewhere["next"]), (0, &Value::Null));

    let one = ask(admin, &format!("/admin/connections/{}", first.id())).await;
    assert_eq!((&one["user"], &one["rooms"], &one["state"]), (&json!(user), &json!([room]), &json!("open")), "{one}");
    assert_eq!((&one["address"], &one["transport"]), (&json!("127.0.0.1"), &json!("ws")), "{one}");
}

#[tokio::test]
async fn address_behind_a_trusted_proxy_is_the_clients() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_LISTEN__TRUSTED_PROXIES", "127.0.0.0/8").start().await;
    let gateway = cluster.gateway(0);
    let client = gateway.client().user("ana").header("X-Forwarded-For", "192.0.2.7").open().await;

    let found = ask(gateway.admin(), "/admin/connections?address=192.0.2.7").await;

    assert_eq!(ids(&found), [client.id()]);
}

#[tokio::test]
async fn session_over_http_has_the_address_of_who_began_it() {
    let cluster = Cluster::builder()
        .gateway_setting("HOLDFAST_SOCKJS__PATHS", "/ws")
        .gateway_setting("HOLDFAST_LISTEN__TRUSTED_PROXIES", "127.0.0.2/32")
        .start()
        .await;
    let gateway = cluster.gateway(0);
    let session = HttpSession::new("/ws").user("ana");
    assert_eq!(session.frame(gateway.listen()).await, "o");

    let found = ask(gateway.admin(), "/admin/connections?address=127.0.0.1").await;

    assert_eq!(ids(&found).len(), 1, "{found}");
    assert_eq!(found["connections"][0]["address"], "127.0.0.1", "{found}");
}

#[tokio::test]
async fn pages_are_bounded_and_lead_through_all_connections() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_LISTEN__SHARDS", "2").start().await;
    let gateway = cluster.gateway(0);
    let mut clients = Vec::new();
    for _ in 0..7 {
        clients.push(gateway.connect("ana").await);
    }
    let mut wanted: Vec<_> = clients.iter().map(|client| client.id()).collect();
    wanted.sort_unstable();

    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = ask(gateway.admin(), &format!("/admin/connections?limit=3{after}")).await;
        let found = ids(&page);
        assert!(found.len() <= 3, "{page}");
        seen.extend(found);
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    seen.sort_unstable();
    assert_eq!(seen, wanted);

    let (status, said) =
        holdfast(&cluster, gateway.admin(), &["connections", "--limit", "2", "--every", "--json"]).await;
    assert_eq!((status, said.lines().count()), (Some(0), 7), "{said}");
    for wrong in ["limit=0", "limit=1001", "limit=x", "after=1", "address=here", "user=a&room=b", "colour=red"] {
        let refused = http::get(gateway.admin(), &format!("/admin/connections?{wrong}")).await;
        assert_eq!(refused.status, 400, "{wrong}: {refused:?}");
    }
}

#[tokio::test]
async fn one_connection_is_closed_with_the_code_and_the_reason_given() {
    let cluster = cluster::shared().await;
    let gateway = cluster.gateway(0);
    let user = unique("ana");
    let (gone, stays) = (gateway.connect(&user).await, gateway.connect(&user).await);

    let path = format!("/admin/connections/{}/disconnect", gone.id());
    assert_eq!(http::get(gateway.admin(), &path).await.status, 404, "an order by GET");
    let refused = post(gateway.admin(), &path, "", r#"{"code":1001}"#).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    let done = post(gateway.admin(), &path, "", r#"{"code":4001,"reason":"signed in elsewhere"}"#).await;

    assert_eq!((done.status, done.body.trim()), (200, r#"{"connections":1}"#));
    let ended = gone.ended().await;
    assert_eq!((ended.code, ended.reason.as_str()), (4001, "signed in elsewhere"));
    stays.ping().await;
    eventually("the node forgets it", async || {
        let (status, said) = holdfast(&cluster, gateway.admin(), &["disconnect", &gone.id()]).await;
        if status == Some(3) { Ok(()) } else { Err(said) }
    })
    .await;
}

#[tokio::test]
async fn node_is_drained_uncordoned_and_shed_by_its_own_listener() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_DRAIN__WINDOW", "60s").start().await;
    let gateway = cluster.gateway(0);
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(gateway.connect("ana").await);
    }

    let (status, said) = holdfast(&cluster, gateway.admin(), &["drain"]).await;
    assert_eq!((status, said.trim()), (Some(0), "10 connections concerned"));
    eventually("unready for the drain", async || {
        let ready = http::get(gateway.admin(), "/readyz").await;
        if ready.status == 503 && ready.body.contains("drain") { Ok(()) } else { Err(ready.body) }
    })
    .await;
    let (status, _) = holdfast(&cluster, gateway.admin(), &["uncordon"]).await;
    assert_eq!(status, Some(0));
    eventually("ready again", async || {
        let ready = http::get(gateway.admin(), "/readyz").await;
        if ready.status == 200 { Ok(()) } else { Err(ready.body) }
    })
    .await;
    let (_, said) = holdfast(&cluster, gateway.admin(), &["shed", "50"]).await;
    assert_eq!(said.trim(), "5 connections concerned");
}

#[tokio::test]
async fn profile_tells_of_threads_tasks_and_memory() {
    let cluster = cluster::shared().await;
    let _client = cluster.gateway(0).connect(&unique("ana")).await;

    let gateway = ask(cluster.gateway(0).admin(), "/admin/profile").await;
    let router = ask(cluster.router(0).admin(), "/admin/profile").await;

    let names: Vec<_> = gateway["threads"].as_array().into_iter().flatten().map(|thread| &thread["name"]).collect();
    assert!(names.contains(&&json!("shard-0")), "{gateway}");
    let held = gateway["shards"].as_array().into_iter().flatten().filter_map(|shard| shard["connections"].as_u64());
    assert!(held.sum::<u64>() > 0, "{gateway}");
    for profile in [gateway, router] {
        assert!(profile["memory"]["resident_bytes"].as_u64() > Some(1 << 20), "{profile}");
        assert_eq!(profile["tasks"]["signals"], 1, "{profile}");
    }
}

#[tokio::test]
async fn admin_wants_its_token_wherever_there_is_one_and_takes_up_a_new_one() {
    let folder = Folder::new();
    let file = folder.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).expect("written");
    let path = file.display().to_string();
    let cluster = Cluster::builder()
        .gateway_setting("HOLDFAST_ADMIN__ADDRESS", "0.0.0.0:0")
        .gateway_setting("HOLDFAST_ADMIN__TOKEN_FILE", &path)
        .start()
        .await;
    let admin = SocketAddr::from(([127, 0, 0, 1], cluster.gateway(0).admin().port()));

    assert_eq!(http::get(admin, "/admin/connections").await.status, 401);
    assert_eq!(post(admin, "/admin/drain", "Authorization: Bearer wrong\r\n", "").await.status, 401);
    for open in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(http::get(admin, open).await.status, 200, "{open}");
    }
    let (status, said) = holdfast(&cluster, admin, &["connections", "--admin-token-file", &path, "--json"]).await;
    assert_eq!((status, said.trim()), (Some(3), r#"{"connections":[],"next":null}"#));

    fs::write(&file, "another-token-of-the-tests").expect("written");
    eventually("the new token is good", async || {
        let bearer = ("Authorization", "Bearer another-token-of-the-tests");
        let answer = http::request(admin, "GET", "/admin/connections", &[bearer]).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let old = http::request(admin, "GET", "/admin/connections", &[("Authorization", &format!("Bearer {TOKEN}"))]).await;
    assert_eq!(old.status, 401);
    assert!(!cluster.gateway(0).output().contains(TOKEN));
}

#[tokio::test]
async fn admin_off_loopback_without_a_token_has_no_api_and_cannot_be_made_to() {
    let cluster = Cluster::builder().gateway_setting("HOLDFAST_ADMIN__ADDRESS", "0.0.0.0:0").start().await;
    let admin = SocketAddr::from(([127, 0, 0, 1], cluster.gateway(0).admin().port()));

    assert_eq!(http::get(admin, "/admin/connections").await.status, 403);
    assert_eq!(post(admin, "/admin/drain", "", "").await.status, 403);
    assert_eq!(http::get(admin, "/readyz").await.status, 200);

    let (status, said) = cluster.gateway_refuses(&[("HOLDFAST_ADMIN__API", Some("on"))], &[]).await;
    assert!(!status.success() && said.contains("admin.token: is required"), "{said}");
    let (status, said) = cluster.gateway_refuses(&[("HOLDFAST_ADMIN__TOKEN", Some("short"))], &[]).await;
    assert!(!status.success() && said.contains("admin.token: must be at least 16 bytes"), "{said}");
    assert!(!said.contains("short"), "{said}");
}

#[tokio::test]
async fn process_that_a_service_manager_started_tells_it_how_it_is() {
    let cluster = Cluster::builder().gateways(0).start().await;
    for program in ["holdfast-gateway", "holdfast-router"] {
        let folder = Folder::new();
        let path = folder.path().join("notify");
        let socket = tokio::net::UnixDatagram::bind(&path).expect("bound");
        let mut command = cluster.command(program, cluster.nats().address());
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000").env("HOLDFAST_DRAIN__DELAY", "0s");
        let process = Process::spawn(program, command);
        let heard = async |wanted: &str| {
            let mut space = [0; 512];
            loop {
                let read = bounded(wanted, socket.recv(&mut space)).await.expect("heard");
                let said = String::from_utf8_lossy(space.get(..read).expect("within it")).into_owned();
                if said.lines().any(|line| line == wanted) {
                    return said;
                }
            }
        };

        heard("READY=1").await;
        heard("WATCHDOG=1").await;
        heard("WATCHDOG=1").await;
        process.terminate();
        let said = heard("STOPPING=1").await;
        let micros = said.lines().find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC="));
        assert!(micros.and_then(|micros| micros.parse().ok()) >= Some(10_000_000_u64), "{program}: {said}");
        assert!(process.ended().await.success(), "{program}");
    }
}
