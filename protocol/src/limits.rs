//! Every maximum on the wire, unit in the name. The contract fixes most of them; the others say why.

/// Partitions of the routing space; changing it needs a rolling stop, since owners are computed from it.
pub const PARTITIONS: usize = 64;

/// Longest user or room key, before encoding.
pub const KEY_BYTES_MAX: usize = 200;
/// Longest device name.
pub const DEVICE_BYTES_MAX: usize = 64;
/// Longest `Hf-Id`.
pub const MESSAGE_ID_BYTES_MAX: usize = 128;
/// Longest `Hf-Key`.
pub const CONFLATION_KEY_BYTES_MAX: usize = 128;
/// Longest `Hf-Type`; an event name is a word, not a document.
pub const EVENT_BYTES_MAX: usize = 128;
/// Longest `Hf-Destination`.
pub const DESTINATION_BYTES_MAX: usize = 512;

/// Most targets in one `Hf-To`.
pub const MANY_TARGETS_MAX: usize = 1000;
/// Most entries in each of `Hf-Only`, `Hf-Except-Connection` and `Hf-Except-User`.
pub const FILTER_ENTRIES_MAX: usize = 1000;

/// Most segments of a client's `to`.
pub const TO_SEGMENTS_MAX: usize = 16;
/// Longest segment of a client's `to`.
pub const TO_SEGMENT_BYTES_MAX: usize = 64;

/// Longest string a client may use as the `id` of a message.
pub const CLIENT_ID_BYTES_MAX: usize = 64;
/// Integers a client may use as `id` are smaller than this in magnitude: what a JavaScript number holds exactly.
pub const CLIENT_ID_MAGNITUDE: i64 = 1 << 53;

/// Longest epoch: with a sequence it must fit an `Hf-Id`.
pub const EPOCH_BYTES_MAX: usize = 64;
/// Sequences are smaller than this: what a JavaScript number holds exactly.
pub const SEQUENCE_END: u64 = 1 << 53;
/// Default number of messages on a page of history.
pub const HISTORY_MESSAGES_DEFAULT: u16 = 50;
/// The largest page of history a client may ask for.
pub const HISTORY_MESSAGES_MAX: u16 = 500;

/// A close frame carries 125 bytes, two of them the code.
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

/// Default page size of a room query, and its maximum.
pub const QUERY_MEMBERS_DEFAULT: u32 = 100;
/// The largest page a room query may ask for.
pub const QUERY_MEMBERS_MAX: u32 = 1000;
