//! Receipts and questions under way on this node: parts from shards, summed, and reported to the router that asked.
//!
//! All of a turn's results for one router go in one report.

use hashbrown::HashMap;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::{AckPart, Answer, ReceiptPart, Report};
use rustc_hash::FxBuildHasher;

use crate::link::{AnswerPart, ReceiptRef};

/// Shards answer within a turn; one that has not after so long is stuck, and the router has given up.
const EXPIRES_MS: u64 = 30_000;
/// Entries in one report.
const REPORT_ENTRIES_MAX: usize = 8192;
/// What an entry of an answer takes beside its text.
const ENTRY_BYTES: usize = 4;

#[derive(Debug)]
struct Pending {
    remaining: u16,
    part: ReceiptPart,
    /// Acknowledgements, and connections that went without, before the last shard's part.
    acked: u64,
    gone: u64,
    deadline_ms: u64,
}

#[derive(Debug)]
struct Question {
    router: NodeId,
    number: u64,
    remaining: u16,
    limit: usize,
    parts: Vec<AnswerPart>,
    deadline_ms: u64,
}

/// What waits for shards, and what waits for the end of the turn.
#[derive(Debug)]
pub(super) struct Receipts {
    pending: HashMap<ReceiptRef, Pending, FxBuildHasher>,
    questions: HashMap<u64, Question, FxBuildHasher>,
    next_question: u64,
    reports: Vec<(NodeId, Report)>,
    /// Bytes of answers in one report: what the bus takes.
    pub(super) bytes_max: usize,
}

impl Receipts {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            pending: HashMap::default(),
            questions: HashMap::default(),
            next_question: 0,
            reports: Vec::new(),
            bytes_max,
        }
    }

    /// A receipt that so many shards report for; none makes an empty part at once.
    pub(super) fn expect(&mut self, receipt: ReceiptRef, shards: u16, node: NodeId, now_ms: u64) {
        let part = ReceiptPart { number: receipt.number, ..ReceiptPart::default() };
        if shards == 0 {
            self.report(receipt.router, node).receipts.push(part);
            return;
        }
        let pending = Pending { remaining: shards, part, acked: 0, gone: 0, deadline_ms: now_ms + EXPIRES_MS };
        self.pending.insert(receipt, pending);
    }

    /// A receipt the hub answers by itself.
    pub(super) fn settle(&mut self, receipt: ReceiptRef, part: ReceiptPart, node: NodeId) {
        let part = ReceiptPart { number: receipt.number, ..part };
        self.report(receipt.router, node).receipts.push(part);
    }

    pub(super) fn part(&mut self, receipt: ReceiptRef, part: ReceiptPart, node: NodeId) {
        let Some(pending) = self.pending.get_mut(&receipt) else { return };
        let sum = &mut pending.part;
        sum.matched += part.matched;
        sum.written += part.written;
        sum.queued += part.queued;
        sum.filtered += part.filtered;
        sum.dropped += part.dropped;
        sum.ackable += part.ackable;
        pending.remaining -= 1;
        if pending.remaining == 0
            && let Some(pending) = self.pending.remove(&receipt)
        {
            let report = self.report(receipt.router, node);
            report.receipts.push(pending.part);
            if pending.acked + pending.gone > 0 {
                report.acks.push(AckPart { number: receipt.number, acked: pending.acked, gone: pending.gone });
            }
        }
    }

    pub(super) fn acked(&mut self, receipt: ReceiptRef, acked: u64, gone: u64, node: NodeId) {
        match self.pending.get_mut(&receipt) {
            Some(pending) => {
                pending.acked += acked;
                pending.gone += gone;
            }
            None => self.report(receipt.router, node).acks.push(AckPart { number: receipt.number, acked, gone }),
        }
    }

    /// A question to so many shards, at least one; its number among shards.
    pub(super) fn ask(&mut self, router: NodeId, number: u64, shards: u16, limit: usize, now_ms: u64) -> u64 {
        self.next_question += 1;
        let deadline_ms = now_ms + EXPIRES_MS;
        let question = Question { router, number, remaining: shards, limit, parts: Vec::new(), deadline_ms };
        self.questions.insert(self.next_question, question);
        self.next_question
    }

    /// A question whose answer needs no shard.
    pub(super) fn answer_at_once(&mut self, router: NodeId, number: u64, total: u64, node: NodeId) {
        self.report(router, node).answers.push(Answer { number, total, entries: Vec::new() });
    }

    pub(super) fn answered(&mut self, question: u64, part: AnswerPart, node: NodeId) {
        let Some(pending) = self.questions.get_mut(&question) else { return };
        pending.parts.push(part);
        pending.remaining -= 1;
        if pending.remaining == 0
            && let Some(done) = self.questions.remove(&question)
        {
            let answer = AnswerPart::merge(done.parts, done.number, done.limit, self.bytes_max / 2);
            self.report(done.router, node).answers.push(answer);
        }
    }

    /// The report under construction for a router; a new one where the last is full.
    fn report(&mut self, router: NodeId, node: NodeId) -> &mut Report {
        let place = self.reports.iter().rposition(|(to, _)| *to == router).filter(|place| {
            let report = &self.reports[*place].1;
            let entries = report.receipts.len() + report.acks.len() + report.answers.len();
            let bytes: usize =
                report.answers.iter().flat_map(|answer| &answer.entries).map(|entry| ENTRY_BYTES + entry.len()).sum();
            entries < REPORT_ENTRIES_MAX && bytes < self.bytes_max / 2
        });
        let place = place.unwrap_or_else(|| {
            let report = Report { node, receipts: Vec::new(), acks: Vec::new(), answers: Vec::new() };
            self.reports.push((router, report));
            self.reports.len() - 1
        });
        &mut self.reports[place].1
    }

    /// The turn's reports.
    pub(super) fn take_reports(&mut self) -> Vec<(NodeId, Report)> {
        std::mem::take(&mut self.reports)
    }

    /// Forgets what no shard will complete; how many.
    pub(super) fn expire(&mut self, now_ms: u64) -> u64 {
        let before = self.pending.len() + self.questions.len();
        self.pending.retain(|_, pending| pending.deadline_ms > now_ms);
        self.questions.retain(|_, question| question.deadline_ms > now_ms);
        (before - self.pending.len() - self.questions.len()) as u64
    }
}
