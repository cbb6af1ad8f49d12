//! Headers of a send, checked: what a domain service may ask for besides the payload. Knows no NATS type; header names
//! are compared without case, values are borrowed.

use crate::id::ConnectionId;
use crate::limits::{
    CONFLATION_KEY_BYTES_MAX, DESTINATION_BYTES_MAX, EVENT_BYTES_MAX, FILTER_ENTRIES_MAX, KEY_BYTES_MAX,
    MANY_TARGETS_MAX, MESSAGE_ID_BYTES_MAX,
};
use crate::subject::Target;
use crate::wire::{Condition, Text};

/// How long a receipt waits for nodes, where `Hf-Timeout` does not say.
pub const TIMEOUT_MS_DEFAULT: u64 = 400;
/// How long a receipt waits for acknowledgements, where `Hf-Timeout` does not say.
pub const TIMEOUT_ACKED_MS_DEFAULT: u64 = 5000;
/// The longest `Hf-Timeout`: each waiting receipt holds a place in the router.
pub const TIMEOUT_MS_MAX: u64 = 300_000;
/// Longest `tracestate` that is passed on; W3C asks for at least this many bytes.
const TRACESTATE_BYTES_MAX: usize = 512;

/// Headers of a message, wherever they come from.
pub trait Headers {
    /// Shows each header, a repeated one several times.
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a str));
}

impl Headers for [(&str, &str)] {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a str)) {
        for (name, value) in self {
            visit(name, value);
        }
    }
}

impl<H: Headers + ?Sized> Headers for &H {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a str)) {
        (**self).each(visit);
    }
}

/// Which receipt is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReceiptMode {
    /// Answer once the nodes have handed the message on or queued it.
    #[default]
    Written,
    /// Wait for the clients that can acknowledge.
    Acked,
}

/// What the headers ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SendOptions<'a> {
    /// `Hf-Id`.
    pub id: Option<&'a str>,
    /// `Hf-Type`.
    pub event: Option<&'a str>,
    /// `Content-Type`, as it came.
    pub content_type: Option<&'a str>,
    /// `Hf-Only`.
    pub only: Vec<Condition>,
    /// `Hf-Except-Connection`, without those that are no ids of ours: they except nobody.
    pub except_connections: Vec<ConnectionId>,
    /// `Hf-Except-User`.
    pub except_users: Vec<Text>,
    /// `Hf-Ttl` in milliseconds.
    pub ttl_ms: Option<u64>,
    /// `Hf-Key`.
    pub key: Option<&'a str>,
    /// `Hf-Destination`.
    pub destination: Option<&'a str>,
    /// `Hf-Receipt`.
    pub receipt: ReceiptMode,
    /// `Hf-Timeout` in milliseconds.
    pub timeout_ms: Option<u64>,
    /// `Hf-Receipt-To`, as it came: it means something for kept messages alone.
    pub receipt_to: Option<&'a str>,
    /// `Hf-To`, not yet read ([`parse_targets`]).
    pub to: Option<&'a str>,
    /// `traceparent` and `tracestate`, where the first is well formed.
    pub trace: Option<(&'a str, &'a str)>,
}

/// Why a header is refused: service error 400. The text names the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It must be there and is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It is there more than once, and is no list.
    #[error("{0} is given more than once")]
    Repeated(&'static str),
    /// Its value is not what it must be.
    #[error("{0} must be {1}")]
    Invalid(&'static str, &'static str),
    /// The header means something, but not for a command.
    #[error("{0} does not apply to commands")]
    NotForCommands(&'static str),
}

const WHOLE_MS: &str = "a whole number of milliseconds";
const KEY_LIST: &str = "a list of keys, separated by commas";

impl<'a> SendOptions<'a> {
    /// Reads the headers. Those that mean nothing here are ignored; a malformed trace is dropped, not refused.
    ///
    /// # Errors
    /// A header is malformed; the first one found is named.
    pub fn parse(headers: &'a (impl Headers + ?Sized)) -> Result<Self, HeaderError> {
        let mut reading = Reading::default();
        let mut error = None;
        headers.each(&mut |name, value| {
            if error.is_none() {
                error = reading.header(name, value.trim()).err();
            }
        });
        if let Some(error) = error {
            return Err(error);
        }
        let Reading { mut options, parent, state, .. } = reading;
        options.trace = parent.filter(|parent| is_traceparent(parent)).map(|parent| (parent, state.unwrap_or("")));
        Ok(options)
    }

    /// Reads the headers of what is stored already: a malformed one is ignored. The second part counts those.
    pub fn parse_leniently(headers: &'a (impl Headers + ?Sized)) -> (Self, usize) {
        let mut reading = Reading::default();
        let mut ignored = 0;
        headers.each(&mut |name, value| ignored += usize::from(reading.header(name, value.trim()).is_err()));
        let Reading { mut options, parent, state, .. } = reading;
        options.trace = parent.filter(|parent| is_traceparent(parent)).map(|parent| (parent, state.unwrap_or("")));
        (options, ignored)
    }

    /// How long the receipt waits, in milliseconds.
    pub fn receipt_timeout_ms(&self) -> u64 {
        self.timeout_ms.unwrap_or(match self.receipt {
            ReceiptMode::Written => TIMEOUT_MS_DEFAULT,
            ReceiptMode::Acked => TIMEOUT_ACKED_MS_DEFAULT,
        })
    }

    /// Refuses what would silently widen a command: filters that only deliveries know.
    ///
    /// # Errors
    /// A filter is set.
    pub const fn check_command(&self) -> Result<(), HeaderError> {
        if !self.only.is_empty() {
            Err(HeaderError::NotForCommands("Hf-Only"))
        } else if !self.except_connections.is_empty() {
            Err(HeaderError::NotForCommands("Hf-Except-Connection"))
        } else if !self.except_users.is_empty() {
            Err(HeaderError::NotForCommands("Hf-Except-User"))
        } else {
            Ok(())
        }
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reading<'a> {
    options: SendOptions<'a>,
    parent: Option<&'a str>,
    state: Option<&'a str>,
    receipt_seen: bool,
}

impl<'a> Reading<'a> {
    fn header(&mut self, name: &str, value: &'a str) -> Result<(), HeaderError> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        let options = &mut self.options;
        // The length tells most names apart before any is compared.
        match name.len() {
            5 if is("Hf-Id") => once("Hf-Id", &mut options.id, word("Hf-Id", value, MESSAGE_ID_BYTES_MAX)?),
            5 if is("Hf-To") => once("Hf-To", &mut options.to, value),
            6 if is("Hf-Ttl") => once("Hf-Ttl", &mut options.ttl_ms, millis("Hf-Ttl", value)?),
            6 if is("Hf-Key") => once("Hf-Key", &mut options.key, word("Hf-Key", value, CONFLATION_KEY_BYTES_MAX)?),
            7 if is("Hf-Type") => once("Hf-Type", &mut options.event, word("Hf-Type", value, EVENT_BYTES_MAX)?),
            7 if is("Hf-Only") => conditions(value, &mut options.only),
            10 if is("Hf-Receipt") => {
                if std::mem::replace(&mut self.receipt_seen, true) {
                    return Err(HeaderError::Repeated("Hf-Receipt"));
                }
                options.receipt = match value {
                    "written" => ReceiptMode::Written,
                    "acked" => ReceiptMode::Acked,
                    _ => return Err(HeaderError::Invalid("Hf-Receipt", "written or acked")),
                };
                Ok(())
            }
            10 if is("Hf-Timeout") => {
                let timeout = millis("Hf-Timeout", value)?;
                if timeout > TIMEOUT_MS_MAX {
                    return Err(HeaderError::Invalid("Hf-Timeout", "at most 300000 ms"));
                }
                once("Hf-Timeout", &mut options.timeout_ms, timeout)
            }
            13 if is("Hf-Receipt-To") => {
                options.receipt_to.get_or_insert(value);
                Ok(())
            }
            14 if is("Hf-Destination") => {
                let value = word("Hf-Destination", value, DESTINATION_BYTES_MAX)?;
                once("Hf-Destination", &mut options.destination, value)
            }
            14 if is("Hf-Except-User") => {
                list("Hf-Except-User", value, &mut options.except_users, |user| Some(user.into()))
            }
            20 if is("Hf-Except-Connection") => {
                let ids = &mut options.except_connections;
                list("Hf-Except-Connection", value, ids, |id| ConnectionId::parse(&id))
            }
            12 if is("Content-Type") => {
                options.content_type.get_or_insert(value);
                Ok(())
            }
            11 if is("traceparent") => {
                self.parent.get_or_insert(value);
                Ok(())
            }
            10 if is("tracestate") => {
                if value.len() <= TRACESTATE_BYTES_MAX {
                    self.state.get_or_insert(value);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn once<T>(header: &'static str, slot: &mut Option<T>, value: T) -> Result<(), HeaderError> {
    if slot.replace(value).is_some() { Err(HeaderError::Repeated(header)) } else { Ok(()) }
}

fn millis(header: &'static str, value: &str) -> Result<u64, HeaderError> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    if digits { value.parse().ok() } else { None }.ok_or(HeaderError::Invalid(header, WHOLE_MS))
}

/// A value that is shown to clients: not empty, bounded, and without control characters.
fn word<'a>(header: &'static str, value: &'a str, bytes_max: usize) -> Result<&'a str, HeaderError> {
    if value.is_empty() || value.len() > bytes_max {
        return Err(HeaderError::Invalid(
            header,
            match bytes_max {
                128 => "1 to 128 bytes",
                512 => "1 to 512 bytes",
                _ => "shorter, and not empty",
            },
        ));
    }
    if value.chars().any(char::is_control) {
        return Err(HeaderError::Invalid(header, "without control characters"));
    }
    Ok(value)
}

/// A comma list of keys in the form of `Hf-To`'s. `keep` drops what cannot matter.
fn list<T>(
    header: &'static str,
    value: &str,
    into: &mut Vec<T>,
    keep: impl Fn(String) -> Option<T>,
) -> Result<(), HeaderError> {
    let mut entries = 0;
    for entry in value.split(',') {
        entries += 1;
        if entries > FILTER_ENTRIES_MAX || into.len() >= FILTER_ENTRIES_MAX {
            return Err(HeaderError::Invalid(header, "at most 1000 entries"));
        }
        let key = decode(entry.trim(), 1).ok_or(HeaderError::Invalid(header, KEY_LIST))?;
        into.extend(keep(key));
    }
    Ok(())
}

fn conditions(value: &str, into: &mut Vec<Condition>) -> Result<(), HeaderError> {
    const FORM: HeaderError = HeaderError::Invalid("Hf-Only", "a list of name=value, separated by commas");
    for entry in value.split(',') {
        if into.len() >= FILTER_ENTRIES_MAX {
            return Err(HeaderError::Invalid("Hf-Only", "at most 1000 entries"));
        }
        let (name, value) = entry.split_once('=').ok_or(FORM)?;
        let name = name.trim();
        if name.is_empty() {
            return Err(FORM);
        }
        let value = decode(value.trim(), 0).ok_or(FORM)?;
        into.push(Condition { name: name.into(), value: value.into() });
    }
    Ok(())
}

/// Decodes a key in a header: `=XX` as in tokens; other bytes stand for themselves, since a header, unlike a subject,
/// can hold them.
fn decode(text: &str, bytes_min: usize) -> Option<String> {
    let mut key = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'=' {
            key.push(byte);
            continue;
        }
        let (high, low) = (bytes.next()?, bytes.next()?);
        let value = hex_digit(high)? << 4 | hex_digit(low)?;
        if value.is_ascii_alphanumeric() || value == b'_' || value == b'-' {
            return None;
        }
        key.push(value);
    }
    if key.len() < bytes_min || key.len() > KEY_BYTES_MAX {
        return None;
    }
    String::from_utf8(key).ok()
}

const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Reads `Hf-To`: the targets of `many`, in order and without repetition.
///
/// # Errors
/// The header is not there, empty, too long, or an entry names nothing.
pub fn parse_targets(to: Option<&str>) -> Result<Vec<Target>, HeaderError> {
    const FORM: HeaderError =
        HeaderError::Invalid("Hf-To", "a list of user:, room: and connection: keys, separated by commas");
    let to = to.ok_or(HeaderError::Missing("Hf-To"))?;
    let mut targets: Vec<Target> = Vec::new();
    for (index, entry) in to.split(',').enumerate() {
        if index >= MANY_TARGETS_MAX {
            return Err(HeaderError::Invalid("Hf-To", "at most 1000 targets"));
        }
        let (kind, key) = entry.trim().split_once(':').ok_or(FORM)?;
        let key = decode(key.trim(), 1).ok_or(FORM)?;
        let target = match kind.trim() {
            "user" => Target::User(key),
            "room" => Target::Room(key),
            "connection" => Target::Connection(key),
            _ => return Err(FORM),
        };
        targets.push(target);
    }
    deduplicate(&mut targets);
    Ok(targets)
}

/// Keeps the first of equal targets; a thousand of them must not cost a million comparisons.
fn deduplicate(targets: &mut Vec<Target>) {
    let mut seen = std::collections::HashSet::with_capacity(targets.len());
    let keep: Vec<bool> = targets.iter().map(|target| seen.insert(target)).collect();
    let mut keep = keep.into_iter();
    targets.retain(|_| keep.next().unwrap_or(true));
}

/// `traceparent` by W3C Trace Context level 1: version, trace, parent and flags in lower-case hex, ids not all zero.
fn is_traceparent(value: &str) -> bool {
    let bytes = value.as_bytes();
    let hex = |range: std::ops::Range<usize>| {
        bytes.get(range).is_some_and(|part| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    let zero = |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(|b| *b == b'0'));
    let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
    // A later version may append fields; version 00 has none.
    let length = bytes.len() == 55 || (bytes.len() > 55 && bytes.get(55) == Some(&b'-') && !value.starts_with("00"));
    length
        && bytes.len() <= 128
        && dashes
        && [0..2, 3..35, 36..52, 53..55].into_iter().all(hex)
        && !value.starts_with("ff")
        && !zero(3..35)
        && !zero(36..52)
}

#[cfg(test)]
mod tests;
