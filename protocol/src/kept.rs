//! Stored messages: a kept publish as the stream gives it back, live (republished) or read, as a [`Delivery`].
//!
//! Routers make live copies of it and gateways replays, so both must read it alike. The stream has acknowledged the
//! publish before anybody of ours saw it: what is wrong with its headers is ignored, never refused.

use bytes::Bytes;

use crate::content;
use crate::send::{Headers, ReceiptMode, SendOptions};
use crate::subject::{Address, Kind, Subjects, Target as Named};
use crate::wire::{Delivery, Kept, Target, Text, TraceContext};

/// The name of the stream's sequence in a copy's headers.
pub const SEQUENCE: &str = "Nats-Sequence";
/// The sequence of the message before: of the same subject in republished copies, of the batch in reads.
pub const LAST_SEQUENCE: &str = "Nats-Last-Sequence";
/// When the stream stored it, RFC 3339.
pub const TIME_STAMP: &str = "Nats-Time-Stamp";
/// The subject it was published on.
pub const SUBJECT: &str = "Nats-Subject";
/// Messages of a batch read that are still to come, without the one at hand.
pub const PENDING: &str = "Nats-Num-Pending";
/// The key of the stream's metadata that holds its epoch.
pub const EPOCH_METADATA: &str = "holdfast-epoch";
/// The key beside it that holds the stream's last sequence when it got that epoch, where what was there before is known to
/// clients already; not there where it is news.
pub const EPOCH_FROM_METADATA: &str = "holdfast-epoch-from";

/// Where a message stands in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The stream's incarnation.
    pub epoch: Text,
    /// The message's sequence.
    pub seq: u64,
    /// The previous sequence of the same subject, 0 where there was none.
    pub previous: u64,
    /// When it was stored, Unix milliseconds.
    pub stored_ms: u64,
}

/// The longest subject that a receipt may go to, in bytes.
pub const RECEIPT_SUBJECT_BYTES_MAX: usize = 256;

/// A stored message as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The delivery, without a receipt.
    pub delivery: Delivery,
    /// Headers that were malformed: they count for nothing.
    pub ignored: usize,
    /// The receipt that its publisher asked for.
    pub receipt: Option<ReceiptTo>,
}

/// A receipt that a kept message asks for. Its publish has been answered by the stream, so it names a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptTo {
    /// Where it goes.
    pub subject: String,
    /// Whether it waits for acknowledgements of clients.
    pub acked: bool,
    /// How long it waits, in milliseconds.
    pub timeout_ms: u64,
}

/// Whether a receipt may be published there: one subject, bounded, and none that means something to NATS or to the fleet,
/// but for its own branch `<prefix>.receipt`.
pub fn is_receipt_subject(subjects: &Subjects, subject: &str) -> bool {
    let is_plain = |token: &str| {
        !token.is_empty() && !token.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
    };
    let is_within =
        |prefix: &str| subject == prefix || subject.strip_prefix(prefix).is_some_and(|it| it.starts_with('.'));
    subject.len() <= RECEIPT_SUBJECT_BYTES_MAX
        && !subject.starts_with('$')
        && !subject.contains(['*', '>'])
        && subject.split('.').all(is_plain)
        && (!is_within(subjects.prefix()) || subjects.strip(subject, "receipt").is_some_and(|rest| !rest.is_empty()))
}

/// A stored message as a delivery to the user or room of the subject it was published on. `None` where the subject
/// names neither.
pub fn delivery(
    subjects: &Subjects,
    subject: &str,
    headers: &(impl Headers + ?Sized),
    payload: Bytes,
    stored: Stored,
) -> Option<Read> {
    let target = match subjects.parse_address(Kind::Keep, subject).ok()?.0 {
        Address::One(Named::User(user)) => Target::User(user.into()),
        Address::One(Named::Room(room)) => Target::Room(room.into()),
        Address::One(Named::Connection(_) | Named::All) | Address::Many | Address::Node(_) => return None,
    };
    let (options, mut ignored) = SendOptions::parse_leniently(headers);
    let receipt = options.receipt_to.and_then(|subject| {
        let may = is_receipt_subject(subjects, subject);
        ignored += usize::from(!may);
        may.then(|| ReceiptTo {
            subject: subject.to_owned(),
            acked: options.receipt == ReceiptMode::Acked,
            timeout_ms: options.receipt_timeout_ms(),
        })
    });
    let Stored { epoch, seq, previous, stored_ms } = stored;
    let id = options.id.map_or_else(|| Text::from(format!("{epoch}-{seq}")), Text::from);
    let delivery = Delivery {
        targets: vec![target],
        id,
        event: options.event.map(Text::from),
        content: content::detect(options.content_type, &payload),
        payload,
        received_ms: stored_ms,
        expires_ms: options.ttl_ms.map(|ttl_ms| stored_ms.saturating_add(ttl_ms)),
        key: options.key.map(Text::from),
        destination: options.destination.map(Text::from),
        only: options.only,
        except_connections: options.except_connections,
        except_users: options.except_users,
        receipt: None,
        trace: options.trace.map(|(parent, state)| TraceContext { parent: parent.into(), state: state.into() }),
        kept: Some(Kept { epoch, seq, previous }),
    };
    Some(Read { delivery, ignored, receipt })
}

/// The subject a user's or room's kept messages are published on.
pub fn subject_of(subjects: &Subjects, target: &Target) -> Option<String> {
    let named = match target {
        Target::User(user) => Named::User(user.to_string()),
        Target::Room(room) => Named::Room(room.to_string()),
        Target::Connection(_) | Target::All => return None,
    };
    Some(subjects.to(Kind::Keep, &named))
}

/// Where JetStream answers reads of a stream by sequence and subject.
pub fn direct_get(stream: &str) -> String {
    format!("$JS.API.DIRECT.GET.{stream}")
}

/// Where JetStream answers questions about a stream.
pub fn stream_info(stream: &str) -> String {
    format!("$JS.API.STREAM.INFO.{stream}")
}

/// Where JetStream takes another configuration of a stream.
pub fn stream_update(stream: &str) -> String {
    format!("$JS.API.STREAM.UPDATE.{stream}")
}

/// Where the stream's leader, and nobody else, is asked for one message: the last of a subject.
pub fn leader_get(stream: &str) -> String {
    format!("$JS.API.STREAM.MSG.GET.{stream}")
}

/// Unix milliseconds of a time as NATS writes it: `2026-11-21T11:49:36.98838613Z`. `None` for anything else.
pub fn unix_ms(time: &str) -> Option<u64> {
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = whole.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut millis = 0;
    for digit in fraction.bytes().chain([b'0'; 3]).take(3) {
        millis = millis * 10 + u64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    // Howard Hinnant's days_from_civil, the inverse of what writes our times.
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let month_shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::rfc3339;

    #[test]
    fn a_receipt_goes_to_a_subject_of_the_publisher_alone() {
        let subjects = Subjects::new("fleet.hf");
        let long = "x".repeat(RECEIPT_SUBJECT_BYTES_MAX + 1);
        for (subject, may) in [
            ("_INBOX.service.a", true),
            ("orders.receipts", true),
            ("fleet.hf.receipt.orders", true),
            ("fleet.hfx.send.user.a", true),
            ("fleet.hf", false),
            ("fleet.hf.receipt", false),
            ("fleet.hf.send.user.a", false),
            ("fleet.hf.int.node.n", false),
            ("$JS.API.STREAM.DELETE.HF_KEPT", false),
            ("$SYS.REQ.SERVER.PING", false),
            ("a.*", false),
            ("a.>", false),
            ("a..b", false),
            ("a b", false),
            ("", false),
            (&*long, false),
        ] {
            assert_eq!(is_receipt_subject(&subjects, subject), may, "{subject:?}");
            let headers = [("Hf-Receipt-To", subject), ("Hf-Receipt", "acked")];
            let read = delivery(&subjects, "fleet.hf.keep.user.ana", &headers[..], Bytes::new(), stored());
            let Read { ignored, receipt, .. } = read.expect("a user's");
            let wanted = ReceiptTo { subject: subject.to_owned(), acked: true, timeout_ms: 5_000 };
            assert_eq!((ignored, receipt), (usize::from(!may), may.then_some(wanted)), "{subject:?}");
        }
        let headers = [("Hf-Receipt", "acked")];
        let read = delivery(&subjects, "fleet.hf.keep.user.ana", &headers[..], Bytes::new(), stored());
        assert_eq!(read.map(|read| read.receipt), Some(None), "who names no subject gets none");
    }

    fn stored() -> Stored {
        Stored { epoch: "e".into(), seq: 7, previous: 3, stored_ms: 1000 }
    }

    #[test]
    fn a_stored_message_is_read_as_it_was_sent() {
        let headers = [("Hf-Type", "news"), ("Hf-Ttl", "50"), ("Hf-Key", ""), ("Nats-Sequence", "7")];
        let payload = Bytes::from_static(b"{}");

        let subjects = Subjects::new("hf");
        let read = delivery(&subjects, "hf.keep.room.chat=2F5", &headers[..], payload, stored());

        let Read { delivery, ignored, receipt } = read.expect("a room's");
        assert_eq!(delivery.targets, [Target::Room("chat/5".into())]);
        assert_eq!((&*delivery.id, delivery.expires_ms, delivery.key), ("e-7", Some(1050), None));
        assert_eq!((ignored, receipt), (1, None), "an empty key");
        assert_eq!(subject_of(&subjects, &delivery.targets[0]).as_deref(), Some("hf.keep.room.chat=2F5"));
    }

    #[test]
    fn what_is_for_nobody_is_none() {
        for subject in ["hf.keep.all", "hf.keep.room.a=zz", "hf.send.room.a", "other"] {
            assert!(delivery(&Subjects::new("hf"), subject, &[][..], Bytes::new(), stored()).is_none(), "{subject}");
        }
    }

    #[test]
    fn times_of_the_stream_are_read_back() {
        for ms in [0, 951_782_400_123, 1_763_721_003_042, 4_107_542_400_000] {
            assert_eq!(unix_ms(&rfc3339(ms)), Some(ms));
        }
        assert_eq!(unix_ms("1970-01-01T00:00:01Z"), Some(1000));
        assert_eq!(unix_ms("1970-01-01T00:00:01.98838613Z"), Some(1988));
        for text in ["", "now", "1970-01-01", "1970-13-01T00:00:00Z", "1970-01-01T00:00:00.xZ"] {
            assert_eq!(unix_ms(text), None, "{text}");
        }
    }
}
