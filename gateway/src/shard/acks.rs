//! Which connections still owe an acknowledgement, for receipts that asked for `acked`. Bounded and expiring.
//!
//! Knows message ids and keys of connections, nothing of either.

use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

use crate::clock::Now;
use crate::link::{Key, ReceiptRef, ToHub};

/// Acknowledgements tracked at once on a shard. What is beyond is not asked for in the receipt, and counted.
const TRACKED_MAX: usize = 1 << 18;
/// Messages tracked at once.
const MESSAGES_MAX: usize = 1 << 16;
/// How often expired messages are looked for, in milliseconds.
const EXPIRE_EVERY_MS: u64 = 1000;

#[derive(Debug)]
struct Waiting {
    receipt: ReceiptRef,
    expires_ms: u64,
    connections: HashSet<Key, FxBuildHasher>,
    /// Acknowledged since the last report.
    fresh: u64,
    /// Gone without since the last report.
    gone: u64,
}

/// Messages by id; several sends may have used one.
#[derive(Debug, Default)]
pub(super) struct Acks {
    by_id: HashMap<Box<str>, Vec<Waiting>>,
    messages: usize,
    tracked: usize,
    /// The message of the delivery under way.
    current: Option<Box<str>>,
    /// Ids with something to report.
    fresh: Vec<Box<str>>,
    expired_ms: u64,
}

impl Acks {
    /// Starts a message; [`Self::track`] adds to it. False if there is no place for it.
    pub(super) fn begin(&mut self, id: &str, receipt: ReceiptRef, expires_ms: u64) -> bool {
        if self.messages >= MESSAGES_MAX {
            self.current = None;
            return false;
        }
        self.messages += 1;
        self.current = Some(id.into());
        let waiting = Waiting { receipt, expires_ms, connections: HashSet::default(), fresh: 0, gone: 0 };
        self.by_id.entry(id.into()).or_default().push(waiting);
        true
    }

    /// Notes that a connection owes an acknowledgement of the message begun last.
    pub(super) fn track(&mut self, key: Key) -> bool {
        if self.tracked >= TRACKED_MAX {
            return false;
        }
        let waiting = self.current.as_ref().and_then(|id| self.by_id.get_mut(id)).and_then(|list| list.last_mut());
        let added = waiting.is_some_and(|waiting| waiting.connections.insert(key));
        self.tracked += usize::from(added);
        added
    }

    /// A connection acknowledged a message.
    pub(super) fn acknowledge(&mut self, id: &str, key: Key) {
        let Some(list) = self.by_id.get_mut(id) else { return };
        for waiting in list {
            if waiting.connections.remove(&key) {
                self.tracked -= 1;
                waiting.fresh += 1;
                if waiting.fresh + waiting.gone == 1 {
                    self.fresh.push(id.into());
                }
            }
        }
    }

    /// A connection has ended: it will acknowledge nothing any more. Looks at all messages under way, which are few.
    pub(super) fn forget(&mut self, key: Key) {
        if self.tracked == 0 {
            return;
        }
        let known = self.fresh.len();
        for (id, list) in &mut self.by_id {
            for waiting in list {
                if waiting.connections.remove(&key) {
                    self.tracked -= 1;
                    waiting.gone += 1;
                    if waiting.fresh + waiting.gone == 1 {
                        self.fresh.push(id.clone());
                    }
                }
            }
        }
        // What follows from a run must not depend on where a table has its entries.
        if let Some(added) = self.fresh.get_mut(known..) {
            added.sort_unstable();
        }
    }

    /// Reports what was acknowledged since the last call, and forgets what is complete.
    pub(super) fn report(&mut self, to_hub: &mut Vec<ToHub>) {
        for id in self.fresh.drain(..) {
            let Some(list) = self.by_id.get_mut(&id) else { continue };
            for waiting in list.iter_mut().filter(|waiting| waiting.fresh + waiting.gone > 0) {
                let (acked, gone) = (std::mem::take(&mut waiting.fresh), std::mem::take(&mut waiting.gone));
                to_hub.push(ToHub::Acked { receipt: waiting.receipt, acked, gone });
            }
            let before = list.len();
            list.retain(|waiting| !waiting.connections.is_empty());
            self.messages -= before - list.len();
            if list.is_empty() {
                self.by_id.remove(&id);
            }
        }
    }

    /// Forgets messages whose routers wait no longer.
    pub(super) fn expire(&mut self, now: Now) {
        if now.ms < self.expired_ms + EXPIRE_EVERY_MS || self.messages == 0 {
            return;
        }
        self.expired_ms = now.ms;
        let (messages, tracked) = (&mut self.messages, &mut self.tracked);
        self.by_id.retain(|_, list| {
            list.retain(|waiting| {
                let keep = waiting.expires_ms > now.ms
                    && !(waiting.connections.is_empty() && waiting.fresh + waiting.gone == 0);
                if !keep {
                    *messages -= 1;
                    *tracked -= waiting.connections.len();
                }
                keep
            });
            !list.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::id::NodeId;

    use super::*;

    fn key(index: u32) -> Key {
        Key { index, generation: 1 }
    }

    #[test]
    fn each_connection_counts_once_and_strangers_never() {
        let receipt = ReceiptRef { router: NodeId::router([1; 8]), number: 7 };
        let mut acks = Acks::default();
        assert!(acks.begin("m", receipt, 1000));
        assert!(acks.track(key(1)) && acks.track(key(2)));

        for _ in 0..2 {
            acks.acknowledge("m", key(1));
        }
        acks.acknowledge("m", key(3));
        acks.acknowledge("other", key(2));
        let mut told = Vec::new();
        acks.report(&mut told);

        assert!(matches!(told[..], [ToHub::Acked { acked: 1, .. }]), "{told:?}");
        acks.expire(Now { ms: 2000, unix_ms: 0 });
        assert_eq!((acks.messages, acks.tracked, acks.by_id.len()), (0, 0, 0));
    }
}
