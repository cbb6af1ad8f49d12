//! `holdfast doctor --new-epoch`: another epoch for the stream of kept messages, after it was put back from a backup.
//!
//! What was stored behind the backup is gone, and its sequences will be given again: with the old epoch a client that has
//! seen one would not be told. Speaks to JetStream's public API alone; routers and gateways notice by themselves.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use holdfast_protocol::kept::{EPOCH_FROM_METADATA, EPOCH_METADATA, stream_info, stream_update};
use serde_json::{Value, json};

use crate::args::Global;
use crate::bus::{Bus, Outgoing};
use crate::exit::{Exit, Failure, Outcome};
use crate::output;

/// Gives the stream a new epoch, and prints both.
///
/// # Errors
/// There is no such stream, or it may not be changed.
pub(crate) async fn renew(global: &Global, stream: &str) -> Outcome {
    let bus = Bus::connect(&global.bus).await?;
    let info = ask(&bus, stream_info(stream), Bytes::new()).await?;
    let mut config = info["config"].clone();
    let metadata = config.as_object_mut().context("the stream has no configuration")?;
    let metadata = metadata.entry("metadata").or_insert_with(|| json!({}));
    let before = metadata[EPOCH_METADATA].as_str().unwrap_or_default().to_owned();
    // The client's inboxes are unguessable, each another one.
    let inbox = bus.client.new_inbox();
    let epoch = inbox.rsplit('.').next().unwrap_or(&inbox);
    metadata[EPOCH_METADATA] = json!(epoch);
    metadata[EPOCH_FROM_METADATA] = json!(info["state"]["last_seq"].as_u64().unwrap_or(0).to_string());
    ask(&bus, stream_update(stream), config.to_string().into()).await?;
    let said = if global.json {
        json!({"stream": stream, "epoch": epoch, "before": before}).to_string()
    } else {
        format!("{stream} has the epoch {epoch} now, before {before}; clients are told recovered:false")
    };
    output::line(&said)?;
    Ok(Exit::Done)
}

async fn ask(bus: &Bus, subject: String, payload: Bytes) -> Result<Value, Failure> {
    let answer = bus.ask(&Outgoing { subject, headers: Vec::new(), payload }, Duration::ZERO).await?.json()?;
    match answer["error"]["description"].as_str() {
        Some(error) => Err(Failure::new(Exit::Failed, format!("JetStream: {error}"))),
        None => Ok(answer),
    }
}
