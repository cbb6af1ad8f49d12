//! Pages of a room's past, read for one client.

use std::sync::Arc;

use holdfast_protocol::dialect::json::{Cursor, Mark};
use holdfast_protocol::kept;
use holdfast_protocol::position::Position;
use holdfast_protocol::wire::{Delivery, Target as WireTarget};

use super::stream::{Read, Step};
use super::{JOBS_MAX, READ_MS};
use crate::clock::Now;
use crate::hub::core::Hub;
use crate::hub::edge::{Edge, Received};
use crate::hub::upstream::Purpose;
use crate::link::{ConnRef, ToShard};
use crate::session::{Failure, HistoryPage, Outcome, Ticket};

/// A page under way.
#[derive(Debug)]
pub(super) struct Page {
    conn: ConnRef,
    ticket: Ticket,
    from: Cursor,
    limit: usize,
    read: Read,
}

impl Hub {
    /// Reads a page of a room's past.
    pub(in crate::hub) fn start_history(
        &mut self,
        now: Now,
        edge: &mut dyn Edge,
        asker: (ConnRef, Ticket),
        room: &Arc<str>,
        from: Cursor,
        limit: u16,
    ) {
        let (conn, ticket) = asker;
        let (Cursor::Before(Mark { epoch, seq }) | Cursor::After(Mark { epoch, seq })) = &from;
        let failure = match &self.kept.epoch {
            Some(present) if epoch.as_ref().is_some_and(|epoch| epoch != present) => Some(Failure::OtherEpoch),
            Some(_) if self.kept.histories.len() < JOBS_MAX => None,
            Some(_) | None => Some(Failure::Unavailable),
        };
        if let Some(failure) = failure {
            Self::answer_history(edge, conn, ticket, Err(failure));
            return;
        }
        let subject = kept::subject_of(&self.subjects, &WireTarget::Room((&**room).into())).unwrap_or_default();
        // Streams are read forwards alone; a page before a mark is the end of what lies before it. What a subject may
        // hold is bounded by the stream's own limit, and the read by its own.
        let begin = if matches!(from, Cursor::After(_)) { seq.saturating_add(1) } else { 1 };
        let page = Page { conn, ticket, limit: usize::from(limit), read: Read::new(subject, begin), from };
        let number = self.kept.next_number();
        self.ask_history(now, edge, number, page);
    }

    fn ask_history(&mut self, now: Now, edge: &mut dyn Edge, number: u64, page: Page) {
        let stream = self.kept.stream.as_deref().unwrap_or_default();
        self.cells.kept_reads.add(1);
        match self.upstream.ask(edge, Purpose::Page(number), page.read.ask(stream), now.ms + READ_MS) {
            Ok(()) => {
                self.kept.histories.insert(number, page);
            }
            Err(failure) => Self::answer_history(edge, page.conn, page.ticket, Err(failure)),
        }
    }

    /// An answer; whether the same request has more to come.
    pub(in crate::hub) fn on_history(
        &mut self,
        now: Now,
        edge: &mut dyn Edge,
        number: u64,
        message: &Received,
    ) -> bool {
        let Some(mut page) = self.kept.histories.remove(&number) else { return false };
        let epoch = self.kept.epoch.clone().unwrap_or_default();
        match page.read.take(&self.subjects, &epoch, message) {
            Step::More => {
                self.kept.histories.insert(number, page);
                return true;
            }
            Step::Again if !page.is_full() => self.ask_history(now, edge, number, page),
            Step::Again | Step::Done => {
                let (conn, ticket) = (page.conn, page.ticket);
                Self::answer_history(edge, conn, ticket, Ok(page.finish()));
            }
            Step::TooMuch | Step::Failed => {
                Self::answer_history(edge, page.conn, page.ticket, Err(Failure::Unavailable));
            }
        }
        false
    }

    /// The request came to nothing.
    pub(in crate::hub) fn history_failed(&mut self, edge: &mut dyn Edge, number: u64, failure: Failure) {
        if let Some(page) = self.kept.histories.remove(&number) {
            Self::answer_history(edge, page.conn, page.ticket, Err(failure));
        }
    }

    fn answer_history(edge: &mut dyn Edge, conn: ConnRef, ticket: Ticket, result: Outcome<HistoryPage>) {
        edge.to_shard(conn.shard, ToShard::History { conn, ticket, result });
    }
}

impl Page {
    /// Whether what was read is all that can matter.
    fn is_full(&self) -> bool {
        match &self.from {
            Cursor::After(_) => self.read.messages.len() > self.limit,
            Cursor::Before(mark) => self.read.messages.last().is_some_and(|last| super::seq_of(last) >= mark.seq),
        }
    }

    fn finish(self) -> HistoryPage {
        let mut messages = self.read.messages;
        match self.from {
            Cursor::After(_) => {
                let more = messages.len() > self.limit;
                messages.truncate(self.limit);
                let next = messages.last().filter(|_| more).and_then(position_of);
                HistoryPage { messages, next }
            }
            Cursor::Before(mark) => {
                messages.truncate(messages.partition_point(|message| super::seq_of(message) < mark.seq));
                let skip = messages.len().saturating_sub(self.limit);
                let messages = messages.split_off(skip);
                let next = messages.first().filter(|_| skip > 0).and_then(position_of);
                HistoryPage { messages, next }
            }
        }
    }
}

fn position_of(delivery: &Delivery) -> Option<Position> {
    delivery.kept.as_ref().map(|kept| Position { epoch: kept.epoch.clone(), seq: kept.seq })
}
