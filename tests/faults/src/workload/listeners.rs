//! Domain services that listen: one for each server of the bus, each on its own server alone, so that what reached any
//! server is heard by somebody.

use std::sync::Arc;

use futures_util::StreamExt as _;
use holdfast_harness::Service;
use serde::Deserialize;

use super::Recorder;

/// The payload of the workload's sends upstream.
#[derive(Deserialize)]
struct Sent {
    c: u32,
    n: u32,
}

/// Hears what clients send.
pub async fn listen_upstream(listener: u8, service: Service, recorder: Arc<Recorder>) {
    let mut subscription = service.bus().subscribe("hf.up.chat.>").await.expect("subscribe");
    while let Some(message) = subscription.next().await {
        if let Ok(Sent { c, n }) = serde_json::from_slice(&message.payload) {
            recorder.heard(listener, c, n);
        }
    }
}

/// Hears who comes and who goes.
pub async fn listen_facts(service: Service, recorder: Arc<Recorder>) {
    let mut subscription = service.bus().subscribe("hf.event.user.>").await.expect("subscribe");
    while let Some(message) = subscription.next().await {
        let Some(rest) = message.subject.strip_prefix("hf.event.user.") else { continue };
        let Some((what, user)) = rest.split_once('.') else { continue };
        let user = user.strip_prefix('u').and_then(|number| number.parse().ok());
        let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        if let (Some(user), Some(id)) = (user, body["id"].as_str()) {
            recorder.fact(user, what == "online", id);
        }
    }
}
