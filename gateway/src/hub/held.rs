//! Clients' messages that are held while the bus is away: in order, bounded in bytes and time, and in the end sent or
//! given back to be answered.

use std::collections::VecDeque;

use super::edge::Publication;
use crate::link::ConnRef;
use crate::session::Ticket;

/// What a message costs besides its bytes and those of its headers.
const MESSAGE_BYTES: usize = 256;

/// Who sent a message, and which answer is waited for.
pub(super) type From = (ConnRef, Option<Ticket>);

#[derive(Debug)]
struct Message {
    from: From,
    publication: Publication,
    bytes: usize,
    deadline_ms: u64,
}

/// The messages.
#[derive(Debug)]
pub(super) struct Held {
    bytes_max: usize,
    timeout_ms: u64,
    bytes: usize,
    messages: VecDeque<Message>,
}

impl Held {
    /// None yet; with `bytes_max` of 0 none ever.
    pub(super) const fn new(bytes_max: usize, timeout_ms: u64) -> Self {
        Self { bytes_max, timeout_ms, bytes: 0, messages: VecDeque::new() }
    }

    /// Takes a message, if it fits.
    pub(super) fn hold(&mut self, now_ms: u64, from: From, publication: Publication) -> bool {
        let headers = publication.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let bytes = publication.payload.len() + publication.subject.len() + headers + MESSAGE_BYTES;
        if self.bytes + bytes > self.bytes_max {
            return false;
        }
        self.bytes += bytes;
        let deadline_ms = now_ms.saturating_add(self.timeout_ms);
        self.messages.push_back(Message { from, publication, bytes, deadline_ms });
        true
    }

    /// The oldest.
    pub(super) fn next(&mut self) -> Option<(From, Publication)> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.bytes;
        Some((message.from, message.publication))
    }

    /// The oldest, if its time is over.
    pub(super) fn next_expired(&mut self, now_ms: u64) -> Option<From> {
        let is_over = self.messages.front().is_some_and(|message| message.deadline_ms <= now_ms);
        is_over.then(|| self.next()).flatten().map(|(from, _)| from)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::link::Key;

    fn from(ticket: Ticket) -> From {
        (ConnRef { shard: 0, key: Key { index: 1, generation: 1 } }, Some(ticket))
    }

    fn message(bytes: usize) -> Publication {
        Publication::plain("hf.up.chat.x".into(), Bytes::from(vec![0; bytes]))
    }

    #[test]
    fn messages_leave_in_order_and_make_room() {
        let mut held = Held::new(2000, 1000);
        for ticket in 0..3 {
            assert_eq!(held.hold(0, from(ticket), message(500)), ticket < 2, "two fit");
        }
        assert!(held.bytes() > 1000 && held.bytes() <= 2000, "{}", held.bytes());

        assert_eq!(held.next().map(|(from, _)| from), Some(from(0)));
        assert!(held.hold(0, from(3), message(500)));
        let rest: Vec<_> = std::iter::from_fn(|| held.next()).map(|(from, _)| from.1).collect();
        assert_eq!(rest, [Some(1), Some(3)]);
        assert!(held.is_empty() && held.bytes() == 0);
    }

    #[test]
    fn each_has_its_time_and_none_is_held_where_nothing_may_be() {
        let mut held = Held::new(10_000, 1000);
        held.hold(0, from(1), message(10));
        held.hold(500, from(2), message(10));

        assert_eq!(held.next_expired(999), None);
        assert_eq!(held.next_expired(1000), Some(from(1)));
        assert_eq!(held.next_expired(1000), None);
        assert!(!Held::new(0, 1000).hold(0, from(1), message(0)));
    }
}
