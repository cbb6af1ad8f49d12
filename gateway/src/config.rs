//! What the gateway can be told: its settings, the rules between them, and what they become.
//!
//! Knows nothing of a running process; `app` builds one from this.

mod drain;
mod fallback;
mod limits;
mod listen;
mod relay;
mod rules;
mod sockjs;
mod stomp;
mod upstream;

pub use drain::DrainConfig;
pub use limits::LimitSettings;
pub use listen::{ForwardedHeader, ListenSettings, Network};
pub use upstream::UpstreamSettings;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_daemon::config::{ByteSize, Raw, Secret, Service, Value};
use holdfast_daemon::{choices, settings};
use holdfast_protocol::dialect::Dialect;

pub use self::fallback::FallbackSettings;
pub use self::relay::RelayConfig;
pub use self::sockjs::SockJsSettings;
pub use self::stomp::{EndpointStompSettings, StompSettings};
use crate::auth::{JwtSettings, algorithm};
use crate::handshake::{
    Devices, Endpoint, GateSettings, Limits, Origins, OutboxRules, PathRule, PathRules, Rules, Source, WhenFull,
};

choices! {
    /// How strict the gateway is.
    pub enum Profile {
        /// For service: signed credentials only, plaintext only where it is asked for.
        Production = "production",
        /// For a developer's own machine: any path, unsigned users, local pages let in. Loopback addresses only.
        Dev = "dev",
    }
}

choices! {
    /// How many connections a user may have.
    pub enum DevicePolicy {
        /// Any number.
        All = "all",
        /// One; the newest replaces the others.
        Newest = "newest",
    }
}

choices! {
    /// What happens to a client that reads too slowly.
    pub enum OutboxPolicy {
        /// It is closed with 4008.
        Close = "close",
        /// Its oldest messages are dropped and it is told of the gap.
        DropOldest = "drop_oldest",
    }
}

choices! {
    /// How clients may speak.
    pub enum DialectName {
        /// The native dialect.
        Json = "json",
        /// The payload alone.
        Bare = "bare",
        /// STOMP 1.0, 1.1 and 1.2.
        Stomp = "stomp",
    }
}

impl Value for Source {
    const KIND: &'static str = "`authorization`, `cookie`, `query`, `subprotocol` or `first_message`";

    fn parse(raw: &Raw) -> Result<Self, String> {
        let name = raw.text()?;
        Self::parse(name).ok_or_else(|| format!("{name:?} is none of: {}", <Self as Value>::KIND))
    }
}

settings! {
    /// The certificate clients see.
    pub struct TlsSettings {
        /// Certificate chain, PEM.
        pub certificate: Option<PathBuf>,
        /// Its key, PEM.
        pub key: Option<PathBuf>,
    }
}

settings! {
    /// The echo route, for conformance runs.
    pub struct EchoSettings {
        /// Path on which whatever comes is sent back, without credentials; unset means off.
        pub path: Option<String>,
    }
}

settings! {
    /// Tokens.
    pub struct JwtConfig {
        /// An HMAC secret, at least 32 bytes, as it is.
        pub secret: Option<Secret>,
        /// Public keys in PEM, or the path of a file with them.
        pub pem: Option<String>,
        /// URL or path of a key set (JWKS).
        pub jwks: Option<String>,
        /// How often the key set is read again.
        pub jwks_refresh: Duration = "5m",
        /// Algorithms allowed; empty means all that fit the keys.
        pub algorithms: Vec<String> = "",
        /// Audiences of which a token must name one; empty means any.
        pub audience: Vec<String> = "",
        /// Issuers of which a token must have one; empty means any.
        pub issuer: Vec<String> = "",
    }
}

settings! {
    /// Who may connect.
    pub struct AuthSettings {
        /// Tokens and their keys.
        pub jwt: JwtConfig,
        /// Where credentials are looked for; the first that is there decides.
        pub sources: Vec<Source> = "authorization,cookie,query,subprotocol,first_message",
    }
}

settings! {
    /// How connections live.
    pub struct SessionSettings {
        /// How many connections a user may have.
        pub devices: DevicePolicy = "all",
        /// How often the gateway pings a client.
        pub heartbeat: Duration = "25s",
        /// How long a connection may be without a credential.
        pub auth_timeout: Duration = "10s",
        /// How long a client's request waits where the client does not say.
        pub request_timeout: Duration = "5s",
    }
}

settings! {
    /// Kept messages.
    pub struct KeptConfig {
        /// Whether clients can resume from the stream of kept messages, where routers keep one.
        pub enabled: bool = "true",
        /// The stream's name.
        pub stream: String = "HF_KEPT",
    }
}

settings! {
    /// A path of its own; the key is the endpoint's name on the bus.
    pub struct EndpointSettings {
        /// The path; a last segment `**` stands for any rest.
        pub path: String,
        /// What may be spoken; the first where the client asks for nothing.
        pub dialects: Vec<DialectName> = "bare,json,stomp",
        /// Where credentials are looked for; empty means `auth.sources`.
        pub sources: Vec<Source> = "",
        /// How many connections a user may have; unset means `session.devices`.
        pub devices: Option<DevicePolicy>,
        /// Ask a domain service who the client is, in place of verifying a token.
        pub connect_callout: bool = "false",
        /// Ask a domain service at each join, in place of the token's room patterns.
        pub join_callout: bool = "false",
        /// Dialect `bare`: the field whose text names the upstream path.
        pub type_field: Option<String>,
        /// What destinations mean here to clients that speak STOMP; what is unset is as in `stomp`.
        pub stomp: EndpointStompSettings,
    }
}

settings! {
    /// All settings of the gateway.
    pub struct GatewaySettings {
        /// How strict the gateway is.
        pub profile: Profile = "production",
        /// Where clients connect.
        pub listen: ListenSettings,
        /// The certificate clients see.
        pub tls: TlsSettings,
        /// The admin listener.
        pub admin: holdfast_daemon::admin::AdminSettings = "127.0.0.1:9090",
        /// The NATS connection.
        pub bus: holdfast_daemon::bus::BusSettings,
        /// Browser origins that may connect, exactly as browsers send them; empty means the same origin, `*` alone any.
        pub origins: Vec<String> = "",
        /// Who may connect.
        pub auth: AuthSettings,
        /// How connections live.
        pub session: SessionSettings,
        /// Bytes that may wait for one client.
        pub outbox_bytes_max: ByteSize = "1MiB",
        /// How long a message may wait for one client.
        pub outbox_age_max: Duration = "30s",
        /// What happens to a client that reads too slowly.
        pub outbox_policy: OutboxPolicy = "close",
        /// Bounds.
        pub limits: LimitSettings,
        /// Clients' messages to domain services.
        pub upstream: UpstreamSettings,
        /// Kept messages.
        pub kept: KeptConfig,
        /// How a node leaves.
        pub drain: DrainConfig,
        /// Paths beside `/ws` and `/ws/**`.
        pub endpoints: BTreeMap<String, EndpointSettings>,
        /// What destinations mean to clients that speak STOMP.
        pub stomp: StompSettings,
        /// A listener for back ends that speak STOMP over TCP, as Spring's `enableStompBrokerRelay` does.
        pub stomp_relay: RelayConfig,
        /// SockJS.
        pub sockjs: SockJsSettings,
        /// The native fallbacks.
        pub fallback: FallbackSettings,
        /// The echo route.
        pub echo: EchoSettings,
        /// The log.
        pub log: holdfast_daemon::logging::LogSettings,
        /// Spans.
        pub trace: holdfast_daemon::telemetry::TraceSettings,
    }
}

/// What `main` starts with.
pub const SERVICE: Service<GatewaySettings> = Service {
    metrics: crate::metrics::catalogue::all,
    name: "gateway",
    about: "Terminates WebSocket connections and publishes on NATS who is connected.",
    foreign: &[
        "roster",
        "rooms",
        "sections",
        "service",
        "kept.max_age",
        "kept.max_per_subject",
        "kept.max_bytes",
        "kept.replicas",
        "kept.storage",
        "kept.duplicate_window",
        "waiting",
    ],
    rules: rules::check,
};

/// Most shards in a process: connection ids name them in 16 bits, and more threads than this help nobody.
pub(crate) const SHARDS_MAX: u16 = 1024;
impl GatewaySettings {
    /// Whether anything is served that is no WebSocket.
    pub fn has_pages(&self) -> bool {
        !self.sockjs.paths.is_empty() || !self.fallback.paths.is_empty()
    }

    /// What tokens are verified with. Algorithm names have been checked by the rules.
    pub fn jwt(&self) -> JwtSettings {
        let jwt = &self.auth.jwt;
        JwtSettings {
            secret: jwt.secret.clone(),
            pem: jwt.pem.clone(),
            jwks: jwt.jwks.is_some(),
            algorithms: jwt.algorithms.iter().filter_map(|name| algorithm(name).ok()).collect(),
            audiences: jwt.audience.clone(),
            issuers: jwt.issuer.clone(),
        }
    }

    /// Paths and their rules.
    pub fn gate(&self) -> GateSettings {
        let dev = self.profile == Profile::Dev;
        let ws = Rules { unsigned_users: dev, ..self.common(Rules::json()) };
        let others = dev.then(|| Arc::new(Rules { unsigned_users: true, ..self.common(Rules::bare()) }));
        let configured = self.endpoints.iter().map(|(name, endpoint)| PathRule {
            path: endpoint.path.clone(),
            endpoint: Arc::new(Endpoint { name: name.as_str().into(), rules: Arc::new(self.rules_of(endpoint)) }),
        });
        GateSettings {
            paths: PathRules {
                configured: configured.collect(),
                ws: Arc::new(ws),
                others,
                echo: self.echo.path.clone(),
            },
            origins: Origins::from_list(self.origins.clone()),
            loopback_origins: dev,
            sockjs: self.sockjs.paths.clone(),
            fallbacks: self.fallback.paths.clone(),
        }
    }

    fn rules_of(&self, endpoint: &EndpointSettings) -> Rules {
        let common = self.common(Rules::bare());
        Rules {
            dialects: endpoint.dialects.iter().map(|name| dialect(*name)).collect(),
            sources: if endpoint.sources.is_empty() { common.sources } else { endpoint.sources.clone() },
            connect_callout: endpoint.connect_callout,
            join_callout: endpoint.join_callout,
            type_field: endpoint.type_field.clone(),
            unsigned_users: self.profile == Profile::Dev,
            devices: endpoint.devices.map_or(common.devices, devices),
            limits: common.limits,
            outbox: common.outbox,
            destinations: endpoint.stomp.destinations(common.destinations),
        }
    }

    fn common(&self, base: Rules) -> Rules {
        Rules {
            sources: self.auth.sources.clone(),
            devices: devices(self.session.devices),
            destinations: self.stomp.destinations(),
            limits: Limits {
                message_bytes_max: self.limits.message_bytes.get(),
                rooms_max: self.limits.rooms,
                requests_max: self.limits.requests,
                publishes_max: self.limits.publishes,
                credential_timeout: self.session.auth_timeout,
                heartbeat: self.session.heartbeat,
                request_timeout: self.session.request_timeout,
                ..base.limits
            },
            outbox: OutboxRules {
                bytes_max: self.outbox_bytes_max.get(),
                age_max: self.outbox_age_max,
                when_full: match self.outbox_policy {
                    OutboxPolicy::Close => WhenFull::Close,
                    OutboxPolicy::DropOldest => WhenFull::DropOldest,
                },
            },
            ..base
        }
    }
}

const fn devices(policy: DevicePolicy) -> Devices {
    match policy {
        DevicePolicy::All => Devices::All,
        DevicePolicy::Newest => Devices::Newest,
    }
}

const fn dialect(name: DialectName) -> Dialect {
    match name {
        DialectName::Json => Dialect::Json,
        DialectName::Bare => Dialect::Bare,
        DialectName::Stomp => Dialect::Stomp,
    }
}

#[cfg(test)]
mod tests;
