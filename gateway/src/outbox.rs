//! What waits to be written to one socket: complete frames, bounded in bytes and age.
//!
//! Pure: knows no socket and no clock. It never grows past its bounds; what gives way then is the endpoint's policy.
//! An empty outbox holds no heap memory, so that an idle connection costs two words here.

mod bounds;
mod waiting;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::num::NonZeroU64;

use bytes::Bytes;
use rustc_hash::FxHashMap;

pub use self::bounds::{Bounds, WhenFull};
use crate::clock::Now;
use crate::socket::{Class, LEFT, Outgoing, Pushed};

/// What a queued frame costs besides its bytes: its place in the queue. Counted, so that a queue of tiny frames is
/// bounded by what it really holds.
pub const ENTRY_BYTES: usize = size_of::<Entry>();

/// Messages that were queued, or offered, and will never be written; for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// Their time was over.
    pub expired: u64,
    /// A newer one of the same key took their place.
    pub replaced: u64,
    /// They gave way under [`WhenFull::DropOldest`].
    pub dropped: u64,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The number of the last frame queued.
    last: u64,
    waiting: Option<Box<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// In ascending numbers. The first is always a live one.
    entries: VecDeque<Entry>,
    /// Entries whose frame was taken back; they stay in place until many have gathered.
    dead: usize,
    /// Frame bytes of live entries, the written part of the first included.
    bytes: usize,
    /// How much of the first frame has been written.
    head_written: usize,
    /// The number of the unsent message of a scope and key.
    keyed: FxHashMap<(u32, u64), u64>,
    gaps: Vec<u32>,
    /// Scopes whose kept messages gave way, and the position of the first that did.
    behind: Vec<(u32, NonZeroU64)>,
    /// Frames taken back that were queued after `known`, the last one at the last [`Outbox::take_withdrawn`].
    withdrawn: Vec<u64>,
    known: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// Empty once taken back; a frame never is.
    frame: Bytes,
    queued_ms: u64,
    class: Class,
}

impl Entry {
    fn is_dead(&self) -> bool {
        self.frame.is_empty()
    }

    fn is_expired(&self, unix_ms: u64) -> bool {
        is_expired(&self.class, unix_ms)
    }
}

fn is_expired(class: &Class, unix_ms: u64) -> bool {
    matches!(class, Class::Message { expires_ms: Some(expires_ms), .. } if *expires_ms < unix_ms)
}

impl Outbox {
    /// Queues a frame, or says why not. Under "drop oldest" older messages may give way; see [`Self::take_gaps`].
    pub fn push(&mut self, now: Now, outgoing: Outgoing, bounds: &Bounds, lost: &mut Lost) -> Pushed {
        if is_expired(&outgoing.class, now.unix_ms) {
            lost.expired += 1;
            return Pushed::Dropped;
        }
        if let Some(waiting) = &mut self.waiting {
            if waiting.is_behind(&outgoing.class) {
                // It will be read from the stream, behind those that gave way before it.
                return Pushed::Dropped;
            }
            if let Class::Message { scope, key: Some(key), .. } = outgoing.class {
                waiting.replace(scope, key, lost);
            }
            if !waiting.make_room(outgoing.frame.len(), bounds, lost) {
                return match (&outgoing.class, bounds.when_full) {
                    (Class::Message { scope, kept, .. }, WhenFull::DropOldest) => {
                        lost.dropped += 1;
                        waiting.note_lost(*scope, *kept);
                        Pushed::Dropped
                    }
                    (Class::Control, WhenFull::DropOldest) | (_, WhenFull::Close) => Pushed::Overflow,
                };
            }
            if waiting.is_behind(&outgoing.class) {
                // Those that gave way for it come before it.
                return Pushed::Dropped;
            }
        }
        Pushed::Queued(self.append(now, outgoing))
    }

    /// Queues a frame behind everything, whatever the bounds: for the last one, the close frame.
    pub fn push_last(&mut self, now: Now, frame: Bytes) -> u64 {
        self.append(now, Outgoing { frame, class: Class::Control })
    }

    /// Takes note of a frame that was written past the queue, which must be empty: so many bytes of it; a rest waits
    /// from now on. Returns its number.
    pub fn written_past(&mut self, now: Now, outgoing: &Outgoing, bytes: usize) -> u64 {
        if bytes >= outgoing.frame.len() {
            self.last += 1;
            return self.last;
        }
        let number = self.append(now, outgoing.clone());
        if let Some(waiting) = &mut self.waiting {
            waiting.head_written = bytes;
        }
        number
    }

    fn append(&mut self, now: Now, outgoing: Outgoing) -> u64 {
        self.last += 1;
        let known = self.last - 1;
        let waiting = self.waiting.get_or_insert_with(|| Box::new(Waiting { known, ..Waiting::default() }));
        waiting.bytes += outgoing.frame.len();
        if let Class::Message { scope, key: Some(key), .. } = outgoing.class {
            waiting.keyed.insert((scope, key), self.last);
        }
        let Outgoing { frame, class } = outgoing;
        waiting.entries.push_back(Entry { number: self.last, frame, queued_ms: now.ms, class });
        self.last
    }

    /// Whether a frame of this size fits without anything giving way.
    pub fn fits(&self, frame_bytes: usize, bounds: &Bounds) -> bool {
        self.waiting.as_ref().is_none_or(|waiting| waiting.fits(frame_bytes, bounds))
    }

    /// Points `slices` at what is to be written next, in order; returns how many were filled. Messages whose time is
    /// over are taken back on the way, except one that has been written in part.
    pub fn fill<'a>(&'a mut self, now: Now, slices: &mut [IoSlice<'a>], lost: &mut Lost) -> usize {
        if let Some(waiting) = &mut self.waiting {
            waiting.expire(now.unix_ms, slices.len(), lost);
        }
        self.release();
        let Some(waiting) = &self.waiting else { return 0 };
        let mut written = waiting.head_written;
        let mut filled = 0;
        let live = waiting.entries.iter().filter(|entry| !entry.is_dead());
        for (slice, entry) in slices.iter_mut().zip(live) {
            *slice = IoSlice::new(entry.frame.get(written..).unwrap_or_default());
            written = 0;
            filled += 1;
        }
        filled
    }

    /// Takes note that so many bytes of what [`Self::fill`] pointed at have been written; calls `written` for each
    /// frame that is whole now.
    pub fn advance(&mut self, bytes: usize, written: impl FnMut(&Bytes)) {
        if let Some(waiting) = &mut self.waiting {
            waiting.advance(bytes, written);
        }
        self.release();
    }

    /// The number up to which all frames are written, taken back or expired.
    pub fn passed(&self) -> u64 {
        let first = self.waiting.as_ref().and_then(|waiting| waiting.entries.front());
        first.map_or(self.last, |entry| entry.number - 1)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.as_ref().is_none_or(|waiting| waiting.entries.is_empty())
    }

    /// Frame bytes that wait.
    pub fn bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.bytes - waiting.head_written)
    }

    /// Scopes that lost messages to "drop oldest" since the last call, each once.
    pub fn take_gaps(&mut self) -> Vec<u32> {
        let gaps = self.waiting.as_mut().map(|waiting| std::mem::take(&mut waiting.gaps)).unwrap_or_default();
        self.release();
        gaps
    }

    /// Scopes whose kept messages gave way since the last call, and the position of the first of each.
    pub fn take_behind(&mut self) -> Vec<(u32, NonZeroU64)> {
        let behind = self.waiting.as_mut().map(|waiting| std::mem::take(&mut waiting.behind)).unwrap_or_default();
        self.release();
        behind
    }

    /// The numbers of frames that were queued since the last call and taken back: they count as passed, and nobody will
    /// ever get them.
    pub fn take_withdrawn(&mut self) -> Vec<u64> {
        let Some(waiting) = &mut self.waiting else { return Vec::new() };
        waiting.known = self.last;
        let withdrawn = std::mem::take(&mut waiting.withdrawn);
        self.release();
        withdrawn
    }

    /// The client is in this scope no more: see [`Socket::forget`](crate::socket::Socket::forget).
    pub fn forget(&mut self, scope: u32) -> Lost {
        let mut lost = Lost::default();
        let Some(waiting) = &mut self.waiting else { return lost };
        waiting.gaps.retain(|known| *known != scope);
        waiting.behind.retain(|(known, _)| *known != scope);
        waiting.keyed.retain(|(known, _), _| *known != scope);
        for index in 0..waiting.entries.len() {
            let Some(entry) = waiting.entries.get_mut(index) else { break };
            if let Class::Message { scope: of, key, kept, .. } = &mut entry.class
                && *of == scope
            {
                let was_kept = kept.is_some();
                (*of, *key, *kept) = (LEFT, None, None);
                // One might give way and a later one not. The client can resume where it is.
                if was_kept && !entry.is_dead() && waiting.take_back(index) {
                    lost.dropped += 1;
                }
            }
        }
        waiting.tidy();
        self.release();
        lost
    }

    /// Looks at the age of what waits. `true`: the client is too slow for its policy. Under "drop oldest" messages
    /// over the age give way first, and only what may not be dropped makes it `true`.
    pub fn is_too_old(&mut self, now: Now, bounds: &Bounds, lost: &mut Lost) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        let too_old = |entry: &Entry| now.ms.saturating_sub(entry.queued_ms) > bounds.age_max_ms;
        if bounds.when_full == WhenFull::Close {
            return waiting.entries.front().is_some_and(too_old);
        }
        let aged = waiting.entries.partition_point(too_old);
        let mut control = false;
        for index in 0..aged {
            control |= !waiting.drop_message(index, lost);
        }
        waiting.tidy();
        self.release();
        control
    }

    /// Takes back all that is not begun: nobody will read it.
    pub fn clear(&mut self) {
        let Some(waiting) = &mut self.waiting else { return };
        for index in usize::from(waiting.head_written > 0)..waiting.entries.len() {
            waiting.note_withdrawn(index);
        }
        waiting.entries.truncate(usize::from(waiting.head_written > 0));
        waiting.dead = 0;
        waiting.bytes = waiting.entries.iter().map(|entry| entry.frame.len()).sum();
        waiting.keyed.clear();
        self.release();
    }

    fn release(&mut self) {
        let holds_nothing = |waiting: &Waiting| {
            waiting.entries.is_empty()
                && waiting.gaps.is_empty()
                && waiting.behind.is_empty()
                && waiting.withdrawn.is_empty()
        };
        if self.waiting.as_deref().is_some_and(holds_nothing) {
            self.waiting = None;
        }
    }
}

#[cfg(test)]
mod tests;
