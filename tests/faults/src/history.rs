//! All that was seen in a run, as data: what clients did and saw, what was published, which faults were inflicted, what
//! the fleet said in the end. Written by the workload, read by the checker; knows neither sockets nor processes.
//!
//! All times are milliseconds since the run began, by one clock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A number of a client in its workload.
pub type ClientNumber = u32;

/// Whom a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A user.
    User(u32),
    /// A room.
    Room(u32),
}

impl Target {
    /// The key on the bus.
    pub fn key(self) -> String {
        match self {
            Self::User(number) => format!("u{number}"),
            Self::Room(number) => format!("r/{number}"),
        }
    }

    /// The room with this key, if it is one of ours.
    pub fn room(key: &str) -> Option<Self> {
        Some(Self::Room(key.strip_prefix("r/")?.parse().ok()?))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(number) => write!(f, "user u{number}"),
            Self::Room(number) => write!(f, "room r/{number}"),
        }
    }
}

/// A place in the stream of kept messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Which stream.
    pub epoch: Arc<str>,
    /// Where in it.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short: String = self.epoch.chars().take(4).collect();
        write!(f, "{short}…/{}", self.seq)
    }
}

/// What names a message of the workload: who sent it, and its number among all that this one sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The publisher.
    pub source: u16,
    /// Its count.
    pub number: u32,
}

/// What a client was told about resuming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// What it asked for.
    pub since: Option<Position>,
    /// Where it now is.
    pub position: Option<Position>,
    /// Whether it got what it had missed.
    pub recovered: Option<bool>,
}

/// What happened to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It opens a connection to a gateway's address.
    Opening(String),
    /// It was welcomed.
    Welcome {
        /// The connection's id.
        connection: String,
        /// The gateway.
        node: String,
        /// Its own stream.
        resumed: Resumed,
    },
    /// There was no connection to be had.
    NotOpened(String),
    /// It asks to join.
    Joining(u32, Option<Position>),
    /// It was told `ok`.
    Joined(u32, Resumed),
    /// It was told `error`.
    NotJoined(u32, String),
    /// It asks to leave.
    Leaving(u32),
    /// It was told `ok`.
    Left(u32),
    /// A message came.
    Seen {
        /// For whom.
        target: Target,
        /// Which.
        name: Name,
        /// Where it is kept, if it is.
        kept: Option<Position>,
    },
    /// It acknowledged a message.
    Acked(Name),
    /// It was told that something is missing; `None`: anywhere.
    Gap(Option<Target>),
    /// It was told to go.
    GoAway(u64),
    /// It sends a message upstream.
    Sending(u32),
    /// It was told `ok`.
    Sent(u32),
    /// It was told `error`.
    NotSent(u32, String),
    /// The connection ended, not by the client's will.
    Ended(u16, String),
    /// The client dropped the connection.
    Dropped,
}

/// An event and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: u64,
    /// What.
    pub event: Event,
}

/// The life of one client.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// Its user.
    pub user: u32,
    /// What happened, in order.
    pub entries: Vec<Entry>,
}

/// How a message was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `hf.keep`.
    Kept,
    /// `hf.send`.
    Live,
}

/// What a publisher was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It did not ask.
    NotAsked,
    /// It asked and heard nothing, or an error.
    None(String),
    /// The stream has it, under this sequence.
    Stored(u64),
    /// A receipt.
    Receipt(Receipt),
}

/// The numbers of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Receipt {
    /// Connections of the target.
    pub matched: u64,
    /// Handed to the kernel.
    pub written: u64,
    /// In the client's queue.
    pub queued: u64,
    /// Refused.
    pub dropped: u64,
    /// Acknowledged by clients; `None` if that was not asked for.
    pub acked: Option<u64>,
    /// Gateways that did not report in time.
    pub late_nodes: u64,
    /// Nobody is there.
    pub offline: bool,
}

/// A message of the workload.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Its name.
    pub name: Name,
    /// For whom.
    pub target: Target,
    /// How.
    pub kind: Kind,
    /// When it was handed to the bus.
    pub at: u64,
    /// When the answer came, or was given up.
    pub answered_at: u64,
    /// What came.
    pub answer: Answer,
}

/// What a time may be blamed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Live messages may be lost.
    Lossy,
    /// A router joins or leaves in order: nothing may be lost.
    Orderly,
    /// Nothing at all may be seen of it.
    None,
}

/// The window of a machine that stood still.
pub const STALLED: &str = "the machine stood still";

/// A time of trouble, from the fault to the healing.
#[derive(Debug, Clone)]
pub struct Window {
    /// What it was.
    pub what: String,
    /// What it may do.
    pub harm: Harm,
    /// From.
    pub from: u64,
    /// Until the fleet was whole again.
    pub to: u64,
}

/// What a domain service heard of one message from upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The listener that heard it: each has one server of the bus.
    pub listener: u8,
    /// Who sent it.
    pub client: ClientNumber,
    /// Its number among that client's.
    pub number: u32,
    /// When.
    pub at: u64,
}

/// A question to the fleet at rest, with the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// What was asked.
    pub question: String,
    /// The answer.
    pub answer: String,
    /// What is so.
    pub truth: String,
}

/// `user.online` and `user.offline` as they were heard while some users left for good.
#[derive(Debug, Clone, Default)]
pub struct Farewell {
    /// Users whose last connection went.
    pub gone: Vec<u32>,
    /// User, `online` or `offline`, the fact's id.
    pub facts: Vec<(u32, bool, String)>,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// By number.
    pub clients: Vec<Life>,
    /// In no order.
    pub publishes: Vec<Publish>,
    /// What the stream holds in the end: by target, sequence and name in order of sequence.
    pub stored: BTreeMap<Target, Vec<(u64, Name)>>,
    /// The stream's epoch.
    pub epoch: Arc<str>,
    /// Messages kept per target; beyond that the oldest go.
    pub stored_max: usize,
    /// Faults and other trouble.
    pub windows: Vec<Window>,
    /// What domain services heard.
    pub heard: Vec<Heard>,
    /// Answers at rest.
    pub presence: Vec<Presence>,
    /// Those who left in the end.
    pub farewell: Farewell,
    /// When the run was over.
    pub end: u64,
    /// When the load ended: what follows happens at rest.
    pub rest: u64,
}

impl History {
    /// The windows that touch a time.
    pub fn trouble(&self, from: u64, to: u64) -> impl Iterator<Item = &Window> {
        self.windows.iter().filter(move |window| window.from <= to && from <= window.to)
    }

    /// Whether the machine itself stood still in a time.
    pub fn is_stalled(&self, from: u64, to: u64) -> bool {
        self.trouble(from, to).any(|window| window.what == STALLED)
    }

    /// Whether live messages may be lost in a time.
    pub fn is_lossy(&self, from: u64, to: u64) -> bool {
        self.trouble(from, to).any(|window| window.harm == Harm::Lossy)
    }
}
