//! The checker: what the contract promises, looked for in a whole history. Pure: the same history, the same findings.

mod figures;
mod kept;
mod live;
mod presence;
mod receipts;
pub(crate) mod spans;
mod story;
#[cfg(test)]
mod tests;
mod upstream;

pub use figures::{Figures, Percentiles};
pub use story::tell;

use std::fmt;

use crate::history::{ClientNumber, History, Target};
use spans::Members;

/// What was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A kept message that a client should have got did not come.
    KeptMissing,
    /// A kept message came twice, or after a later one.
    KeptTwiceOrLate,
    /// A kept message came that the stream does not hold.
    KeptUnknown,
    /// `recovered:false` although all was still there.
    FalseUnrecovered,
    /// The stream acknowledged a message and does not hold it.
    StoreLost,
    /// A live message was lost where nothing excuses it, and no gap told of it.
    LiveLost,
    /// A live message came twice on one connection.
    LiveTwice,
    /// A live message came after a later one of its sender.
    LiveOrder,
    /// A message of a room came before the `ok` to its join or after the `ok` to its leave.
    Uninvited,
    /// A receipt claims deliveries that nobody can have got.
    ReceiptClaims,
    /// A receipt does not know of members that were there.
    ReceiptMisses,
    /// No receipt, and nothing to excuse it.
    ReceiptNone,
    /// A send upstream that was never answered.
    UpstreamSilent,
    /// A send upstream that was answered `ok` and heard by nobody.
    UpstreamLost,
    /// A send upstream that was heard twice, or after a later one.
    UpstreamTwiceOrLate,
    /// The fleet at rest says what is not so.
    Presence,
    /// Facts about users are missing, repeated or untrue.
    Facts,
    /// A client could not come back.
    Stranded,
}

/// One thing that should not be.
#[derive(Debug, Clone)]
pub struct Violation {
    /// What was broken.
    pub rule: Rule,
    /// For whom.
    pub client: Option<ClientNumber>,
    /// In which target.
    pub target: Option<Target>,
    /// When it shows.
    pub at: u64,
    /// The particulars.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} ms", self.rule, self.at)?;
        if let Some(client) = self.client {
            write!(f, ", client {client}")?;
        }
        if let Some(target) = self.target {
            write!(f, ", {target}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// The findings.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Each broken promise.
    pub violations: Vec<Violation>,
    /// What was measured on the way.
    pub figures: Figures,
}

/// Checks a history.
pub fn check(history: &History) -> Report {
    let members = Members::of(history);
    let mut report = Report::default();
    kept::check(history, &members, &mut report);
    live::check(history, &members, &mut report);
    receipts::check(history, &members, &mut report);
    upstream::check(history, &mut report);
    presence::check(history, &mut report);
    figures::gather(history, &mut report.figures);
    report.violations.sort_by_key(|violation| (violation.rule, violation.at));
    report
}
