//! Clients' messages to domain services while the bus is away.

use std::time::Duration;

use holdfast_daemon::config::{ByteSize, Problems};
use holdfast_daemon::settings;

settings! {
    /// Clients' messages to domain services.
    pub struct UpstreamSettings {
        /// Bytes of them that the node holds while the bus is away; what does not fit is answered with `bus_unavailable`,
        /// as all is with 0.
        pub hold_max_bytes: ByteSize = "0",
        /// How long one is held before it is answered with `bus_unavailable`.
        pub hold_timeout: Duration = "10s",
    }
}

impl UpstreamSettings {
    pub(super) fn check(&self, problems: &mut Problems) {
        if self.hold_max_bytes.get() > 0 && self.hold_timeout < Duration::from_millis(100) {
            problems.add("upstream.hold_timeout", "must be at least 100ms");
        }
    }
}
