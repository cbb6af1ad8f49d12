//! Writing past the queue, where nothing waits in it: one frame, or several that stand in one piece.

use super::Connection;
use crate::clock::Now;
use crate::net::counts::count_sent;
use crate::net::transport::Transport;
use crate::socket::{Outgoing, Run, Taken, Written};

impl Connection {
    pub(super) fn write_past(&mut self, now: Now, outgoing: &Outgoing) -> Written {
        let Some(bytes) = self.send_past(&outgoing.frame) else { return Written::Not };
        let number = self.outbox.written_past(now, outgoing, bytes);
        if bytes == outgoing.frame.len() {
            count_sent(&self.terms.cells, &outgoing.frame);
        }
        if self.waits() {
            return Written::Begun(number);
        }
        self.passed = number;
        Written::Whole
    }

    pub(super) fn write_run_past(&mut self, now: Now, run: &Run) -> Taken {
        let Some(mut bytes) = self.send_past(run.joined()) else { return Taken::default() };
        let mut taken = Taken::default();
        let mut number = self.passed;
        for outgoing in run.frames() {
            if bytes == 0 {
                break;
            }
            let part = bytes.min(outgoing.frame.len());
            number = self.outbox.written_past(now, outgoing, part);
            if part == outgoing.frame.len() {
                count_sent(&self.terms.cells, &outgoing.frame);
            }
            bytes -= part;
            taken.frames += 1;
        }
        taken.waits = self.waits();
        if !taken.waits {
            self.passed = number;
        }
        taken
    }

    /// How many of the bytes were taken; `None` where something waits already. What fails here fails again when the
    /// queue is written, and is dealt with there.
    fn send_past(&mut self, bytes: &[u8]) -> Option<usize> {
        if !self.takes_past() {
            return None;
        }
        let taken = self.transport.as_mut()?.try_send(bytes).ok()?;
        self.terms.cells.writes.add(1);
        self.terms.cells.sent_bytes.add(taken as u64);
        Some(taken)
    }

    /// Whether nothing waits and something may be sent.
    pub(super) fn takes_past(&self) -> bool {
        self.is_open() && !self.broken && !self.waits() && self.transport.is_some()
    }

    fn waits(&self) -> bool {
        !self.outbox.is_empty() || self.transport.as_ref().is_some_and(Transport::has_unsent)
    }
}
