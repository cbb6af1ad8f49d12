//! The router service: mirrors which users and rooms are on which gateway, and turns what domain services send into
//! packets for those gateways. Any number of routers run side by side; each handles the partitions it owns.
//!
//! [`core`] decides everything and does no I/O; [`pump`] carries messages between it and the bus, in an order that
//! matters; the rest is what a process needs.

pub mod app;
pub mod clock;
pub mod config;
pub mod metrics;

pub mod core;
pub mod inlets;
pub mod pump;
pub mod read_back;
pub mod service;
pub mod stream;
pub mod traces;
