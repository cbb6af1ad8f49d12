//! What a new owner keeps until a former owner has handed over. Bounded in bytes and messages.

use std::collections::VecDeque;

use bytes::Bytes;
use holdfast_protocol::id::NodeId;
use smallvec::SmallVec;

use super::MoveId;
use crate::core::event::{Now, Request};

/// Messages kept for one former owner.
const MESSAGES_MAX: usize = 262_144;
/// Bytes of them.
const BYTES_MAX: usize = 64 << 20;
/// What a kept message takes besides its texts and payload.
const MESSAGE_BYTES: usize = 128;

/// A message as it came.
#[derive(Debug)]
pub(in crate::core) struct Message {
    /// Its subject.
    pub(in crate::core) subject: Box<str>,
    /// Where its answer goes.
    pub(in crate::core) reply: Option<Box<str>>,
    /// Its headers.
    pub(in crate::core) headers: Vec<(Box<str>, Box<str>)>,
    /// Its payload.
    pub(in crate::core) payload: Bytes,
    /// When it came, Unix milliseconds.
    pub(in crate::core) unix_ms: u64,
}

impl Message {
    /// Copies a message.
    pub(super) fn new(now: Now, request: &Request<'_>) -> Self {
        let mut headers = Vec::new();
        request.headers.each(&mut |name, value| headers.push((name.into(), value.into())));
        Self {
            subject: request.subject.into(),
            reply: request.reply.map(Box::from),
            headers,
            payload: Bytes::copy_from_slice(request.payload),
            unix_ms: now.unix_ms,
        }
    }

    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        MESSAGE_BYTES + self.subject.len() + self.reply.as_deref().map_or(0, str::len) + headers + self.payload.len()
    }
}

/// A kept message and how it is known.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) message: Message,
    pub(super) key: u64,
    /// How often the key was heard since the move's messages are counted, this time included.
    pub(super) occurrence: u32,
    /// Moves away from us whose heirs must be told when we handle it.
    pub(super) told_to: SmallVec<[MoveId; 1]>,
}

/// What is kept until one former owner has handed over.
#[derive(Debug)]
pub(super) struct Inheritance {
    pub(super) former: NodeId,
    pub(super) id: MoveId,
    /// One bit for each partition.
    pub(super) partitions: u64,
    pub(super) since_ms: u64,
    pub(super) kept: VecDeque<Kept>,
    bytes: usize,
}

impl Inheritance {
    pub(super) const fn new(former: NodeId, id: MoveId, partitions: u64, since_ms: u64) -> Self {
        Self { former, id, partitions, since_ms, kept: VecDeque::new(), bytes: 0 }
    }

    /// Keeps a message; whether there is no place for more.
    pub(super) fn keep(&mut self, kept: Kept) -> bool {
        self.bytes += kept.message.bytes();
        self.kept.push_back(kept);
        self.kept.len() >= MESSAGES_MAX || self.bytes >= BYTES_MAX
    }
}
