//! Every metric of the gateway, declared once. Shards and hub count in plain cells that only they write; the collector
//! adds them up when somebody asks. Every drop and every close has its counter from the start, at zero.
//!
//! Knows nothing of what is counted; no label ever names a user, a room or a connection.

pub(crate) mod catalogue;
mod collector;
mod histogram;
mod keys;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast_protocol::close::Close;

pub use collector::GatewayCollector;
pub use histogram::Histogram;
pub use keys::KeyCollector;

/// A number with one writer and any number of readers: no locked instruction on the writing side.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds; only ever called from the one thread that owns the cell.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// Takes away; only ever called from the one thread that owns the cell.
    pub fn sub(&self, less: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(less), Ordering::Relaxed);
    }

    /// Sets it; only ever called from the one thread that owns the cell.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An enum whose variants are the values of one metric label, with a cell for each.
macro_rules! labelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $label:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Each value.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The label's value.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }
        }
    };
}

labelled! {
    /// Who ended a connection.
    Initiator {
        /// The client's close frame came first.
        Client => "client",
        /// Ours did.
        Server => "server",
        /// Neither: the socket broke.
        Network => "network",
    }
}

labelled! {
    /// How a connection reached us.
    Transport {
        /// In the clear.
        Ws => "ws",
        /// Over TLS.
        Wss => "wss",
        /// A session over plain HTTP.
        Http => "http",
    }
}

labelled! {
    /// How a handshake ended.
    Handshake {
        /// 101.
        Ok => "ok",
        /// 400, 405, 426.
        BadRequest => "bad_request",
        /// 404.
        NotFound => "not_found",
        /// 403 for the origin.
        Origin => "origin",
        /// 401.
        Unauthorized => "unauthorized",
        /// 403 for the credential.
        Forbidden => "forbidden",
        /// Too many connections on the node.
        LimitNode => "limit_node",
        /// Too many connections from the address.
        LimitAddress => "limit_address",
        /// Too many connections of the user.
        LimitUser => "limit_user",
        /// Too many handshakes on the node in this second.
        RateNode => "rate_node",
        /// Too many handshakes from the address in this second.
        RateAddress => "rate_address",
        /// The node is short of memory.
        Memory => "memory",
        /// No proper head of the PROXY protocol.
        Proxy => "proxy",
        /// 503 while draining.
        Draining => "draining",
        /// 503 for want of bus, router or callout.
        Unavailable => "unavailable",
        /// TLS failed.
        Tls => "tls",
        /// The request did not come in time.
        Timeout => "timeout",
    }
}

labelled! {
    /// What a frame is.
    Opcode {
        /// Continuation.
        Continuation => "continuation",
        /// Text.
        Text => "text",
        /// Binary.
        Binary => "binary",
        /// Close.
        Close => "close",
        /// Ping.
        Ping => "ping",
        /// Pong.
        Pong => "pong",
    }
}

labelled! {
    /// Why a message was not delivered.
    Drop {
        /// The client's queue was full and the policy closes.
        Overflow => "overflow",
        /// The client's queue was full and the policy drops the oldest.
        Oldest => "oldest",
        /// The client is paused.
        Paused => "paused",
        /// `Hf-Ttl` ran out.
        Expired => "expired",
        /// A newer message with the same `Hf-Key` took its place.
        Conflated => "conflated",
        /// The connection was closing.
        Closing => "closing",
    }
}

labelled! {
    /// What a delivery was for.
    Reach {
        /// A user.
        User => "user",
        /// A room.
        Room => "room",
        /// One connection.
        Connection => "connection",
        /// Each connection, or several targets.
        Broadcast => "broadcast",
    }
}

labelled! {
    /// A part of a handshake.
    Stage {
        /// TLS.
        Tls => "tls",
        /// Origin, sub-protocol, credential, callout.
        Admit => "admit",
        /// All of one that succeeded, from the accepted socket to the answer.
        Total => "total",
    }
}

/// The codes that have a counter of their own: the catalogue, and `app` for codes of domain services.
const CLOSE_LABELS: usize = Close::ALL.len() + 1;

/// What one shard counts. The shard's thread is the only writer.
#[derive(Debug)]
#[expect(missing_docs, reason = "each name is that of the metric, whose help text is in the collector")]
pub struct ShardCells {
    pub connections: [Cell; Transport::ALL.len()],
    pub users: Cell,
    pub rooms: Cell,
    pub memberships: Cell,
    pub handshakes: [Cell; Handshake::ALL.len()],
    pub closed: [[Cell; Initiator::ALL.len()]; CLOSE_LABELS],
    pub frames_received: [Cell; Opcode::ALL.len()],
    pub frames_sent: [Cell; Opcode::ALL.len()],
    pub received_bytes: Cell,
    pub sent_bytes: Cell,
    pub writes: Cell,
    pub deliveries: [Cell; Reach::ALL.len()],
    pub filtered: Cell,
    pub dropped: [Cell; Drop::ALL.len()],
    pub gaps: Cell,
    pub acks_untracked: Cell,
    pub hub_backlog: Cell,
    pub leaving: Cell,
    pub goaways: Cell,
    pub outbox_bytes: Cell,
    pub kept_behind: Cell,
    pub relieved: Cell,
    pub delivery: [Histogram; Reach::ALL.len()],
    pub handshake_duration: [Histogram; Stage::ALL.len()],
}

impl Default for ShardCells {
    fn default() -> Self {
        Self {
            connections: cells(),
            users: Cell::default(),
            rooms: Cell::default(),
            memberships: Cell::default(),
            handshakes: cells(),
            closed: std::array::from_fn(|_| cells()),
            frames_received: cells(),
            frames_sent: cells(),
            received_bytes: Cell::default(),
            sent_bytes: Cell::default(),
            writes: Cell::default(),
            deliveries: cells(),
            filtered: Cell::default(),
            dropped: cells(),
            gaps: Cell::default(),
            acks_untracked: Cell::default(),
            hub_backlog: Cell::default(),
            leaving: Cell::default(),
            goaways: Cell::default(),
            outbox_bytes: Cell::default(),
            kept_behind: Cell::default(),
            relieved: Cell::default(),
            delivery: std::array::from_fn(|_| Histogram::default()),
            handshake_duration: std::array::from_fn(|_| Histogram::default()),
        }
    }
}

fn cells<const N: usize>() -> [Cell; N] {
    std::array::from_fn(|_| Cell::default())
}

impl ShardCells {
    /// The cell for connections closed with this code by this side.
    pub fn closed(&self, code: u16, initiator: Initiator) -> &Cell {
        let row = Close::ALL.iter().position(|close| close.code() == code).unwrap_or(CLOSE_LABELS - 1);
        &self.closed[row][initiator as usize]
    }

    /// The cell for messages dropped for this reason.
    pub const fn dropped(&self, reason: Drop) -> &Cell {
        &self.dropped[reason as usize]
    }

    /// A part of a handshake took so long.
    pub fn took(&self, stage: Stage, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.handshake_duration[stage as usize].observe(us, 1);
    }

    /// The cell for handshakes with this end.
    pub const fn handshake(&self, result: Handshake) -> &Cell {
        &self.handshakes[result as usize]
    }
}

/// What the hub counts. The hub's thread is the only writer.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "each name is that of the metric, whose help text is in the collector")]
pub struct HubCells {
    pub routers: Cell,
    pub roster_batches: Cell,
    pub roster_changes: Cell,
    pub roster_seq: Cell,
    pub roster_wait_timeouts: Cell,
    pub snapshots: Cell,
    pub packets: Cell,
    pub packets_fenced: Cell,
    pub packet_holes: Cell,
    pub handover_waits: Cell,
    pub handover_waits_given_up: Cell,
    pub packets_malformed: Cell,
    pub published: Cell,
    pub publish_failed: Cell,
    pub requests: Cell,
    pub request_timeouts: Cell,
    pub receipts_expired: Cell,
    pub facts_lost: Cell,
    /// Changes of the roster forgotten for want of room before every router had them for a while.
    pub recent_changes_dropped: Cell,
    pub internal_unsent: Cell,
    pub kept_reads: Cell,
    pub kept_reads_failed: Cell,
    pub kept_resumed: Cell,
    pub kept_unrecovered: Cell,
    pub kept_duplicates: Cell,
    pub kept_holes: Cell,
    pub kept_repaired: Cell,
    pub kept_lost: Cell,
    pub kept_reconciled: Cell,
    pub shard_backlog: Cell,
    pub requests_waiting: Cell,
    pub markers_waiting: Cell,
    pub draining: Cell,
    pub leaving_rate_milli: Cell,
    pub spare_handshakes: Cell,
    pub fleet_spare_handshakes: Cell,
    pub memory_pressed: Cell,
    pub memory_bytes: Cell,
    pub upstream_held_bytes: Cell,
    pub upstream_held: Cell,
    pub bus_stalls: Cell,
}
