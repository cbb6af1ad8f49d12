//! The router service: maps users and rooms to gateway nodes, and routes what domain services send.

pub mod core;
