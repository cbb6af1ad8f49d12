//! The receipt: what became of a send or a command, as its publisher sees it.

use serde::{Deserialize, Serialize};

/// The answer to a `send` or `ctl` that has a reply subject. Always `matched = written + queued + dropped`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The message's id.
    pub id: String,
    /// Connections of the target that pass the filters.
    pub matched: u64,
    /// Handed to the kernel in the turn that took the message.
    pub written: u64,
    /// Waiting in the client's queue.
    pub queued: u64,
    /// Connections of the target that the filters left out.
    pub filtered: u64,
    /// Refused by policy: queue full, or paused. Or taken back in the turn that took the message: replaced, given way to
    /// newer ones, or the client was closed as too slow.
    pub dropped: u64,
    /// Connections that acknowledged, where `Hf-Receipt: acked` asked for it.
    pub acked: u64,
    /// Nodes that were asked.
    pub nodes: u64,
    /// Nodes that were asked, are alive, and stayed silent within `Hf-Timeout`.
    pub late_nodes: u64,
    /// No connection of the target exists.
    pub offline: bool,
}
