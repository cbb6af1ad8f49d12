//! Kept messages on this node: what each local target has seen of the stream, and catching up where it has not.
//!
//! Per target the roster keeps a place in the stream. Live copies at or before it are second copies; one whose
//! predecessor is not behind it continues; anything else shows a hole, which is read from the stream before the client
//! notices. Clients that resume are served from the same kind of read, one per target however many resume. All of it is
//! synchronous: reads are requests over the hub's inbox.
//!
//! Reading order: stream (requests and answers of JetStream), reads (the loop of those under way), resumer and job (one
//! catching-up of a target), history, live (copies as they come), reconcile (after losses that no later copy would show).

mod history;
mod job;
mod live;
mod reads;
mod reconcile;
mod resumer;
mod stream;

use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap};
use holdfast_protocol::position::Position;
use holdfast_protocol::wire::{Delivery, Target as WireTarget, Text};
use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::roster::Kind;
use crate::link::SharedDelivery;
pub(super) use resumer::Resumer;

/// A user or a room.
pub(super) type Target = (Kind, Arc<str>);

/// Messages one read may take; beyond that a client is better off without what it missed.
const READ_MESSAGES_MAX: usize = 10_000;
/// Bytes of payload one read may take.
const READ_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long one request of a read may take.
const READ_MS: u64 = 5000;
/// Messages that may be held behind a hole of one target.
const HELD_MAX: usize = 4096;
/// How long after a change among the routers, or a loss, copies may turn up late: that it is noticed, that heirs repeat them,
/// and that what is missing is read back.
const DOUBTED_MS: u64 = 10_000;
/// How long after a change among the routers heirs may still repeat what was forwarded before.
const REPEATED_MS: u64 = 1_000;
/// Reads under way at once on the node; more are refused for now.
const JOBS_MAX: usize = 4096;

/// How far a target has seen the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Its first members still wait for the routers; copies up to this one came already.
    Unknown(u64),
    /// It has members, but nobody has named a place yet: kept messages were not on when they came.
    Open,
    /// Everything up to here was delivered, or is older than the first member.
    At(u64),
}

/// The node's side of kept messages.
#[derive(Debug)]
pub(super) struct Kept {
    /// The stream's name; `None` where kept messages are off.
    stream: Option<String>,
    /// The stream's incarnation, once heard.
    epoch: Option<Text>,
    /// A router has named a place in the stream: whoever was here before begins there.
    has_begun: bool,
    /// Everything up to here had reached this node, as of the end of a turn without loss.
    safe: u64,
    /// The same when the holes that are known are filled.
    reached: u64,
    /// Until then something may still turn up that lies before it: routers came, went or were lost lately.
    doubted_until_ms: u64,
    /// Reads for somebody, by number; those that catch up by target too.
    tasks: HashMap<u64, reads::Task, FxBuildHasher>,
    by_target: HashMap<Target, u64>,
    next_task: u64,
    /// Live copies behind a hole, by target, in order. Bounded by [`HELD_MAX`] each. Walked in the order in which the holes were
    /// seen, so that a simulation does the same twice.
    held: IndexMap<Target, Vec<Arc<SharedDelivery>>, DefaultHashBuilder>,
    reconcile: reconcile::Reconcile,
    /// When the stream was last asked for its epoch, because somebody named another.
    epoch_asked_ms: Option<u64>,
}

impl Kept {
    pub(super) fn new(stream: Option<String>) -> Self {
        Self {
            stream,
            epoch: None,
            has_begun: false,
            safe: 0,
            reached: 0,
            doubted_until_ms: 0,
            tasks: HashMap::default(),
            by_target: HashMap::new(),
            next_task: 0,
            held: IndexMap::default(),
            reconcile: reconcile::Reconcile::Idle,
            epoch_asked_ms: None,
        }
    }

    /// Whether the stream has been heard of.
    pub(super) const fn is_on(&self) -> bool {
        self.stream.is_some() && self.epoch.is_some()
    }

    /// Whether the position is one of the present epoch.
    pub(super) fn is_of(&self, position: &Position) -> bool {
        self.epoch.as_ref() == Some(&position.epoch)
    }

    /// What was read goes for what has reached the node, once no hole is known that may have to be looked for anew.
    fn settle(&mut self) {
        if self.held.is_empty() {
            self.safe = self.safe.max(std::mem::take(&mut self.reached));
        }
    }

    const fn next_number(&mut self) -> u64 {
        self.next_task += 1;
        self.next_task
    }
}

/// Whom a kept delivery is for.
fn target_of(delivery: &Delivery) -> Option<Target> {
    match delivery.targets.first()? {
        WireTarget::User(user) => Some((Kind::User, Arc::from(user.as_str()))),
        WireTarget::Room(room) => Some((Kind::Room, Arc::from(room.as_str()))),
        WireTarget::Connection(_) | WireTarget::All => None,
    }
}

/// The sequence of a kept delivery.
fn seq_of(delivery: &Delivery) -> u64 {
    delivery.kept.as_ref().map_or(0, |kept| kept.seq)
}
