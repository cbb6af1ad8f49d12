//! Reads messages back from the stream whose republished copies did not come. Asks the stream's leader, message by
//! message: a replica may not have the last ones yet, and holes are small.

use std::collections::HashMap;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageError, RawMessageErrorKind, Stream};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use holdfast_daemon::bus::Bus;
use holdfast_daemon::logging::chain;
use holdfast_daemon::shutdown::Tasks;
use holdfast_protocol::fact::rfc3339;
use holdfast_protocol::kept::{LAST_SEQUENCE, SEQUENCE, SUBJECT, TIME_STAMP};
use holdfast_protocol::subject::Subjects;
use tokio::sync::watch;

use crate::config::KeptSettings;
use crate::core::Router;
use crate::core::event::{Event, Now, Request};
use crate::pump::follow;

/// How long the leader may take for one message.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Bytes of payload that one read may take; beyond it is not whole.
const READ_BYTES_MAX: usize = 16 << 20;

/// What is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Names the read; 0 for none.
    pub number: u64,
    /// The first sequence.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// A message as its republished copy would have been.
#[derive(Debug, Clone)]
struct Copied {
    subject: String,
    headers: Vec<(String, String)>,
    payload: Bytes,
}

/// What came of a read.
#[derive(Debug, Clone, Default)]
struct Came {
    number: u64,
    whole: bool,
    copies: Vec<Copied>,
}

/// The routing's end: asks for reads, and hands on what came of them.
pub struct ReadBack {
    wanted: watch::Sender<Wanted>,
    came: BoxStream<'static, Came>,
}

impl std::fmt::Debug for ReadBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadBack").field("wanted", &*self.wanted.borrow()).finish_non_exhaustive()
    }
}

impl ReadBack {
    /// Starts what reads.
    pub fn start(bus: &Bus, subjects: &Subjects, settings: &KeptSettings, tasks: &Tasks) -> Self {
        let ((wanted, asks), (found, came)) = (watch::channel(Wanted::default()), watch::channel(Came::default()));
        let mut context = jetstream::new(bus.client().clone());
        context.set_timeout(ANSWER_WITHIN);
        let (name, filter) = (settings.stream.clone(), subjects.keep_all());
        let stopped = tasks.stopped();
        tasks.spawn("read_back", async move {
            tokio::select! {
                () = serve(&context, &name, &filter, asks, found) => {}
                () = stopped => {}
            }
        });
        Self { wanted, came: follow(came) }
    }

    /// Asks for a read; one that is under way is given up.
    pub fn read(&self, wanted: Wanted) {
        self.wanted.send_replace(wanted);
    }

    /// Hands on what came; true where anything did.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Now, router: &mut Router) -> bool {
        let mut any = false;
        while let Poll::Ready(Some(came)) = self.came.poll_next_unpin(cx) {
            any = true;
            came.hand_to(now, router);
        }
        any
    }
}

impl Came {
    fn hand_to(&self, now: Now, router: &mut Router) {
        let headers: Vec<Vec<(&str, &str)>> = self
            .copies
            .iter()
            .map(|copy| copy.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
            .collect();
        let headers: Vec<&[(&str, &str)]> = headers.iter().map(Vec::as_slice).collect();
        let copies: Vec<_> = self
            .copies
            .iter()
            .zip(&headers)
            .map(|(copy, headers)| Request { subject: &copy.subject, reply: None, headers, payload: &copy.payload })
            .collect();
        router.apply(now, Event::KeptRead { number: self.number, whole: self.whole, copies: &copies });
    }
}

async fn serve(
    context: &jetstream::Context,
    name: &str,
    filter: &str,
    mut asks: watch::Receiver<Wanted>,
    found: watch::Sender<Came>,
) {
    while asks.changed().await.is_ok() {
        let wanted = *asks.borrow_and_update();
        let came = tokio::select! {
            came = read(context, name, filter, wanted) => came,
            changed = asks.changed() => {
                if changed.is_err() {
                    return;
                }
                asks.mark_changed();
                continue;
            }
        };
        found.send_replace(came);
    }
}

async fn read(context: &jetstream::Context, name: &str, filter: &str, wanted: Wanted) -> Came {
    let mut came = Came { number: wanted.number, ..Came::default() };
    let Ok(stream) = context.get_stream_no_info(name).await else { return came };
    let (mut previous, mut bytes, mut next) = (HashMap::new(), 0, wanted.from);
    while next <= wanted.to {
        match next_of(&stream, filter, next).await {
            Ok(Some(message)) if message.sequence <= wanted.to => {
                next = message.sequence + 1;
                bytes += message.payload.len();
                // What lies before this read is known to have come; what of the subject is the last of that is not.
                let before = previous.insert(message.subject.to_string(), message.sequence).unwrap_or(wanted.from - 1);
                came.copies.push(Copied::of(message, before));
                if bytes > READ_BYTES_MAX {
                    return came;
                }
            }
            Ok(_) => break,
            Err(error) => {
                tracing::debug!(error = %chain(&error), "Cannot read kept messages back");
                return came;
            }
        }
    }
    came.whole = true;
    came
}

async fn next_of(stream: &Stream<()>, filter: &str, from: u64) -> Result<Option<StreamMessage>, RawMessageError> {
    match stream.get_first_raw_message_by_subject(filter, from).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Copied {
    /// `before` is the sequence of the subject's message before, or a later one.
    fn of(message: StreamMessage, before: u64) -> Self {
        let place = [SUBJECT, SEQUENCE, LAST_SEQUENCE, TIME_STAMP];
        let mut headers = Vec::new();
        for (name, values) in message.headers.iter() {
            let name: &str = name.as_ref();
            if !place.iter().any(|place| place.eq_ignore_ascii_case(name)) {
                headers.extend(values.iter().map(|value| (name.to_owned(), value.as_str().to_owned())));
            }
        }
        let stored_ms = message.time.unix_timestamp_nanos() / 1_000_000;
        let stored = [
            message.subject.to_string(),
            message.sequence.to_string(),
            before.to_string(),
            rfc3339(u64::try_from(stored_ms).unwrap_or(0)),
        ];
        headers.extend(place.into_iter().map(str::to_owned).zip(stored));
        Self { subject: message.subject.to_string(), headers, payload: message.payload }
    }
}
