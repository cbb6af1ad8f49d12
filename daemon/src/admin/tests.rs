//! The admin listener over a real socket.

use super::*;
use holdfast_harness::http;
use prometheus::IntCounter;

async fn admin(readiness: &Readiness, tasks: &Tasks) -> SocketAddr {
    let registry = Registry::new();
    let counter = IntCounter::new("holdfast_sample_total", "A sample.").expect("a good name");
    registry.register(Box::new(counter)).expect("registered");
    let settings = AdminSettings { address: SocketAddr::from(([127, 0, 0, 1], 0)) };
    let admin = Admin::bind(&settings, registry, readiness.clone()).await.expect("bound");
    let address = admin.address();
    admin.route("/extra", Arc::new(|_| plain(StatusCode::ACCEPTED, "more"))).serve(tasks);
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
async fn it_serves_liveness_metrics_and_the_services_own_paths_and_nothing_else() {
    let (readiness, tasks) = (Readiness::new(), Tasks::new());
    readiness.condition("bus", "not connected");
    let address = admin(&readiness, &tasks).await;

    let metrics = http::get(address, "/metrics").await;

    assert_eq!(http::get(address, "/livez").await.status, 200);
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    assert!(metrics.body.contains("# TYPE holdfast_sample_total counter"), "{}", metrics.body);
    assert_eq!(http::get(address, "/extra").await.status, 202);
    assert_eq!(http::get(address, "/").await.status, 404);
    assert_eq!(http::get(address, "/livez/").await.status, 404);
    assert_eq!(http::request(address, "POST", "/livez", &[]).await.status, 405);
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
    let settings = AdminSettings { address: admin(&readiness, &tasks).await };

    let error = Admin::bind(&settings, Registry::new(), readiness).await.expect_err("taken");

    assert_eq!(error.to_string(), format!("cannot listen on {} for admin requests", settings.address));
}
