//! Pages of a room's past, read for one client.

use std::sync::Arc;

use holdfast_protocol::dialect::json::{Cursor, Mark};
use holdfast_protocol::kept;
use holdfast_protocol::position::Position;
use holdfast_protocol::subject::Subjects;
use holdfast_protocol::wire::{Delivery, Target as WireTarget, Text};

use super::JOBS_MAX;
use super::job::STALE_MAX;
use super::reads::Task;
use super::stream::{self, Read, Step};
use crate::clock::Now;
use crate::hub::core::Hub;
use crate::hub::edge::{Edge, Publication, Received};
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
    /// The stream's incarnation when the read began, …
    epoch: Text,
    /// … which is looked at again behind it.
    is_read: bool,
    /// The room's last message as the leader has it: a replica that lags does not prove a page.
    last: Option<u64>,
    /// Answers that were behind it.
    stale: u8,
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
            Some(_) if self.kept.tasks.len() < JOBS_MAX => None,
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
        let page = Page {
            conn,
            ticket,
            limit: usize::from(limit),
            read: Read::new(subject, begin),
            from,
            epoch: self.kept.epoch.clone().unwrap_or_default(),
            is_read: false,
            last: None,
            stale: 0,
        };
        let number = self.kept.next_number();
        self.read_on(now, edge, number, Task::Page(page));
    }

    pub(super) fn finish_page(edge: &mut dyn Edge, page: Page, whole: bool) {
        let (conn, ticket) = (page.conn, page.ticket);
        let result = if whole { Ok(page.finish()) } else { Err(Failure::Unavailable) };
        Self::answer_history(edge, conn, ticket, result);
    }

    pub(super) fn refuse_page(edge: &mut dyn Edge, page: Page, failure: Failure) {
        Self::answer_history(edge, page.conn, page.ticket, Err(failure));
    }

    fn answer_history(edge: &mut dyn Edge, conn: ConnRef, ticket: Ticket, result: Outcome<HistoryPage>) {
        edge.to_shard(conn.shard, ToShard::History { conn, ticket, result });
    }
}

impl Page {
    /// The next request.
    pub(super) fn ask(&self, stream: &str) -> Publication {
        match self.last {
            None => stream::ask_last(stream, self.read.filter()),
            Some(_) if self.is_read => stream::ask_info(stream, None),
            Some(_) => self.read.ask(stream),
        }
    }

    /// An answer.
    pub(super) fn take(&mut self, subjects: &Subjects, message: &Received) -> Step {
        let Some(last) = self.last else {
            self.last = stream::parse_place(&message.payload);
            return if self.last.is_some() { Step::Again } else { Step::Failed };
        };
        if self.is_read {
            return match stream::look(message, &self.epoch) {
                Ok(_) => Step::Done,
                Err(step) => step,
            };
        }
        match self.read.take(subjects, &self.epoch, message) {
            Step::Again if !self.is_full() => Step::Again,
            Step::Done if self.read.reached() < last && !self.is_full() => {
                self.stale += 1;
                if self.stale < STALE_MAX { Step::Again } else { Step::Failed }
            }
            Step::Again | Step::Done => {
                self.is_read = true;
                Step::Again
            }
            step => step,
        }
    }

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
