//! Receipts: what they claim somebody can have got, and who was there for sure is in them.

use super::spans::Members;
use super::{Report, Rule, Violation};
use crate::history::{Answer, History, Publish, Receipt};

/// What is written is read within this, by a client that stays.
const READING_MS: u64 = 5_000;

pub(super) fn check(history: &History, members: &Members, report: &mut Report) {
    for publish in &history.publishes {
        match &publish.answer {
            Answer::Receipt(receipt) => {
                report.figures.receipts += 1;
                claims(history, members, publish, receipt, report);
                misses(history, members, publish, receipt, report);
            }
            Answer::None(why) => {
                report.figures.unanswered += 1;
                if !history.is_lossy(publish.at, publish.answered_at) {
                    violation(report, Rule::ReceiptNone, publish, format!("{:?}: {why}", publish.kind));
                }
            }
            Answer::NotAsked | Answer::Stored(_) => {}
        }
    }
}

fn claims(history: &History, members: &Members, publish: &Publish, receipt: &Receipt, report: &mut Report) {
    let (at, until) = (publish.at, publish.answered_at);
    let (mut saw, mut may_have, mut possible, mut acked) = (0, 0, 0, 0);
    for (_, member) in members.of_target(publish.target) {
        possible += member.possible(publish.target, at, until);
        acked += u64::from(member.acked.contains(&publish.name));
        if member.seen.contains_key(&(publish.target, publish.name)) {
            saw += 1;
            // A connection that it has given up may still be written to.
            may_have += member.possible(publish.target, at, until).saturating_sub(1);
        } else if !member.stays(publish.target, at, (until + READING_MS).min(history.rest)) {
            may_have += member.possible(publish.target, at, until);
        }
    }
    let said = receipt.written + receipt.queued;
    if said > saw + may_have {
        let what = format!("{said} written or queued; {saw} saw it, {may_have} more may have ({receipt:?})");
        violation(report, Rule::ReceiptClaims, publish, what);
    } else if receipt.matched > possible {
        let what = format!("{} matched; there were {possible} at most ({receipt:?})", receipt.matched);
        violation(report, Rule::ReceiptClaims, publish, what);
    } else if receipt.acked.is_some_and(|said| said > acked) {
        let what = format!("{:?} acknowledged; {acked} clients did ({receipt:?})", receipt.acked);
        violation(report, Rule::ReceiptClaims, publish, what);
    }
}

fn misses(history: &History, members: &Members, publish: &Publish, receipt: &Receipt, report: &mut Report) {
    let (at, until) = (publish.at, publish.answered_at);
    let stayed = members.of_target(publish.target).filter(|(_, member)| member.stays(publish.target, at, until));
    let stayed = stayed.count() as u64;
    if receipt.matched >= stayed || receipt.late_nodes > 0 {
        return;
    }
    if history.is_lossy(at, until) {
        report.figures.receipts_short_in_faults += 1;
        return;
    }
    let what = format!("{} matched; {stayed} were there all the time ({receipt:?})", receipt.matched);
    violation(report, Rule::ReceiptMisses, publish, what);
}

fn violation(report: &mut Report, rule: Rule, publish: &Publish, what: String) {
    let what = format!("{:?}: {what}", publish.name);
    report.violations.push(Violation { rule, client: None, target: Some(publish.target), at: publish.at, what });
}
