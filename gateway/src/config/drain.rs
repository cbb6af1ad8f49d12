//! How a node leaves: settings of the drain, and what they mean together.

use std::time::Duration;

use holdfast_daemon::config::Problems;
use holdfast_daemon::settings;

/// At the end of a drain: what is left is closed at once, and has this long for its closing handshake.
const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// From the last paced close to that: the sweep that notices who does not answer.
const SWEEP: Duration = Duration::from_secs(1);

/// To take leave of the bus and hand over the last spans.
const LAST_WORDS: Duration = Duration::from_secs(5);

settings! {
    /// How a node leaves.
    pub struct DrainConfig {
        /// How long it still accepts connections after the signal, while balancers take notice.
        pub delay: Duration = "5s",
        /// Over how long it then closes its connections, if the other nodes can take them that fast.
        pub window: Duration = "30s",
        /// When the process has ended at the latest, counted from the signal, however little the other nodes can take.
        /// At least `drain.delay` + `drain.window` + 6s; unset means `drain.delay` + twice `drain.window` + 10s.
        pub deadline: Option<Duration>,
        /// Handshakes per second that this node offers to clients of other nodes that drain, on top of its own load.
        pub spare_handshakes: u64 = "500",
    }
}

impl DrainConfig {
    /// How long closing may take, from the end of `delay` to the order to close what is left.
    pub(crate) fn closing(&self) -> Duration {
        match self.deadline {
            Some(deadline) => deadline.saturating_sub(self.delay + CLOSE_GRACE),
            None => self.window * 2 + CLOSE_GRACE,
        }
    }

    /// How long after the end of `delay` the last paced close may come.
    pub(crate) fn last_close(&self) -> Duration {
        self.closing().saturating_sub(SWEEP).max(self.window)
    }

    /// From the signal to the end of the process, at the most, with a moment for the last words.
    pub(crate) fn longest(&self) -> Duration {
        self.delay + self.closing() + CLOSE_GRACE + LAST_WORDS
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        let least = self.delay + self.window + CLOSE_GRACE + SWEEP;
        if self.deadline.is_some_and(|deadline| deadline < least) {
            problems.add(
                "drain.deadline",
                format!("must be at least drain.delay + drain.window + 6s, which is {} ms", least.as_millis()),
            );
        }
    }
}
