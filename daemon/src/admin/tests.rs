//! The admin listener over a real socket.

use super::*;
use holdfast_harness::http;
use prometheus::IntCounter;

fn settings() -> AdminSettings {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    AdminSettings { address, api: AdminApi::Auto, token: None, token_file: None }
}

async fn admin(readiness: &Readiness, tasks: &Tasks) -> SocketAddr {
    let registry = Registry::new();
    let counter = IntCounter::new("holdfast_sample_total", "A sample.").expect("a good name");
    registry.register(Box::new(counter)).expect("registered");
    let own = settings();
    let admin = Admin::bind(&own, registry, readiness.clone()).await.expect("bound");
    let address = admin.address();
    let answer = |call: Call| async move {
        match (call.writes, call.path().as_slice()) {
            (false, ["who", name]) => Answer::ok(&serde_json::json!({"is": name, "age": call.parameter("age")})),
            (true, ["who"]) => match call.body::<serde_json::Value>() {
                Ok(body) => Answer::ok(&body),
                Err(refusal) => refusal,
            },
            _ => Answer::nothing(),
        }
    };
    let api = Api::new(tasks, answer, || async { serde_json::json!({"more": true}) });
    admin.api(Guard::fixed(&own), api).serve(tasks);
    address
}

#[tokio::test]
async fn readiness_names_each_reason_and_follows_the_conditions() {
    let (readiness, tasks) = (Readiness::new(), Tasks::new());
    let bus = readiness.condition("bus", "not connected");
    let router = readiness.condition("router", "no router");
    let address = admin(&readiness, &tasks).await;

    let neither = http::get(address, "/readyz").await;
    bus.met();
    let one = http::get(address, "/readyz").await;
    router.met();
    let both = http::get(address, "/readyz").await;
    router.noted("none but one");
    let noted = http::get(address, "/readyz").await;

    assert_eq!((neither.status, neither.body.as_str()), (503, "not ready\nbus: not connected\nrouter: no router\n"));
    assert_eq!((one.status, one.body.as_str()), (503, "not ready\nrouter: no router\n"));
    assert_eq!((both.status, both.body.as_str()), (200, "ready\n"));
    assert_eq!((noted.status, noted.body.as_str()), (200, "ready\nnote: router: none but one\n"));
}

#[tokio::test]
async fn it_serves_liveness_and_metrics_and_nothing_else() {
    let (readiness, tasks) = (Readiness::new(), Tasks::new());
    readiness.condition("bus", "not connected");
    let address = admin(&readiness, &tasks).await;

    let metrics = http::get(address, "/metrics").await;

    assert_eq!(http::get(address, "/livez").await.status, 200);
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    assert!(metrics.body.contains("# TYPE holdfast_sample_total counter"), "{}", metrics.body);
    assert_eq!(http::get(address, "/").await.status, 404);
    assert_eq!(http::get(address, "/livez/").await.status, 404);
    assert_eq!(http::request(address, "POST", "/livez", &[]).await.status, 405);
}

fn post(address: SocketAddr, path: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: {address}\r\n{fields}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

#[tokio::test]
async fn operators_ask_with_get_and_order_with_post() {
    let (readiness, tasks) = (Readiness::new(), Tasks::new());
    let address = admin(&readiness, &tasks).await;

    let asked = http::get(address, "/admin/who/ana?age=7%2B1").await;
    assert_eq!((asked.status, asked.body.as_str()), (200, "{\"age\":\"7+1\",\"is\":\"ana\"}\n"));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    let ordered = http::exchange(address, &post(address, "/admin/who", "", "[1]")).await;
    assert_eq!((ordered.status, ordered.body.as_str()), (200, "[1]\n"));

    assert_eq!(http::get(address, "/admin/who").await.status, 404, "an order by GET");
    assert_eq!(http::get(address, "/admin/").await.status, 404);
    assert_eq!(http::request(address, "PUT", "/admin/who", &[]).await.status, 405);
    assert_eq!(http::exchange(address, &post(address, "/admin/who", "", "[")).await.status, 400);
    let long = "1".repeat(4097);
    assert_eq!(http::exchange(address, &post(address, "/admin/who", "", &long)).await.status, 413);
    let page = post(address, "/admin/who", "Origin: http://evil.example\r\n", "[1]");
    assert_eq!(http::exchange(address, &page).await.status, 403, "a page in a browser");
}

#[tokio::test]
async fn each_process_has_a_profile() {
    let (readiness, tasks) = (Readiness::new(), Tasks::new());
    let address = admin(&readiness, &tasks).await;

    let profile: serde_json::Value =
        serde_json::from_str(&http::get(address, "/admin/profile").await.body).expect("JSON");

    assert_eq!((&profile["more"], &profile["tasks"]["admin"]), (&true.into(), &1.into()), "{profile}");
    for seconds in ["0", "11", "x"] {
        let refused = http::get(address, &format!("/admin/profile?seconds={seconds}")).await;
        assert_eq!(refused.status, 400, "{seconds}");
    }
}

#[tokio::test]
async fn it_stops_with_the_tasks() {
    let (readiness, tasks) = (Readiness::new(), Tasks::new());
    let address = admin(&readiness, &tasks).await;
    assert_eq!(http::get(address, "/livez").await.status, 200);

    tasks.finish(Duration::from_secs(10)).await.expect("finished");

    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_names_it() {
    let (readiness, tasks) = (Readiness::new(), Tasks::new());
    let settings = AdminSettings { address: admin(&readiness, &tasks).await, ..settings() };

    let error = Admin::bind(&settings, Registry::new(), readiness).await.expect_err("taken");

    assert_eq!(error.to_string(), format!("cannot listen on {} for admin requests", settings.address));
}
