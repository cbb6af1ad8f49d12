//! The router's settings: declared once, checked, and turned into what the core needs.

use std::time::Duration;

use holdfast_daemon::admin::AdminSettings;
use holdfast_daemon::bus::BusSettings;
use holdfast_daemon::config::{ByteSize, Problems, Service};
use holdfast_daemon::logging::LogSettings;
use holdfast_daemon::telemetry::TraceSettings;
use holdfast_protocol::subject::Subjects;

use crate::core::announce::Pattern;
use crate::core::sections::Sections;
use crate::core::settings::{NODE_LATE_MS, Settings};

holdfast_daemon::settings! {
    /// All settings of the router.
    pub struct RouterSettings {
        /// The NATS connection.
        pub bus: BusSettings,
        /// The admin listener.
        pub admin: AdminSettings = "127.0.0.1:9091",
        /// Who is connected, and when they no longer are.
        pub roster: RosterSettings,
        /// Which of the sends it hears, where the fleet's routers are many.
        pub sections: SectionSettings,
        /// Facts about rooms.
        pub rooms: RoomSettings,
        /// The queries as a NATS micro service.
        pub service: ServiceSettings,
        /// Kept messages.
        pub kept: KeptSettings,
        /// Bounds of what waits in the router.
        pub waiting: WaitingSettings,
        /// Logs.
        pub log: LogSettings,
        /// Traces.
        pub trace: TraceSettings,
    }
}

holdfast_daemon::settings! {
    /// Who is connected, and when they no longer are.
    pub struct RosterSettings {
        /// A gateway that is connected to NATS but silent for so long is off the roster.
        pub node_timeout: Duration = "10s",
        /// How long after a user's last connection went the user counts as offline.
        pub linger: Duration = "5s",
    }
}

holdfast_daemon::settings! {
    /// Which of the sends to users and rooms this router hears. Where one core no longer reads all sends of the fleet, NATS
    /// maps them to sections, each with routers of its own.
    pub struct SectionSettings {
        /// How many there are: 1, 2, 4, 8, 16, 32 or 64, the same for all routers of the fleet. NATS must map accordingly.
        pub count: usize = "1",
        /// The number of this router's, from 0.
        pub index: usize = "0",
    }
}

holdfast_daemon::settings! {
    /// Facts about rooms.
    pub struct RoomSettings {
        /// Rooms whose joins and leaves are published: patterns such as `chat/*` or `game/**`.
        pub announce: Vec<String> = "",
    }
}

holdfast_daemon::settings! {
    /// The queries as a NATS micro service.
    pub struct ServiceSettings {
        /// Its name; fleets that share a NATS have one each.
        pub name: String = "holdfast",
    }
}

holdfast_daemon::settings! {
    /// Bounds of what waits in the router.
    pub struct WaitingSettings {
        /// Receipts; beyond it the one due next is answered early.
        pub receipts_max: usize = "131072",
        /// Queries; beyond it more are refused.
        pub queries_max: usize = "4096",
        /// Facts to publish; beyond it the oldest are dropped.
        pub facts_max: usize = "262144",
    }
}

holdfast_daemon::choices! {
    /// Where the stream of kept messages is stored.
    pub enum Storage {
        /// On disk.
        File = "file",
        /// In memory: lost with the server.
        Memory = "memory",
    }
}

holdfast_daemon::settings! {
    /// Kept messages.
    pub struct KeptSettings {
        /// Whether the router makes a stream that keeps what is published on `keep` subjects, and delivers from it.
        pub enabled: bool = "true",
        /// The stream's name.
        pub stream: String = "HF_KEPT",
        /// How long a message is kept.
        pub max_age: Duration = "24h",
        /// How many messages are kept of one user or room.
        pub max_per_subject: usize = "1000",
        /// How many bytes are kept in all.
        pub max_bytes: ByteSize = "1GiB",
        /// How many servers keep it, 1 to 5.
        pub replicas: usize = "1",
        /// Where it is stored; takes effect when the stream is made.
        pub storage: Storage = "file",
        /// How far back a second publish with the same `Nats-Msg-Id` is recognised.
        pub duplicate_window: Duration = "2m",
    }
}

/// How the settings are found and checked.
pub const SERVICE: Service<RouterSettings> = Service {
    metrics: crate::metrics::all,
    name: "router",
    about: "Maps users and rooms to gateway nodes, and routes what domain services send.",
    // The gateway's own; `cargo xtask docs --check` compares.
    foreign: &[
        "profile",
        "origins",
        "outbox_bytes_max",
        "outbox_age_max",
        "outbox_policy",
        "listen",
        "tls",
        "auth",
        "session",
        "limits",
        "drain",
        "fallback",
        "sockjs",
        "upstream",
        "endpoints",
        "stomp",
        "stomp_relay",
        "echo",
    ],
    rules,
};

fn rules(settings: &RouterSettings, problems: &mut Problems) {
    let plain =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    settings.bus.check(problems);
    settings.admin.check(problems);
    if !plain(&settings.service.name) {
        problems.add("service.name", "must be letters, digits, _ and -");
    }
    if millis(settings.roster.node_timeout) <= NODE_LATE_MS {
        problems.add("roster.node_timeout", "must be longer than 2s, when a silent node counts as late");
    }
    for pattern in &settings.rooms.announce {
        if Pattern::parse(pattern).is_none() {
            problems.add("rooms.announce", format!("{pattern:?} is no pattern: ** may only be the last segment"));
        }
    }
    let sections = &settings.sections;
    if Sections::new(sections.count).is_none() {
        problems.add("sections.count", "must be 1, 2, 4, 8, 16, 32 or 64");
    }
    if sections.index >= sections.count {
        problems.add("sections.index", "must be below sections.count");
    }
    let kept = &settings.kept;
    if !plain(&kept.stream) {
        problems.add("kept.stream", "must be letters, digits, _ and -");
    }
    if !(1..=5).contains(&kept.replicas) {
        problems.add("kept.replicas", "must be 1 to 5");
    }
    if kept.duplicate_window > kept.max_age {
        problems.add("kept.duplicate_window", "must not be longer than kept.max_age");
    }
    if kept.max_per_subject == 0 {
        problems.add("kept.max_per_subject", "must be at least 1");
    }
    if kept.max_bytes.get() == 0 {
        problems.add("kept.max_bytes", "must be at least 1");
    }
    let waiting = &settings.waiting;
    let bounds = [
        ("waiting.receipts_max", waiting.receipts_max),
        ("waiting.queries_max", waiting.queries_max),
        ("waiting.facts_max", waiting.facts_max),
    ];
    for (key, _) in bounds.iter().filter(|(_, bound)| *bound == 0) {
        problems.add(key, "must be at least 1");
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl RouterSettings {
    /// How the fleet's routers are split; the rules have seen to it that they can be.
    pub fn sections(&self) -> Sections {
        Sections::new(self.sections.count).unwrap_or(Sections::ONE)
    }

    /// What the core needs of them.
    pub fn core(&self, hash_seed: u64) -> Settings {
        Settings {
            subjects: Subjects::new(&self.bus.prefix),
            sections: self.sections(),
            node_timeout_ms: millis(self.roster.node_timeout),
            linger_ms: millis(self.roster.linger),
            announce: self.rooms.announce.iter().filter_map(|pattern| Pattern::parse(pattern)).collect(),
            receipts_max: self.waiting.receipts_max,
            queries_max: self.waiting.queries_max,
            facts_max: self.waiting.facts_max,
            hash_seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_daemon::config;

    fn problems(environment: &[(&str, &str)]) -> String {
        let environment = environment.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        config::load(&SERVICE, None, environment, &[])
            .map(drop)
            .map_err(|problems| problems.to_string())
            .err()
            .unwrap_or_default()
    }

    #[test]
    fn the_defaults_are_good_and_those_of_the_core() {
        let loaded = config::load(&SERVICE, None, [], &[]).expect("good defaults");
        let (ours, core) = (loaded.settings.core(0), Settings::default());
        assert_eq!(loaded.settings.admin.address.port(), 9091);
        assert_eq!((ours.node_timeout_ms, ours.linger_ms), (core.node_timeout_ms, core.linger_ms));
        assert_eq!(
            (ours.receipts_max, ours.queries_max, ours.facts_max),
            (core.receipts_max, core.queries_max, core.facts_max)
        );
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for (key, variable, value) in [
            ("bus.prefix", "HOLDFAST_BUS__PREFIX", "a..b"),
            ("service.name", "HOLDFAST_SERVICE__NAME", "a b"),
            ("roster.node_timeout", "HOLDFAST_ROSTER__NODE_TIMEOUT", "1s"),
            ("sections.count", "HOLDFAST_SECTIONS__COUNT", "3"),
            ("sections.index", "HOLDFAST_SECTIONS__INDEX", "1"),
            ("rooms.announce", "HOLDFAST_ROOMS__ANNOUNCE", "**/x"),
            ("kept.replicas", "HOLDFAST_KEPT__REPLICAS", "6"),
            ("kept.duplicate_window", "HOLDFAST_KEPT__MAX_AGE", "1s"),
            ("waiting.facts_max", "HOLDFAST_WAITING__FACTS_MAX", "0"),
        ] {
            let text = problems(&[(variable, value)]);
            assert!(text.contains(key), "{key}: {text}");
        }
    }
}
