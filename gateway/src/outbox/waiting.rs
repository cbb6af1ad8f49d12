//! What is done to the frames that wait: which give way, are replaced or have had their time. Knows no socket.

use std::num::NonZeroU64;

use bytes::Bytes;

use super::{Bounds, ENTRY_BYTES, Entry, Lost, Waiting, WhenFull};
use crate::socket::{Class, LEFT};

impl Waiting {
    pub(super) fn fits(&self, frame_bytes: usize, bounds: &Bounds) -> bool {
        let live = self.entries.len() - self.dead;
        live == 0 || self.bytes + frame_bytes + (live + 1) * ENTRY_BYTES <= bounds.bytes_max
    }

    /// Whether the frame fits, after older messages gave way if the policy lets them.
    pub(super) fn make_room(&mut self, frame_bytes: usize, bounds: &Bounds, lost: &mut Lost) -> bool {
        let mut index = 0;
        while !self.fits(frame_bytes, bounds) {
            if bounds.when_full == WhenFull::Close || index == self.entries.len() {
                self.tidy();
                return false;
            }
            self.drop_message(index, lost);
            index += 1;
        }
        self.tidy();
        true
    }

    /// Takes a message back and notes the gap. Says whether the entry is one that may be dropped or is dead already.
    pub(super) fn drop_message(&mut self, index: usize, lost: &mut Lost) -> bool {
        let Some(entry) = self.entries.get(index) else { return true };
        let Class::Message { scope, kept, .. } = entry.class else { return false };
        if !entry.is_dead() && self.take_back(index) {
            lost.dropped += 1;
            self.note_lost(scope, kept);
            if kept.is_some() {
                self.drop_kept_behind(index, scope, lost);
            }
        }
        true
    }

    /// A message of this scope is lost to the client. A kept one is not: the stream has it.
    pub(super) fn note_lost(&mut self, scope: u32, kept: Option<NonZeroU64>) {
        match kept {
            Some(seq) if self.behind.iter().all(|(known, _)| *known != scope) => self.behind.push((scope, seq)),
            None if scope != LEFT && !self.gaps.contains(&scope) => self.gaps.push(scope),
            Some(_) | None => {}
        }
    }

    /// A kept message gave way: those of its scope behind it would come before it now, and go too.
    fn drop_kept_behind(&mut self, index: usize, scope: u32, lost: &mut Lost) {
        for later in index + 1..self.entries.len() {
            let Some(entry) = self.entries.get(later) else { break };
            let is_kept = matches!(entry.class, Class::Message { scope: of, kept: Some(_), .. } if of == scope);
            if is_kept && !entry.is_dead() && self.take_back(later) {
                lost.dropped += 1;
            }
        }
    }

    pub(super) fn is_behind(&self, class: &Class) -> bool {
        let Class::Message { scope, kept: Some(_), .. } = class else { return false };
        self.behind.iter().any(|(behind, _)| behind == scope)
    }

    /// A newer message of this scope and key comes: the unsent older one goes.
    pub(super) fn replace(&mut self, scope: u32, key: u64, lost: &mut Lost) {
        let Some(&number) = self.keyed.get(&(scope, key)) else { return };
        let index = self.entries.partition_point(|entry| entry.number < number);
        if self.take_back(index) {
            lost.replaced += 1;
        }
        self.tidy();
    }

    /// Takes back the messages among the first `live` that are over their time.
    pub(super) fn expire(&mut self, unix_ms: u64, live: usize, lost: &mut Lost) {
        let (mut index, mut seen) = (0, 0);
        while seen < live {
            let Some(entry) = self.entries.get(index) else { break };
            if entry.is_expired(unix_ms) && !entry.is_dead() && self.take_back(index) {
                lost.expired += 1;
            } else if self.entries.get(index).is_some_and(|entry| !entry.is_dead()) {
                seen += 1;
            }
            index += 1;
        }
        self.tidy();
    }

    /// Marks an entry dead. Not one that has been written in part: the client waits for its rest.
    pub(super) fn take_back(&mut self, index: usize) -> bool {
        if index == 0 && self.head_written > 0 {
            return false;
        }
        self.note_withdrawn(index);
        let Some(entry) = self.entries.get_mut(index) else { return false };
        self.bytes -= entry.frame.len();
        entry.frame = Bytes::new();
        self.dead += 1;
        let (number, class) = (entry.number, entry.class.clone());
        self.forget_key(number, &class);
        true
    }

    pub(super) fn note_withdrawn(&mut self, index: usize) {
        if let Some(entry) = self.entries.get(index).filter(|entry| !entry.is_dead() && entry.number > self.known) {
            self.withdrawn.push(entry.number);
        }
    }

    fn forget_key(&mut self, number: u64, class: &Class) {
        if let Class::Message { scope, key: Some(key), .. } = *class
            && self.keyed.get(&(scope, key)) == Some(&number)
        {
            self.keyed.remove(&(scope, key));
        }
    }

    pub(super) fn advance(&mut self, mut bytes: usize, mut written: impl FnMut(&Bytes)) {
        while let Some(first) = self.entries.front() {
            let rest = first.frame.len() - self.head_written;
            if bytes < rest {
                self.head_written += bytes;
                break;
            }
            bytes -= rest;
            self.head_written = 0;
            self.bytes -= first.frame.len();
            if let Some(Entry { number, class, frame, .. }) = self.entries.pop_front() {
                self.forget_key(number, &class);
                written(&frame);
            }
            self.tidy();
            if bytes == 0 {
                break;
            }
        }
    }

    /// Removes the dead from the front, and everywhere once they are the most: each is moved over at most twice.
    pub(super) fn tidy(&mut self) {
        while self.entries.front().is_some_and(Entry::is_dead) {
            self.entries.pop_front();
            self.dead -= 1;
        }
        if self.dead > self.entries.len() / 2 + 16 {
            self.entries.retain(|entry| !entry.is_dead());
            self.dead = 0;
        }
    }
}
