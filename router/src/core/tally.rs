//! What the core counts. Plain integers: the shell carries them into metrics.

/// What a message was for; a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `send.user`
    User,
    /// `send.room`
    Room,
    /// `send.connection`
    Connection,
    /// `send.all`
    All,
    /// `send.many`
    Many,
    /// `ctl.*`
    Command,
    /// `keep.*`
    Kept,
}

impl Kind {
    /// Each kind.
    pub const ALL: [Self; 7] =
        [Self::User, Self::Room, Self::Connection, Self::All, Self::Many, Self::Command, Self::Kept];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Room => "room",
            Self::Connection => "connection",
            Self::All => "all",
            Self::Many => "many",
            Self::Command => "command",
            Self::Kept => "kept",
        }
    }
}

/// What became of a message we handled; a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routed {
    /// Packed for at least one node.
    Forwarded,
    /// No node has a connection of the target.
    Offline,
    /// A subject or header was refused.
    Refused,
    /// It does not fit into a message to a node.
    TooLarge,
}

impl Routed {
    /// Each result.
    pub const ALL: [Self; 4] = [Self::Forwarded, Self::Offline, Self::Refused, Self::TooLarge];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forwarded => "ok",
            Self::Offline => "offline",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
        }
    }
}

/// Why something was thrown away; a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// A message came while we were cut off or not whole.
    NotLive,
    /// A receipt was pending when we were cut off.
    ReceiptCutOff,
    /// A query was pending when we were cut off.
    QueryCutOff,
    /// Work for nodes was packed when we were cut off.
    PacketCutOff,
    /// Work was packed for a node that is gone.
    NodeGone,
    /// A receipt was answered before its time, to make room.
    ReceiptEarly,
    /// A query was refused, too many waited.
    QueryRefused,
    /// A fact, too many waited.
    Fact,
    /// A copy of a kept message without the stream's headers, or on a subject that names nobody.
    KeptUnreadable,
    /// A copy of a kept message, too many waited to be told the stream's epoch.
    KeptWaiting,
    /// A copy of a kept message that another stream had stored, before the present one was made.
    KeptOfBefore,
    /// A message that was kept for its former owner to hand over when we were cut off.
    InheritedCutOff,
    /// A step of a move that is not readable.
    Step,
    /// A send that NATS has mapped to our section, though it belongs to another.
    OtherSection,
}

impl Dropped {
    /// Each reason.
    pub const ALL: [Self; 14] = [
        Self::NotLive,
        Self::ReceiptCutOff,
        Self::QueryCutOff,
        Self::PacketCutOff,
        Self::NodeGone,
        Self::ReceiptEarly,
        Self::QueryRefused,
        Self::Fact,
        Self::KeptUnreadable,
        Self::KeptWaiting,
        Self::KeptOfBefore,
        Self::InheritedCutOff,
        Self::Step,
        Self::OtherSection,
    ];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotLive => "not_live",
            Self::ReceiptCutOff => "receipt_cut_off",
            Self::QueryCutOff => "query_cut_off",
            Self::PacketCutOff => "packet_cut_off",
            Self::NodeGone => "node_gone",
            Self::ReceiptEarly => "receipt_early",
            Self::QueryRefused => "query_refused",
            Self::Fact => "fact",
            Self::KeptUnreadable => "kept_unreadable",
            Self::KeptWaiting => "kept_waiting",
            Self::KeptOfBefore => "kept_of_before",
            Self::InheritedCutOff => "inherited_cut_off",
            Self::Step => "step",
            Self::OtherSection => "other_section",
        }
    }
}

/// Counters; each grows for the life of the router.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages handled, by [`Kind`] and [`Routed`].
    pub routed: [[u64; 4]; 7],
    /// Things thrown away, by [`Dropped`].
    pub dropped: [u64; Dropped::ALL.len()],
    /// Receipts with all nodes' reports.
    pub receipts_complete: u64,
    /// Receipts that some node was late for.
    pub receipts_late: u64,
    /// Queries answered, errors among them.
    pub queries: u64,
    /// Facts published, …
    pub facts: u64,
    /// … and of them, those that were told because the contrary was told before.
    pub facts_amended: u64,
    /// Snapshots that came, by [`Reason`](super::sync::Reason).
    pub resyncs: [u64; 3],
    /// Milliseconds spent waiting for them.
    pub resync_ms: u64,
    /// Nodes given up without a word from them.
    pub nodes_lost: u64,
    /// Partitions that became ours.
    pub partition_moves: u64,
    /// Headers of kept messages that count for nothing: malformed.
    pub kept_headers_ignored: u64,
    /// Kept messages that were forwarded again for routers that are gone.
    pub kept_repeated: u64,
    /// Copies of kept messages that came a second time.
    pub kept_second: u64,
    /// Reads of copies of kept messages that did not come.
    pub kept_holes: u64,
    /// Copies that were read back.
    pub kept_read_back: u64,
    /// Losses of such copies that could not be read back: nodes were told to look for themselves.
    pub kept_holes_left: u64,
    /// Orderly moves of ours that came to their end.
    pub moves: u64,
    /// Times the owners were taken as others named them, without a move.
    pub moves_unordered: u64,
    /// Messages kept for a former owner to hand over.
    pub inherited: u64,
    /// Messages that a former owner had handled already.
    pub inherited_seconds: u64,
    /// Former owners that were not waited for any longer.
    pub inherited_early: u64,
    /// Times we held what we had because our own voice did not come back in time.
    pub holds: u64,
    /// Times we stopped because others or the bus had given us up.
    pub fenced: u64,
}

impl Tally {
    /// Counts a message.
    pub const fn route(&mut self, kind: Kind, routed: Routed) {
        self.routed[kind as usize][routed as usize] += 1;
    }

    /// Counts what was thrown away.
    pub const fn drop(&mut self, reason: Dropped, count: u64) {
        self.dropped[reason as usize] += count;
    }
}
