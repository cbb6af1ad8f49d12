//! The process's one voice on the bus: what the node tells routers and domain services, and what it hears from them.
//!
//! The core is synchronous and owns its state: roster, routers, receipts, traffic upstream. It is given what shards and
//! bus say, with the time, and acts through an [`Edge`]; it knows no NATS client, no channel and no clock. `shell` is the
//! thin asynchronous side of it.
//!
//! Reading order: the edge, roster (what the node has), routers (who must know of it), receipts, upstream, the core that
//! ties them together, and last the shell.

mod batches;
mod core;
mod departure;
mod edge;
mod ending;
mod facts;
mod handover;
mod held;
mod kept;
mod lately;
mod life;
mod memory;
mod orders;
mod outside;
mod packets;
mod readiness;
mod receipts;
mod replies;
pub mod requests;
mod roster;
mod routers;
mod sessions;
pub mod shell;
mod subscriptions;
#[cfg(test)]
mod tests;
mod upstream;
mod waiting;

pub use core::{Hub, HubSettings};
pub use edge::{Edge, Publication, Received, Unsent};
pub use life::Serving;
pub(crate) use outside::BACKLOG_MAX;
pub(crate) use upstream::{MARKERS_MAX, REQUESTS_MAX};
