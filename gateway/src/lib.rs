//! The WebSocket edge of Holdfast.
//!
//! A process is one *hub* thread (bus, admin listener, timers) and one *shard* thread per core. A shard owns its
//! connections outright: sockets, sessions, rooms and send queues, with no lock between them. Sessions and the
//! bookkeeping of shard and hub are synchronous state machines; `net` and `app` are the shells that do the I/O.
//!
//! Reading order: a socket as the rest sees it, what a connection may do, who connects, many connections on one
//! thread, and last the process around them.

pub mod admin_api;
pub mod admission;
pub mod app;
pub mod auth;
pub mod clock;
pub mod config;
mod echo;
pub mod fallback;
pub mod handshake;
pub mod hub;
pub mod inspector;
pub mod link;
pub mod metrics;
pub mod net;
pub mod outbox;
pub mod pressure;
pub mod relay;
pub mod session;
pub mod shard;
pub mod socket;
pub mod sockjs;
mod traces;
pub mod ws;
