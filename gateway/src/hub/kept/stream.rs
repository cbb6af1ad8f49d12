//! What is asked of JetStream, and how its answers read: the state of the stream, and batches of messages.

use std::collections::HashMap;

use bytes::Bytes;
use holdfast_protocol::kept::{self, EPOCH_FROM_METADATA, EPOCH_METADATA, Stored};
use holdfast_protocol::subject::Subjects;
use holdfast_protocol::wire::{Delivery, Text};
use serde::Deserialize;

use super::{READ_BYTES_MAX, READ_MESSAGES_MAX};
use crate::hub::edge::{Publication, Received};

/// Messages asked for at once.
const BATCH: usize = 512;
/// Bytes asked for at once.
const BATCH_BYTES: usize = 1024 * 1024;
/// End of a batch (ADR-31).
const END_OF_BATCH: u16 = 204;
/// Nothing of that subject from there on.
const NOT_FOUND: u16 = 404;

/// The state of the stream, and of one subject in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) epoch: Option<Text>,
    /// What is known from before the epoch: everything up to here.
    pub(super) epoch_from: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    /// Messages of the subject asked about.
    count: u64,
    /// How many of a subject the stream keeps; `None` for no limit.
    pub(super) per_subject_max: Option<u64>,
    /// Nobody can take messages out of the middle.
    sealed: bool,
}

#[derive(Deserialize)]
struct RawInfo {
    config: RawConfig,
    state: RawState,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    max_msgs_per_subject: i64,
    #[serde(default)]
    metadata: HashMap<String, String>,
    #[serde(default)]
    deny_delete: bool,
    #[serde(default)]
    deny_purge: bool,
}

#[derive(Deserialize)]
struct RawState {
    first_seq: u64,
    last_seq: u64,
    #[serde(default)]
    subjects: Option<HashMap<String, u64>>,
}

/// Asks for the state of the stream and of a subject.
pub(super) fn ask_info(stream: &str, subject: Option<&str>) -> Publication {
    let body = subject.map(|subject| serde_json::json!({ "subjects_filter": subject }).to_string());
    Publication::plain(kept::stream_info(stream), body.unwrap_or_default().into())
}

/// Asks the leader for the last message of a subject: a batch comes from any replica, which may not have it yet.
pub(super) fn ask_last(stream: &str, subject: &str) -> Publication {
    let body = serde_json::json!({ "last_by_subj": subject });
    Publication::plain(kept::leader_get(stream), body.to_string().into())
}

/// Asks the leader for the oldest message of a subject.
pub(super) fn ask_oldest(stream: &str, subject: &str) -> Publication {
    let body = serde_json::json!({ "seq": 1, "next_by_subj": subject });
    Publication::plain(kept::leader_get(stream), body.to_string().into())
}

/// The sequence of the one message asked for, 0 if there is none; `None` where the answer says neither.
pub(super) fn parse_place(payload: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Answer {
        message: Option<Message>,
        error: Option<Error>,
    }
    #[derive(Deserialize)]
    struct Message {
        seq: u64,
    }
    #[derive(Deserialize)]
    struct Error {
        code: u16,
    }
    match serde_json::from_slice(payload).ok()? {
        Answer { message: Some(message), .. } => Some(message.seq),
        Answer { error: Some(Error { code: NOT_FOUND }), .. } => Some(0),
        Answer { .. } => None,
    }
}

/// The state of the stream, where it is still the one of `epoch`.
pub(super) fn look(message: &Received, epoch: &Text) -> Result<Info, Step> {
    match Info::parse(&message.payload) {
        Some(info) if info.epoch.as_ref().is_some_and(|it| it != epoch) => Err(Step::Another(Box::new(info))),
        Some(info) => Ok(info),
        None => Err(Step::Failed),
    }
}

impl Info {
    /// Reads the answer; `None` for an error or anything else.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let raw: RawInfo = serde_json::from_slice(payload).ok()?;
        Some(Self {
            epoch: raw.config.metadata.get(EPOCH_METADATA).map(|epoch| epoch.as_str().into()),
            epoch_from: raw.config.metadata.get(EPOCH_FROM_METADATA).and_then(|from| from.parse().ok()).unwrap_or(0),
            first: raw.state.first_seq,
            last: raw.state.last_seq,
            count: raw.state.subjects.unwrap_or_default().into_values().sum(),
            per_subject_max: u64::try_from(raw.config.max_msgs_per_subject).ok().filter(|max| *max > 0),
            sealed: raw.config.deny_delete && raw.config.deny_purge,
        })
    }

    /// Whether whoever has seen everything up to `since` can be given all that came after. `oldest` is the oldest
    /// message of the subject that is still there, where it was looked up.
    pub(super) fn covers(&self, since: u64, oldest: Option<u64>) -> bool {
        let none_cut = self.sealed && self.per_subject_max.is_none_or(|max| self.count < max);
        since <= self.last
            && since.saturating_add(1) >= self.first
            && (none_cut || since == self.last || oldest.is_some_and(|oldest| oldest <= since))
    }

    /// Whether [`Self::covers`] needs the subject's oldest message.
    pub(super) fn needs_oldest(&self) -> bool {
        !self.sealed || self.per_subject_max.is_some_and(|max| self.count >= max)
    }
}

/// Messages of one subject (or of several), read in order.
#[derive(Debug)]
pub(super) struct Read {
    filter: String,
    next: u64,
    /// What has come.
    pub(super) messages: Vec<Delivery>,
    bytes: usize,
    pending: u64,
}

/// What an answer did to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A message; more will come.
    More,
    /// The answer is over and there is more to ask.
    Again,
    /// All that was there.
    Done,
    /// Whoever answered has less than is known to be there.
    Behind,
    /// More than a read may take.
    TooMuch,
    /// The stream is not the one that was read any more.
    Another(Box<Info>),
    /// No answer that makes sense.
    Failed,
}

impl Read {
    /// Of the subjects that match `filter`, from this sequence on.
    pub(super) fn new(filter: String, from: u64) -> Self {
        Self { filter, next: from.max(1), messages: Vec::new(), bytes: 0, pending: 0 }
    }

    /// Which subjects.
    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    /// Everything up to here was read.
    pub(super) const fn reached(&self) -> u64 {
        self.next - 1
    }

    /// The next request.
    pub(super) fn ask(&self, stream: &str) -> Publication {
        let body = serde_json::json!({
            "seq": self.next, "next_by_subj": self.filter, "batch": BATCH, "max_bytes": BATCH_BYTES,
        });
        Publication::plain(kept::direct_get(stream), body.to_string().into())
    }

    /// Takes an answer.
    pub(super) fn take(&mut self, subjects: &Subjects, epoch: &Text, message: &Received) -> Step {
        match message.status {
            Some(END_OF_BATCH) if self.pending == 0 => return Step::Done,
            Some(END_OF_BATCH) => return Step::Again,
            Some(NOT_FOUND) => return Step::Done,
            Some(_) => return Step::Failed,
            None => {}
        }
        let header = |name: &str| message.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str());
        let number = |name: &str| header(name).and_then(|value| value.parse::<u64>().ok());
        let (Some(seq), Some(subject)) = (number(kept::SEQUENCE), header(kept::SUBJECT)) else { return Step::Failed };
        let pending = number(kept::PENDING);
        self.pending = pending.unwrap_or(0);
        let stored_ms = header(kept::TIME_STAMP).and_then(kept::unix_ms).unwrap_or(0);
        self.next = seq + 1;
        self.bytes += message.payload.len();
        if self.messages.len() >= READ_MESSAGES_MAX || self.bytes > READ_BYTES_MAX {
            return Step::TooMuch;
        }
        let borrowed: Vec<(&str, &str)> =
            message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // The block the client library received in would stay as long as this one message.
        let payload = Bytes::copy_from_slice(&message.payload);
        let stored = Stored { epoch: epoch.clone(), seq, previous: 0, stored_ms };
        if let Some(read) = kept::delivery(subjects, subject, &borrowed[..], payload, stored) {
            self.messages.push(read.delivery);
        }
        // A server before 2.11 knows no batches: it answers with one message, and nothing ends it.
        if pending.is_some() { Step::More } else { Step::Again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(first: u64, last: u64, count: u64, per_subject: i64, sealed: bool) -> Info {
        let body = serde_json::json!({
            "config": { "max_msgs_per_subject": per_subject, "deny_delete": sealed, "deny_purge": sealed,
                        "metadata": { "holdfast-epoch": "e1" } },
            "state": { "first_seq": first, "last_seq": last, "subjects": { "hf.keep.room.a": count } },
        });
        Info::parse(body.to_string().as_bytes()).expect("as the server writes it")
    }

    #[test]
    fn only_what_is_surely_whole_is_covered() {
        let plenty = info(5, 20, 3, 1000, true);
        assert_eq!(plenty.epoch.as_deref(), Some("e1"));
        assert!(!plenty.needs_oldest());
        for (since, covered) in [(3, false), (4, true), (12, true), (20, true), (21, false)] {
            assert_eq!(plenty.covers(since, None), covered, "{since}");
        }

        for cut in [info(1, 20, 10, 10, true), info(1, 20, 3, -1, false)] {
            assert!(cut.needs_oldest());
            for (since, oldest, covered) in
                [(9, None, false), (9, Some(10), false), (10, Some(10), true), (20, None, true)]
            {
                assert_eq!(cut.covers(since, oldest), covered, "{since} {oldest:?}");
            }
        }
        assert_eq!(Info::parse(br#"{"error":{"code":404}}"#), None);
    }

    #[test]
    fn the_leaders_answer_names_the_last_message_or_says_that_there_is_none() {
        let found = br#"{"type":"io.nats.jetstream.api.v1.stream_msg_get_response","message":{"subject":"hf.keep.room.a","seq":7}}"#;
        assert_eq!(parse_place(found), Some(7));
        assert_eq!(
            parse_place(br#"{"error":{"code":404,"err_code":10037,"description":"no message found"}}"#),
            Some(0)
        );
        assert_eq!(parse_place(br#"{"error":{"code":503,"description":"not available"}}"#), None);
        assert_eq!(parse_place(b""), None);
    }

    fn message(seq: u64, pending: u64) -> Received {
        let headers = [
            (kept::SUBJECT, "hf.keep.room.a".to_owned()),
            (kept::SEQUENCE, seq.to_string()),
            (kept::PENDING, pending.to_string()),
            (kept::TIME_STAMP, "1970-01-01T00:00:01Z".to_owned()),
        ];
        Received {
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            payload: Bytes::from_static(b"1"),
            ..Received::default()
        }
    }

    #[test]
    fn a_server_without_batches_is_asked_for_one_message_after_the_other() {
        let (subjects, epoch) = (Subjects::new("hf"), Text::from("e1"));
        let alone = |seq| {
            let mut message = message(seq, 0);
            message.headers.retain(|(name, _)| name != kept::PENDING);
            message
        };
        let none = Received { status: Some(404), ..Received::default() };
        let mut read = Read::new("hf.keep.room.a".into(), 0);

        assert_eq!(read.take(&subjects, &epoch, &alone(3)), Step::Again);
        assert!(String::from_utf8_lossy(&read.ask("S").payload).contains("\"seq\":4"));
        assert_eq!(read.take(&subjects, &epoch, &alone(9)), Step::Again);
        assert_eq!(read.take(&subjects, &epoch, &none), Step::Done);
        assert_eq!(read.messages.iter().map(super::super::seq_of).collect::<Vec<_>>(), [3, 9]);
    }

    #[test]
    fn a_read_goes_on_until_nothing_is_pending() {
        let (subjects, epoch) = (Subjects::new("hf"), Text::from("e1"));
        let end = Received { status: Some(204), ..Received::default() };
        let mut read = Read::new("hf.keep.room.a".into(), 0);

        assert_eq!(read.take(&subjects, &epoch, &message(3, 1)), Step::More);
        assert_eq!(read.take(&subjects, &epoch, &end), Step::Again);
        assert!(String::from_utf8_lossy(&read.ask("S").payload).contains("\"seq\":4"));
        assert_eq!(read.take(&subjects, &epoch, &message(9, 0)), Step::More);
        assert_eq!(read.take(&subjects, &epoch, &end), Step::Done);

        assert_eq!(
            read.messages.iter().map(|it| (super::super::seq_of(it), &*it.id)).collect::<Vec<_>>(),
            [(3, "e1-3"), (9, "e1-9")]
        );
        let none = Received { status: Some(404), ..Received::default() };
        assert_eq!(read.take(&subjects, &epoch, &none), Step::Done);
        let denied = Received { status: Some(503), ..Received::default() };
        assert_eq!(read.take(&subjects, &epoch, &denied), Step::Failed);
    }
}
