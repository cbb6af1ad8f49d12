//! The load generator: payloads that can be checked, clients that check them, and the ways to open a connection. Knows
//! no system under test but by the way its clients greet.

pub(crate) mod client;
pub(crate) mod greet;
pub(crate) mod http;
pub(crate) mod open;
pub(crate) mod swarm;
pub(crate) mod token;
pub(crate) mod ws;

pub(crate) use open::{Opened, Opening};
pub(crate) use swarm::Swarm;
