//! The stream of kept messages: made where it is missing, brought to our settings when this router begins to listen, and
//! looked at every other second. Works beside the routing and never holds it up; without JetStream it tries for ever.
//!
//! The stream's epoch is text in its metadata: random, so that a stream made anew is told from the one before.

mod listening;
mod seen;
mod setback;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, Republish, StorageType};
use async_nats::jetstream::{self, ErrorCode};
use holdfast_daemon::admin::Condition;
use holdfast_daemon::bus::Bus;
use holdfast_daemon::logging::chain;
use holdfast_daemon::random;
use holdfast_protocol::kept::{EPOCH_FROM_METADATA, EPOCH_METADATA};
use holdfast_protocol::position::is_epoch;
use holdfast_protocol::subject::Subjects;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{KeptSettings, Storage};
pub use listening::{KeptShell, Listening};
use seen::{Incarnations, Seen};
use setback::{Heard, HeardBefore, Setback};

/// How long JetStream may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks at a stream that is there.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After the first failure; doubled with each further one, …
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// … up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// As the server counts.
const NANOS_PER_MS: i128 = 1_000_000;

/// What looks are asked for by: how often we have begun to listen, and how often a look was asked for besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    listening: u64,
    again: u64,
}

/// What a look at the stream found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// What had been asked for before the look.
    pub asked: Asked,
    /// The stream; `None` where there is no answer.
    pub found: Option<Found>,
}

/// The stream as a look found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its incarnation.
    pub epoch: String,
    /// The sequence of its last message.
    pub last: u64,
    /// When it was made, Unix milliseconds by its own clock.
    pub created_ms: u64,
}

/// Why there is no stream to speak of.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("cannot look at the stream")]
    Look(#[source] jetstream::context::GetStreamError),
    #[error("cannot make the stream")]
    Make(#[source] jetstream::context::CreateStreamError),
    #[error("cannot bring the stream to the settings")]
    Update(#[source] jetstream::context::UpdateStreamError),
    #[error("the stream was taken away meanwhile")]
    Gone,
    #[error("the stream tells of less than it had")]
    Behind,
}

/// Sees to the stream.
#[derive(Debug)]
pub struct Keeper {
    context: jetstream::Context,
    wanted: Config,
    condition: Condition,
    up: IntGauge,
    failures: IntCounter,
    /// The listening for which the stream was compared with the settings.
    compared: Option<u64>,
    seen: Incarnations,
    setback: Setback,
    heard: Arc<Heard>,
    complaint: String,
}

impl Keeper {
    /// Of the stream that the settings describe.
    pub fn new(
        bus: &Bus,
        subjects: &Subjects,
        settings: &KeptSettings,
        condition: Condition,
        up: IntGauge,
        failures: IntCounter,
    ) -> Self {
        let mut context = jetstream::new(bus.client().clone());
        context.set_timeout(ANSWER_WITHIN);
        condition.noted("no stream yet");
        let wanted = wanted(subjects, settings);
        Self {
            context,
            wanted,
            condition,
            up,
            failures,
            compared: None,
            seen: Incarnations::default(),
            setback: Setback::default(),
            heard: Arc::default(),
            complaint: String::new(),
        }
    }

    /// Looks at the stream for ever: at once when it is `asked` to, and from time to time.
    pub async fn run(mut self, mut asks: watch::Receiver<Asked>, looks: watch::Sender<Look>) {
        let mut retry_after = RETRY_AFTER;
        loop {
            let asked = *asks.borrow_and_update();
            let found = self.look(asked.listening).await;
            let pause = if found.is_some() { LOOK_EVERY } else { retry_after };
            retry_after = if found.is_some() { RETRY_AFTER } else { (retry_after * 2).min(RETRY_AFTER_MAX) };
            looks.send_replace(Look { asked, found });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = asks.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn look(&mut self, listening: u64) -> Option<Found> {
        match self.find(listening).await {
            Ok(found) => {
                if !self.complaint.is_empty() {
                    self.complaint.clear();
                    tracing::info!(stream = self.wanted.name, "The stream of kept messages is there");
                }
                self.up.set(1);
                self.condition.met();
                Some(found)
            }
            Err(error) => {
                let complaint = chain(&error).to_string();
                self.failures.inc();
                self.up.set(0);
                self.condition.noted(complaint.clone());
                if complaint != self.complaint {
                    tracing::warn!(error = %complaint, stream = self.wanted.name, "No stream of kept messages");
                    self.complaint = complaint;
                }
                None
            }
        }
    }

    async fn find(&mut self, listening: u64) -> Result<Found, StreamError> {
        let (asked_at, heard) = (Instant::now(), self.heard.so_far());
        let info = match self.info().await? {
            Some(info) => info,
            None => self.make().await?,
        };
        let went_back = self.went_back(asked_at, heard, &info)?;
        let info = self.compare(listening, info, went_back).await?;
        // What others have made of it meanwhile counts, not what we meant it to be.
        let epoch = epoch_of(&info.config).ok_or(StreamError::Gone)?.to_owned();
        let last = info.state.last_sequence;
        let created_ns = info.created.unix_timestamp_nanos();
        self.seen.note(Seen { epoch: epoch.clone(), last, created_ns });
        let created_ms = u64::try_from(created_ns / NANOS_PER_MS).unwrap_or(0);
        Ok(Found { epoch, last, created_ms })
    }

    /// Whether the stream has lost its end, so that its sequences come a second time.
    ///
    /// # Errors
    /// It tells of less than was seen, but others may know better: there is nothing to go by.
    fn went_back(&mut self, asked_at: Instant, heard: HeardBefore, info: &Info) -> Result<bool, StreamError> {
        let last = info.state.last_sequence;
        let Some(seen) = epoch_of(&info.config).and_then(|epoch| self.seen.with_more(epoch, last)) else {
            self.setback.refuted();
            return Ok(false);
        };
        let is_another = seen.created_ns != info.created.unix_timestamp_nanos();
        if is_another || self.setback.told(asked_at, heard, last) {
            tracing::warn!(seen = seen.last, last, "The stream of kept messages has lost its end");
            self.setback.refuted();
            return Ok(true);
        }
        Err(StreamError::Behind)
    }

    async fn info(&self) -> Result<Option<Info>, StreamError> {
        match self.context.get_stream(&self.wanted.name).await {
            Ok(stream) => Ok(Some(stream.cached_info().clone())),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(cause) if cause.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
                _ => Err(StreamError::Look(error)),
            },
        }
    }

    async fn make(&self) -> Result<Info, StreamError> {
        match self.context.create_stream(with_epoch(self.wanted.clone())).await {
            Ok(stream) => {
                tracing::info!(stream = self.wanted.name, "Made the stream of kept messages");
                Ok(stream.cached_info().clone())
            }
            Err(error) => match error.kind() {
                // Another router was faster.
                CreateStreamErrorKind::JetStream(cause) if cause.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                    self.info().await?.ok_or(StreamError::Gone)
                }
                _ => Err(StreamError::Make(error)),
            },
        }
    }

    /// Brings the stream to the settings, once for each listening: routers whose settings differ must not quarrel.
    async fn compare(&mut self, listening: u64, info: Info, went_back: bool) -> Result<Info, StreamError> {
        let mut config = if self.compared == Some(listening) {
            info.config.clone()
        } else {
            brought_to(&self.wanted, info.config.clone())
        };
        if went_back || epoch_of(&config).is_none() {
            config = with_epoch(config);
        }
        if config != info.config {
            tracing::info!(stream = self.wanted.name, "Bringing the stream of kept messages to the settings");
            self.context.update_stream(&config).await.map_err(StreamError::Update)?;
            let info = self.info().await?.ok_or(StreamError::Gone)?;
            self.compared = Some(listening);
            return Ok(info);
        }
        self.compared = Some(listening);
        Ok(info)
    }
}

fn wanted(subjects: &Subjects, settings: &KeptSettings) -> Config {
    let storage = match settings.storage {
        Storage::File => StorageType::File,
        Storage::Memory => StorageType::Memory,
    };
    Config {
        name: settings.stream.clone(),
        description: Some("Kept messages of Holdfast".to_owned()),
        subjects: vec![subjects.keep_all()],
        max_age: settings.max_age,
        max_messages_per_subject: i64::try_from(settings.max_per_subject).unwrap_or(i64::MAX),
        max_bytes: i64::try_from(settings.max_bytes.get()).unwrap_or(i64::MAX),
        num_replicas: settings.replicas,
        storage,
        discard: DiscardPolicy::Old,
        duplicate_window: settings.duplicate_window,
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        republish: Some(Republish {
            source: subjects.keep_all(),
            destination: subjects.kept_all(),
            headers_only: false,
        }),
        ..Config::default()
    }
}

/// `present` with what is ours to say; its metadata and all else stay. How it is stored cannot be changed.
fn brought_to(wanted: &Config, present: Config) -> Config {
    Config {
        subjects: wanted.subjects.clone(),
        max_age: wanted.max_age,
        max_messages_per_subject: wanted.max_messages_per_subject,
        max_bytes: wanted.max_bytes,
        num_replicas: wanted.num_replicas,
        discard: wanted.discard,
        duplicate_window: wanted.duplicate_window,
        deny_delete: wanted.deny_delete,
        deny_purge: wanted.deny_purge,
        allow_direct: wanted.allow_direct,
        republish: wanted.republish.clone(),
        ..present
    }
}

fn epoch_of(config: &Config) -> Option<&str> {
    config.metadata.get(EPOCH_METADATA).map(String::as_str).filter(|epoch| is_epoch(epoch))
}

fn with_epoch(mut config: Config) -> Config {
    config.metadata.remove(EPOCH_FROM_METADATA);
    config.metadata.insert(EPOCH_METADATA.to_owned(), format!("{:016x}", random::number()));
    config
}
