//! What is taken up anew while a process runs, and what becomes of clients meanwhile: nothing.

use std::fs;

use holdfast_harness::certificate::Certificate;
use holdfast_harness::metrics::Metrics;
use holdfast_harness::process::Process;
use holdfast_harness::{Cluster, Gateway, eventually};
use rustls::version::TLS13;

async fn reloads(gateway: &Gateway, what: &str, result: &str) -> f64 {
    let metrics = Metrics::scrape(gateway.admin()).await;
    metrics.value("holdfast_reloads_total", &[("what", what), ("result", result)]).expect("a series from the start")
}

async fn until_reloads(gateway: &Gateway, what: &str, result: &str, wanted: f64) {
    eventually(&format!("{what} was loaded anew ({result}) {wanted} times"), async || {
        let seen = reloads(gateway, what, result).await;
        if seen >= wanted { Ok(()) } else { Err(format!("{seen}")) }
    })
    .await;
}

#[tokio::test]
async fn new_certificate_is_shown_without_a_restart_and_a_bad_one_is_not() {
    let cluster = Cluster::builder().tls().start().await;
    let gateway = cluster.gateway(0);
    let before = gateway.client().tls(cluster.certificate().client(&[&TLS13])).user("ana").open().await;
    let folder = cluster.certificate().certificate.parent().expect("a folder").to_owned();
    let expiry = Metrics::scrape(gateway.admin()).await;
    assert!(expiry.value("holdfast_gateway_tls_certificate_expiry_timestamp_seconds", &[]) > Some(1.7e9));

    let renewed = Certificate::make(&folder);
    until_reloads(gateway, "certificate", "ok", 1.0).await;
    let after = gateway.client().tls(renewed.client(&[&TLS13])).user("ben").open().await;

    fs::write(&renewed.certificate, "no certificate").expect("written");
    until_reloads(gateway, "certificate", "failed", 1.0).await;
    let still = gateway.client().tls(renewed.client(&[&TLS13])).user("eve").open().await;

    for client in [before, after, still] {
        client.ping().await;
    }
}

#[tokio::test]
async fn sighup_loads_everything_anew_and_ends_nobody() {
    let cluster = Cluster::builder().tls().start().await;
    let gateway = cluster.gateway(0);
    let client = gateway.client().tls(cluster.certificate().client(&[&TLS13])).user("ana").open().await;

    gateway.signal("HUP");

    until_reloads(gateway, "certificate", "ok", 1.0).await;
    until_reloads(gateway, "log_level", "ok", 1.0).await;
    client.ping().await;
}

#[tokio::test]
async fn level_of_the_log_follows_its_file() {
    let cluster = Cluster::builder().gateways(0).start().await;
    let folder = holdfast_harness::Folder::new();
    let file = folder.path().join("holdfast.toml");
    fs::write(&file, "[log]\nlevel = \"error\"\n").expect("written");
    let mut command = cluster.command("holdfast-gateway", cluster.nats().address());
    command.arg("--config").arg(&file).env_remove("HOLDFAST_LOG__LEVEL");
    let gateway = Process::spawn("gateway with a file", command);
    gateway.ready().await.expect("ready");
    assert!(!gateway.output().contains("Gateway is up"), "{}", gateway.output());

    fs::write(&file, "[log]\nlevel = \"info\"\n").expect("written");

    eventually("lines of level info", async || {
        let output = gateway.output();
        if output.contains("Loaded anew") { Ok(()) } else { Err(output) }
    })
    .await;
}
