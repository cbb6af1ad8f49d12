//! What any process of ours needs, whatever it does: settings, logs, readiness, shutdown and the bus connection.
//!
//! Knows nothing of frames, subjects, users or rooms, and does not depend on `protocol`: a third service could be
//! built on it unchanged.
//!
//! Reading order: how a process gets its settings, how it talks to people and machines that watch it, how it ends,
//! and last the NATS connection.

pub mod config;

pub mod admin;
pub mod build_info;
mod catalogue;
pub mod logging;
pub mod notify;
pub mod process;
pub mod ready;
pub mod reload;
pub mod spans;
pub mod telemetry;

pub mod fd_limit;
pub mod huge_pages;
pub mod random;
pub mod shutdown;

pub mod bus;
