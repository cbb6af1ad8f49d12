//! Bounds of a node, and of one connection.

use std::time::Duration;

use holdfast_daemon::config::{ByteSize, Problems};
use holdfast_daemon::settings;

use super::GatewaySettings;
use crate::admission::DoorSettings;
use crate::shard::Age;

settings! {
    /// Bounds.
    pub struct LimitSettings {
        /// Connections of the whole process.
        pub connections: u64 = "1000000",
        /// Connections of one user on this node; one more is refused with 429, or closed with 4429. 0 is no bound.
        pub connections_per_user: u64 = "0",
        /// Connections from one address on this node, an IPv6 network of 64 bits being one. One more is closed before TLS,
        /// or refused with 429 where a proxy names the address. 0 is no bound.
        pub connections_per_address: u64 = "0",
        /// Handshakes of the whole process per second; more are refused with 503. 0 is no bound.
        pub handshakes_per_second: u64 = "0",
        /// Handshakes from one address per second; more are refused as for `connections_per_address`. 0 is no bound.
        pub handshakes_per_second_per_address: u64 = "0",
        /// Memory that the process may use: near it, the slowest clients are closed and nobody new is let in. Unset means
        /// what its control group allows, else what the machine has.
        pub memory_max: Option<ByteSize>,
        /// How old a connection may become before it is sent away, so that a fleet that has grown evens out; unset means
        /// any age.
        pub connection_age_max: Option<Duration>,
        /// Each connection's own bound is up to so many percent of it higher, so that those that came together do not go
        /// together.
        pub connection_age_jitter: u64 = "20",
        /// Longest message from a client.
        pub message_bytes: ByteSize = "64KiB",
        /// Rooms a client may be in by its own will.
        pub rooms: usize = "128",
        /// Requests of one client that may wait for their reply.
        pub requests: usize = "64",
        /// Messages of one client that may wait for the bus to confirm them.
        pub publishes: usize = "4096",
    }
}

impl LimitSettings {
    pub(super) fn check(&self, problems: &mut Problems) {
        if self.connection_age_max.is_some_and(|age| age < Duration::from_secs(1)) {
            problems.add("limits.connection_age_max", "must be at least 1s");
        }
        if self.connection_age_jitter > 1000 {
            problems.add("limits.connection_age_jitter", "must be at most 1000");
        }
    }
}

impl GatewaySettings {
    /// How old connections may become.
    pub fn age(&self) -> Option<Age> {
        let max_ms = u64::try_from(self.limits.connection_age_max?.as_millis()).unwrap_or(u64::MAX / 1024);
        Some(Age { max_ms, jitter_ms: max_ms.saturating_mul(self.limits.connection_age_jitter) / 100 })
    }

    /// Who may take a place at all.
    pub fn door(&self) -> DoorSettings {
        DoorSettings {
            handshakes: self.limits.handshakes_per_second,
            handshakes_per_address: self.limits.handshakes_per_second_per_address,
            connections_per_address: self.limits.connections_per_address,
            connections_per_user: self.limits.connections_per_user,
            trusted: self.listen.trusted_proxies.iter().map(|network| network.0).collect(),
            forwarded_by: self.listen.forwarded_header.by(),
        }
    }
}
