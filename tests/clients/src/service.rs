//! The domain service behind the programs: what each message upstream makes it do.
//!
//! | upstream | effect |
//! |---|---|
//! | `room.<room>` | the payload to the room |
//! | `kept.<room>` | the same, kept |
//! | `acked.<room>` | the payload to the room; when those who can have acknowledged it, the count to the sender |
//! | `unacked.<room>` | the same for a payload that nobody will acknowledge: it waits for that no longer than a moment |
//! | `hex` | the payload in hex, to the sender |
//! | `kick` | the connection is ended with 4100 |
//! | `stall`, `heal` | the network in front of a gateway that beats each second holds all bytes, and lets them go |
//!
//! What comes to endpoint `echo` goes back to its sender, and whoever connects as `closer` is sent away with 3000.
//!
//! A request on `who` is answered with the sender's user, one on `double` with the payload twice, one on `fail` with an
//! error.

use std::sync::Arc;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use holdfast_harness::proxy::{Link, Proxy};
use holdfast_harness::service::{Responder, header};
use holdfast_harness::{Service, To};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// How long an acknowledgement that is to come may take: less than the programs wait for the count.
const ACKED_MS: &str = "12000";
/// How long one is waited for that is not to come.
const UNACKED_MS: &str = "1000";

/// Serves while it lives.
pub(crate) struct Running {
    _tasks: JoinSet<()>,
    _requests: Responder,
}

/// Starts to serve.
pub(crate) async fn start(service: Service, stalling: Arc<Proxy>) -> Running {
    let service = Arc::new(service);
    let mut upstream = service.listen("hf.up.chat.>").await;
    let mut echoes = service.listen("hf.up.echo.>").await;
    let mut closers = service.listen("hf.event.connection.opened.closer").await;
    let requests = service.serve("hf.req.chat.>", |message| async move { Some(answer(&message)) }).await;
    let mut tasks = JoinSet::new();
    let (echoing, closing) = (Arc::clone(&service), Arc::clone(&service));
    tasks.spawn(async move {
        while let Some(message) = upstream.take().await {
            act(&service, &stalling, message).await;
        }
    });
    tasks.spawn(async move {
        while let Some(message) = echoes.take().await {
            let sender = To::connection(header(&message, "Hf-Connection").unwrap_or_default());
            echoing.send(sender).payload(message.payload).publish().await;
        }
    });
    tasks.spawn(async move {
        while let Some(fact) = closers.take().await {
            let fact: Value = serde_json::from_slice(&fact.payload).unwrap_or_default();
            let connection = To::connection(fact["connection"].as_str().unwrap_or_default());
            let command = json!({"do": "disconnect", "code": 3000, "reason": "Go away!"});
            drop(closing.ctl(connection, &command).receipt().await);
        }
    });
    Running { _tasks: tasks, _requests: requests }
}

fn answer(message: &Message) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    let user = header(message, "Hf-User").unwrap_or_default();
    let body = match message.subject.as_str() {
        "hf.req.chat.who" => json!({ "user": user }).to_string().into(),
        "hf.req.chat.double" => [&message.payload[..], &message.payload[..]].concat().into(),
        _ => {
            headers.insert("Nats-Service-Error-Code", "418");
            headers.insert("Nats-Service-Error", "no tea here");
            Bytes::new()
        }
    };
    (headers, body)
}

async fn act(service: &Service, stalling: &Proxy, message: Message) {
    let path = message.subject.strip_prefix("hf.up.chat.").unwrap_or_default();
    let (what, rest) = path.split_once('.').unwrap_or((path, ""));
    let room = || To::raw(&format!("room.{rest}"));
    let sender = To::user(header(&message, "Hf-User").unwrap_or_default());
    match what {
        "room" => drop(service.send(room()).payload(message.payload).receipt().await),
        "kept" => {
            service.bus().publish(service.subject(&format!("keep.room.{rest}")), message.payload).await.ok();
        }
        "acked" | "unacked" => {
            let sent = service.send(room()).payload(message.payload).header("Hf-Receipt", "acked");
            let timeout = if what == "acked" { ACKED_MS } else { UNACKED_MS };
            let receipt = sent.header("Hf-Timeout", timeout).receipt().await;
            let count = receipt.acked.to_string();
            drop(service.send(sender).payload(count).header("Hf-Destination", "/queue/acked").receipt().await);
        }
        "hex" => {
            let hex: String = message.payload.iter().map(|byte| format!("{byte:02x}")).collect();
            let reply = json!(hex).to_string();
            drop(service.send(sender).payload(reply).header("Hf-Destination", "/queue/hex").receipt().await);
        }
        "kick" => {
            let connection = To::connection(header(&message, "Hf-Connection").unwrap_or_default());
            let command = json!({"do": "disconnect", "code": 4100, "reason": "out"});
            drop(service.ctl(connection, &command).receipt().await);
        }
        "stall" => stalling.set(Link::Stalled),
        "heal" => stalling.set(Link::Open),
        _ => {}
    }
}
