//! What nodes tell this router alone: results of its packets, answers to its questions, whole rosters, and that it was
//! given up.

use holdfast_protocol::wire::{Report, RouterBound};

use super::event::Now;
use super::receipts::Closed;
use super::{Phase, Router};

impl Router {
    pub(super) fn on_told(&mut self, now: Now, message: RouterBound) {
        if self.phase == Phase::Away {
            return;
        }
        match message {
            RouterBound::Report(report) => self.on_report(report),
            RouterBound::Snapshot(snapshot) => self.on_snapshot(now, snapshot),
            RouterBound::Handled(handled) => self.on_handled(now, handled),
            RouterBound::Fenced(term) => {
                let outcome = self.membership.obey(term);
                self.follow(now, &outcome);
            }
        }
    }

    fn on_report(&mut self, report: Report) {
        let Some(slot) = self.fleet.slot(report.node) else { return };
        for part in &report.receipts {
            if let Some(closed) = self.receipts.report(slot, part, &mut self.actions) {
                self.count_receipt(closed);
            }
        }
        for part in &report.acks {
            if let Some(closed) = self.receipts.acknowledge(slot, part, &mut self.actions) {
                self.count_receipt(closed);
            }
        }
        let bytes_max = self.fleet.max_payload();
        for answer in report.answers {
            if self.questions.answer(slot, answer, bytes_max, &mut self.actions) {
                self.tally.queries += 1;
            }
        }
    }

    pub(super) const fn count_receipt(&mut self, closed: Closed) {
        if closed.late {
            self.tally.receipts_late += 1;
        } else {
            self.tally.receipts_complete += 1;
        }
    }
}
