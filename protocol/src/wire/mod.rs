//! The binary format between gateways and routers: versioned, bounded, with golden files in `tests/golden/`.
//!
//! Each NATS message on an internal subject is one [`NodeBound`], [`RouterBound`], [`RosterBatch`], [`NodeBeat`],
//! [`RouterBeat`], [`Discover`] or [`Move`]. The first byte is [`VERSION`]; a message of another version is refused whole, so that a
//! mixed fleet fails loudly, not subtly. Integers are LEB128, text and bytes carry their length, and decoding borrows
//! from the received buffer. Nothing is sized by a length that the bytes at hand do not cover.

mod beat;
mod codec;
mod delivery;
mod exchange;
mod moves;
mod packet;
mod report;
mod roster;
mod text;

pub use beat::{Capacity, Discover, Fence, Leaving, NodeBeat, NodeState, RouterBeat, RouterState};
pub use codec::WireError;
pub use delivery::{Condition, Content, Delivery, DeliveryRef, Kept, ReceiptAsk, Target, TargetRef, TraceContext};
pub use exchange::{Caller, Exchange, ExchangeAsk, Exchanged, Whereabouts};
pub use moves::{HandedOver, Handled, Lane, Lingering, Move, MoveStep};
pub use packet::{Ask, Command, CommandItem, Item, NodeBound, PACKET_HEAD_BYTES_MAX, Packet, PacketBuilder};
pub use report::{AckPart, Answer, ReceiptPart, Report, RouterBound, Snapshot, SnapshotEntry};
pub use roster::{Cause, Change, RosterBatch, digest_of_claim, digest_of_room, digest_of_user};
pub use text::Text;

/// The one version this build speaks. 1: the first.
pub const VERSION: u8 = 1;
