//! What a real Prometheus says: its targets, its answers, its alerts.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use holdfast_harness::http;
use serde_json::Value;

/// One Prometheus.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prometheus(pub(crate) SocketAddr);

impl Prometheus {
    async fn get(&self, path: &str) -> Result<Value, String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: prometheus\r\nConnection: close\r\n\r\n");
        let response = http::try_exchange(self.0, request.as_bytes()).await.map_err(|error| error.to_string())?;
        let value: Value =
            serde_json::from_str(&response.body).map_err(|error| format!("{error}: {}", response.body))?;
        if value["status"] == "success" { Ok(value["data"].clone()) } else { Err(value.to_string()) }
    }

    /// Each target as `job at address`, if it is up, or what is wrong with it.
    pub(crate) async fn targets(&self) -> Result<Vec<String>, String> {
        let data = self.get("/api/v1/targets").await?;
        let targets = data["activeTargets"].as_array().ok_or("no targets")?;
        targets
            .iter()
            .map(|target| {
                let name = format!("{} at {}", target["labels"]["job"], target["labels"]["instance"]).replace('"', "");
                if target["health"] == "up" { Ok(name) } else { Err(format!("{name}: {}", target["lastError"])) }
            })
            .collect()
    }

    /// The values of a query that are numbers.
    pub(crate) async fn query(&self, query: &str) -> Result<Vec<f64>, String> {
        let encoded: String = query.bytes().map(encode).collect();
        let data = self.get(&format!("/api/v1/query?query={encoded}")).await?;
        let results = data["result"].as_array().ok_or("no result")?;
        let values = results.iter().filter_map(|result| result["value"][1].as_str()?.parse::<f64>().ok());
        Ok(values.filter(|value| !value.is_nan()).collect())
    }

    /// The names of the alerts that fire.
    pub(crate) async fn firing(&self) -> Result<BTreeSet<String>, String> {
        let data = self.get("/api/v1/alerts").await?;
        let alerts = data["alerts"].as_array().ok_or("no alerts")?;
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        Ok(firing.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect())
    }
}

fn encode(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}
