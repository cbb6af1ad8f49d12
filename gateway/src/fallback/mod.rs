//! Sessions over plain HTTP, for clients that get no WebSocket through: to routers and rooms ordinary connections.
//!
//! A session lives on one node, beyond the requests that feed it and drain it, and any node takes any of those: it asks
//! the node that has the session, which answers with bytes ready to be written. What a request looks like is `sockjs`'
//! business, or `native`'s; here is what they share.
//!
//! Reading order: form (what the bytes look like), receiver (one receiving request), channel (a session's socket), client (one of either kind), sessions
//! (those of one shard), desk (asking whichever node has a session), transfer (a request's side of it), native.

mod channel;
mod client;
mod desk;
mod exchanges;
mod form;
mod front;
mod native;
mod receiver;
mod sessions;
mod transfer;

pub use channel::{Answers, Channel, ChannelSettings};
pub use client::Client;
pub use desk::Desk;
pub use exchanges::Exchanges;
pub use form::Form;
pub(crate) use front::{BadBody, read_body};
pub use front::{Front, FrontParts};
pub(crate) use native::respond;
pub use native::{NativePage, NativePaths};
pub use sessions::{NewSession, Sessions};
pub(crate) use transfer::Missing;
pub use transfer::{Opening, Transfer};

/// What a client may send in one request.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
