//! SockJS: the URLs below a base path, and what is answered there that is no WebSocket.
//!
//! The framing itself is `protocol::dialect::sockjs`; a framed WebSocket is an ordinary connection of `net` whose frames
//! the shard encodes in that framing, and a session without WebSocket one of `fallback`. Here is what SockJS says over
//! plain HTTP. Knows no session's inside and no bus.

pub(crate) mod answers;
mod pages;
mod sites;
pub(crate) mod transports;

pub use pages::{Valve, answer};
pub use sites::{Found, Page, Sites, Transport};
pub use transports::session_name;
