//! Giving memory back when the process is short of it: the clients furthest behind are closed first.
//!
//! The sweep notes the fullest queues as it passes by, so that an order to give back looks at a bounded number of
//! connections and not at all of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use holdfast_protocol::close::Close;

use super::Shard;
use super::table::Binding;
use crate::clock::Now;
use crate::link::Key;
use crate::session::Event;
use crate::socket::Socket;

/// Queues noted in one pass of the sweep, and so closed by one order at the most.
const NOTED_MAX: usize = 256;
/// A queue shorter than this is nobody's fault, and closing for it would gain nothing.
const NOTED_BYTES_MIN: usize = 16 * 1024;

/// The fullest queues of the pass under way and of the one before.
#[derive(Debug, Default)]
pub(super) struct Relief {
    noting: BinaryHeap<Reverse<(usize, Key)>>,
    noted: Vec<Key>,
    /// Bytes in all queues, so far in this pass.
    bytes: u64,
}

impl Relief {
    /// The sweep sees a queue.
    pub(super) fn note(&mut self, key: Key, bytes: usize) {
        self.bytes += bytes as u64;
        if bytes < NOTED_BYTES_MIN {
            return;
        }
        self.noting.push(Reverse((bytes, key)));
        if self.noting.len() > NOTED_MAX {
            self.noting.pop();
        }
    }

    /// The sweep begins anew; the bytes in all queues that it has seen.
    pub(super) fn begin_pass(&mut self) -> u64 {
        self.noted = self.noting.drain().map(|Reverse((_, key))| key).collect();
        std::mem::take(&mut self.bytes)
    }

    fn candidates(&mut self) -> Vec<Key> {
        let mut keys = std::mem::take(&mut self.noted);
        keys.extend(self.noting.drain().map(|Reverse((_, key))| key));
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

impl<S: Socket> Shard<S> {
    /// Closes those who are furthest behind until so many bytes are free, and all that are nobody's yet.
    pub(super) fn relieve(&mut self, now: Now, bytes: u64) {
        self.feed_all(now, |binding| !matches!(binding, Binding::Bound { .. }), || Event::Close(Close::Overload));
        let mut behind: Vec<(usize, u32)> = Vec::new();
        for key in self.relief.candidates() {
            let Some(index) = self.table.slot(key) else { continue };
            let connection = self.table.get(index).filter(|connection| !connection.closing);
            let queued = connection.map_or(0, |connection| connection.socket.queued_bytes());
            if queued >= NOTED_BYTES_MIN {
                behind.push((queued, index));
            }
        }
        behind.sort_unstable_by_key(|(queued, _)| Reverse(*queued));
        let mut freed = 0;
        for (queued, index) in behind {
            if freed >= bytes {
                break;
            }
            freed += queued as u64;
            self.cells.relieved.add(1);
            self.feed(now, index, Event::Close(Close::SlowConsumer));
        }
    }
}
