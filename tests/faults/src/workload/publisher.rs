//! Publishers: every message has a name, a time and an answer, and is written down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message, StatusCode};
use futures_util::StreamExt as _;
use holdfast_harness::Service;
use holdfast_harness::wait::pause;
use holdfast_protocol::token;
use serde_json::Value;
use tokio::time::{Instant, interval};

use super::frames::payload;
use super::{Phase, Shared};
use crate::history::{Answer, Kind, Name, Publish, Receipt, Target};
use crate::random::Random;

/// The publisher of the last message of each target.
pub const MARKER: u16 = u16::MAX;
/// A receipt has not come after this.
const RECEIPT_TIMEOUT_MS: u64 = 4_000;
/// A receipt that waits for clients has not come after this.
const ACKED_TIMEOUT_MS: u64 = 9_000;
/// The stream has not answered after this: ask again.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// The stream never answers.
const STORE_PATIENCE: Duration = Duration::from_secs(45);

fn subject(kind: &str, target: Target) -> String {
    let what = match target {
        Target::User(_) => "user",
        Target::Room(_) => "room",
    };
    format!("hf.{kind}.{what}.{}", token::encode(&target.key()))
}

/// Publishes live messages while the load lasts, `per_second` of them: half without an answer, some to be acknowledged.
pub async fn publish_live(source: u16, per_second: f64, service: Service, shared: Arc<Shared>, mut random: Random) {
    let client = service.bus().clone();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(format!("{inbox}.*")).await.expect("subscribe to answers");
    client.flush().await.expect("subscribe to answers");
    let mut waiting: BTreeMap<u32, (Publish, bool)> = BTreeMap::new();
    let mut number = 0;
    let mut next = interval(Duration::from_secs_f64(1.0 / per_second));
    loop {
        tokio::select! {
            _ = next.tick() => {
                let now = shared.recorder.now();
                give_up(&mut waiting, now, &shared);
                match shared.now() {
                    Phase::Start => continue,
                    Phase::Load => {}
                    _ if waiting.is_empty() => return,
                    _ => continue,
                }
                let target = shared.plan.target(&mut random);
                let name = Name { source, number };
                number += 1;
                let (asks, acked) = (random.chance(50), random.chance(20) && matches!(target, Target::User(_)));
                let mut headers = HeaderMap::new();
                if acked {
                    headers.insert("Hf-Receipt", "acked");
                }
                let (subject, body) = (subject("send", target), payload(name));
                let at = shared.recorder.now();
                let publish = Publish { name, target, kind: Kind::Live, at, answered_at: at, answer: Answer::NotAsked };
                // Only a client that is closed refuses.
                if asks || acked {
                    waiting.insert(name.number, (publish, acked));
                    let reply = format!("{inbox}.{}", name.number);
                    let sent = client.publish_with_reply_and_headers(subject, reply, headers, body.into());
                    sent.await.expect("publish");
                } else {
                    client.publish(subject, body.into()).await.expect("publish");
                    shared.recorder.publish(publish);
                }
            }
            Some(message) = answers.next() => {
                let number = message.subject.rsplit_once('.').and_then(|(_, number)| number.parse::<u32>().ok());
                if let Some((mut publish, acked)) = number.and_then(|number| waiting.remove(&number)) {
                    publish.answered_at = shared.recorder.now();
                    publish.answer = answer(&message, acked);
                    shared.recorder.publish(publish);
                }
            }
        }
    }
}

/// Writes down those that wait no longer.
fn give_up(waiting: &mut BTreeMap<u32, (Publish, bool)>, now: u64, shared: &Shared) {
    let late =
        |publish: &Publish, acked: bool| now > publish.at + if acked { ACKED_TIMEOUT_MS } else { RECEIPT_TIMEOUT_MS };
    let given_up: Vec<_> =
        waiting.iter().filter(|(_, (publish, acked))| late(publish, *acked)).map(|(number, _)| *number).collect();
    for number in given_up {
        if let Some((mut publish, _)) = waiting.remove(&number) {
            publish.answered_at = now;
            publish.answer = Answer::None("silence".to_owned());
            shared.recorder.publish(publish);
        }
    }
}

fn answer(message: &Message, acked: bool) -> Answer {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Answer::None("no responders".to_owned());
    }
    let Ok(value) = serde_json::from_slice::<Value>(&message.payload) else {
        return Answer::None(format!("no receipt: {:?}", message.headers));
    };
    let number = |field: &str| value[field].as_u64().unwrap_or(0);
    Answer::Receipt(Receipt {
        matched: number("matched"),
        written: number("written"),
        queued: number("queued"),
        dropped: number("dropped"),
        acked: acked.then(|| number("acked")),
        late_nodes: number("late_nodes"),
        offline: value["offline"] == true,
    })
}

/// Publishes kept messages while the load lasts, one after the other.
pub async fn publish_kept(source: u16, per_second: f64, service: Service, shared: Arc<Shared>, mut random: Random) {
    let mut next = interval(Duration::from_secs_f64(1.0 / per_second));
    next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        next.tick().await;
        match shared.now() {
            Phase::Start => continue,
            Phase::Load => {}
            Phase::Rest | Phase::Farewell | Phase::End => return,
        }
        let target = shared.plan.target(&mut random);
        keep(&service, &shared, Name { source, number }, target).await;
        number += 1;
    }
}

/// Publishes one kept message until the stream has it.
pub async fn keep(service: &Service, shared: &Shared, name: Name, target: Target) {
    let (subject, body) = (subject("keep", target), payload(name));
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", format!("{}-{}", name.source, name.number).as_str());
    let (at, deadline) = (shared.recorder.now(), Instant::now() + STORE_PATIENCE);
    let answer = loop {
        let request = service.bus().request_with_headers(subject.clone(), headers.clone(), body.clone().into());
        let why = match tokio::time::timeout(STORE_TIMEOUT, request).await {
            Ok(Ok(message)) => match serde_json::from_slice::<Value>(&message.payload) {
                Ok(value) => match value["seq"].as_u64().filter(|seq| *seq > 0) {
                    Some(seq) => break Answer::Stored(seq),
                    None => value.to_string(),
                },
                Err(error) => error.to_string(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "silence".to_owned(),
        };
        if Instant::now() > deadline {
            break Answer::None(why);
        }
        pause(Duration::from_millis(50)).await;
    };
    let answered_at = shared.recorder.now();
    shared.recorder.publish(Publish { name, target, kind: Kind::Kept, at, answered_at, answer });
}
