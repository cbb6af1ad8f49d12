//! What Holdfast's processes, their clients and domain services say to each other, as pure data.
//!
//! Nothing here knows tokio, NATS, HTTP, configuration or a clock: bytes in, values out, and back.
//! The public contract is `docs/protocol.md` (clients) and `docs/bus.md` (domain services); the binary
//! format between gateways and routers is [`wire`] and nobody else's business.
//!
//! Reading order: keys and ids, where they appear in subjects, what a domain service may say, what a
//! client may say, and last how gateways and routers talk.

pub mod close;
pub mod command;
pub mod content;
pub mod dialect;
pub mod fact;
pub mod id;
pub mod kept;
pub mod limits;
pub mod position;
pub mod query;
pub mod receipt;
pub mod send;
pub mod subject;
pub mod token;
pub mod wire;
