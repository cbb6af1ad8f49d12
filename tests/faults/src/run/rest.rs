//! The end of a run: the load ends, everybody gets the last message of each target, the fleet is asked who is there, half
//! of the clients leave, it is asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use futures_util::StreamExt as _;
use futures_util::stream;
use holdfast_harness::Service;
use holdfast_harness::wait::pause;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Run, ended};
use crate::history::{Farewell, History, Name, Presence, Target};
use crate::report::say;
use crate::workload::{MARKER, Phase, keep};

/// How long publishers may take to get their last answers.
const PUBLISHERS_PATIENCE: Duration = Duration::from_secs(90);
/// How long clients may take to have everything.
const REST_PATIENCE: Duration = Duration::from_secs(40);
/// How long the fleet may take to know who has left; the linger is 2 s.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(20);
/// Publishes of last messages under way at once.
const MARKS_AT_ONCE: usize = 16;
/// Users asked about, at most.
const USERS_ASKED_MAX: usize = 200;
/// How often the same is asked where an answer is incomplete.
const ATTEMPTS_MAX: usize = 10;
/// The stream of kept messages.
const STREAM: &str = "HF_KEPT";

impl Run {
    /// Brings the run to its end.
    pub(super) async fn rest(&mut self, publishers: JoinSet<()>, clients: JoinSet<()>) -> Result<History> {
        let recorder = std::sync::Arc::clone(&self.shared.recorder);
        self.shared.phase.send_replace(Phase::Rest);
        ended(publishers, PUBLISHERS_PATIENCE, "publishers").await?;
        let service = self.fleet.service(0).await;
        let targets: Vec<_> = self.shared.plan.targets().zip(0..).collect();
        let marks = stream::iter(targets)
            .map(|(target, number)| keep(&service, &self.shared, Name { source: MARKER, number }, target));
        marks.buffer_unordered(MARKS_AT_ONCE).collect::<Vec<()>>().await;
        self.everybody_has_all().await;
        let rest = recorder.now();
        say(&format!("{rest:>7} ms  at rest"));

        let mut presence = Vec::new();
        self.ask_all(&service, &mut presence, |_| true).await;
        let farewell = self.farewell(&service).await;
        self.ask_all(&service, &mut presence, |number| number % 2 == 0).await;
        let (stored, epoch) = stored(&service).await?;
        let end = recorder.now();
        self.shared.phase.send_replace(Phase::End);
        ended(clients, PUBLISHERS_PATIENCE, "clients").await?;
        let recorded = recorder.take();
        let history = History {
            clients: recorded.clients,
            publishes: recorded.publishes,
            stored,
            epoch: epoch.into(),
            stored_max: 100_000,
            windows: recorded.windows,
            heard: recorded.heard,
            presence,
            farewell,
            end,
            rest,
        };
        Ok(history)
    }

    async fn everybody_has_all(&self) {
        let deadline = Instant::now() + REST_PATIENCE;
        loop {
            let marked = (0..self.shared.clients()).all(|number| {
                let status = self.shared.status(number);
                let user = Target::User(self.shared.plan.users[number as usize]);
                let rooms = status.joined.iter().map(|room| Target::Room(*room));
                rooms.chain([user]).all(|target| status.marks.contains(&target))
            });
            if marked && self.missing_client(|_| true).is_none() {
                return;
            }
            if Instant::now() > deadline {
                // The checker will say who misses what.
                let missing = self.missing_client(|_| true);
                return say(&format!("not everybody has everything after {REST_PATIENCE:?}: {missing:?}"));
            }
            pause(Duration::from_millis(100)).await;
        }
    }

    /// Half of the clients leave.
    async fn farewell(&self, service: &Service) -> Farewell {
        self.shared.recorder.take_facts();
        let users = |odd: bool| {
            let users = self.shared.plan.users.iter().enumerate();
            users.filter(move |(number, _)| (number % 2 == 1) == odd).map(|(_, user)| *user).collect::<BTreeSet<_>>()
        };
        let gone: Vec<_> = users(true).difference(&users(false)).copied().collect();
        self.shared.phase.send_replace(Phase::Farewell);
        let stay = u64::from(self.shared.clients().div_ceil(2));
        let deadline = Instant::now() + FAREWELL_PATIENCE;
        let mut facts = Vec::new();
        while Instant::now() < deadline {
            facts.extend(self.shared.recorder.take_facts());
            let told: BTreeSet<_> = facts.iter().filter(|(_, online, _)| !online).map(|(user, _, _)| *user).collect();
            let stats = service.try_query("stats", "").await.unwrap_or_default();
            if stats["connections"] == stay && gone.iter().all(|user| told.contains(user)) {
                break;
            }
            pause(Duration::from_millis(100)).await;
        }
        // One more would be one too many; it has no time by which it must have come.
        pause(Duration::from_millis(500)).await;
        facts.extend(self.shared.recorder.take_facts());
        Farewell { gone, facts }
    }

    /// Asks about everything, and writes down the truth beside it.
    async fn ask_all(&self, service: &Service, presence: &mut Vec<Presence>, stays: impl Fn(u32) -> bool + Copy) {
        let numbers = || (0..self.shared.clients()).filter(move |number| stays(*number));
        let mut users: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
        let mut rooms: BTreeMap<u32, u64> = (0..self.shared.plan.rooms_count).map(|room| (room, 0)).collect();
        for number in numbers() {
            let status = self.shared.status(number);
            let user = users.entry(self.shared.plan.users[number as usize]).or_default();
            user.extend(status.connection.clone());
            for room in &status.joined {
                *rooms.entry(*room).or_default() += 1;
            }
        }
        let occupied = rooms.values().filter(|count| **count > 0).count();
        let answer = service.try_query("stats", "").await;
        let told = answer.as_ref().map(|stats| {
            format!("connections {}, users {}, rooms {}", stats["connections"], stats["users"], stats["rooms"])
        });
        presence.push(Presence {
            question: "stats".to_owned(),
            answer: told.unwrap_or_else(ToOwned::to_owned),
            truth: format!("connections {}, users {}, rooms {occupied}", numbers().count(), users.len()),
        });
        for (user, count) in &rooms {
            let target = Target::Room(*user);
            let question = format!("room.{}", holdfast_protocol::token::encode(&target.key()));
            let answer = asked(service, &question, "{\"limit\":1}").await;
            let answer = answer.map_or_else(|error| error, |room| room["count"].to_string());
            presence.push(Presence { question, answer, truth: count.to_string() });
        }
        let all_users = 0..self.shared.plan.users_count;
        for user in all_users.take(USERS_ASKED_MAX) {
            let question = format!("user.{}", Target::User(user).key());
            let answer = asked(service, &question, "").await;
            let answer = answer.map_or_else(|error| error, |user| connections(&user));
            let truth = users.get(&user).map(|ids| ids.iter().cloned().collect::<Vec<_>>().join(","));
            presence.push(Presence { question, answer, truth: truth.unwrap_or_default() });
        }
    }
}

/// An answer that no gateway was too late for: one that says so is incomplete by its own word.
async fn asked(service: &Service, question: &str, body: &str) -> Result<serde_json::Value, String> {
    for _ in 0..ATTEMPTS_MAX {
        match service.try_query(question, body).await {
            Ok(answer) if answer.get("late_nodes").is_some() => pause(Duration::from_millis(100)).await,
            other => return other,
        }
    }
    Err("always incomplete".to_owned())
}

/// The ids in an answer, in order.
fn connections(user: &serde_json::Value) -> String {
    let list = user["connections"].as_array().map_or(&[][..], Vec::as_slice);
    let ids: BTreeSet<_> = list.iter().filter_map(|one| one["connection"].as_str()).collect();
    ids.into_iter().collect::<Vec<_>>().join(",")
}

type Stored = BTreeMap<Target, Vec<(u64, Name)>>;

/// Reads the whole stream.
async fn stored(service: &Service) -> Result<(Stored, String)> {
    let context = jetstream::new(service.bus().clone());
    let mut stream = context.get_stream(STREAM).await.context("the stream")?;
    let info = stream.info().await.context("the stream's state")?.clone();
    let epoch = info.config.metadata.get("holdfast-epoch").cloned().unwrap_or_default();
    let config = jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(config).await.context("a consumer")?;
    let mut messages = consumer.messages().await.context("messages")?;
    let mut stored = Stored::new();
    for _ in 0..info.state.messages {
        let message = messages.next().await.context("the stream ended early")?.context("a stored message")?;
        let seq = message.info().map_err(|error| anyhow::anyhow!("{error}"))?.stream_sequence;
        let key = message.subject.rsplit_once('.').map_or("", |(_, token)| token);
        let key = holdfast_protocol::token::decode(key).ok().map(|key| key.to_string()).unwrap_or_default();
        let target = Target::room(&key).or_else(|| Some(Target::User(key.strip_prefix('u')?.parse().ok()?)));
        let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        let number = |field: &str| body[field].as_u64().and_then(|number| u32::try_from(number).ok());
        let name = number("s").and_then(|source| u16::try_from(source).ok()).zip(number("n"));
        if let (Some(target), Some((source, number))) = (target, name) {
            stored.entry(target).or_default().push((seq, Name { source, number }));
        }
    }
    Ok((stored, epoch))
}
