//! The settings of the connection, and the client options they make.

use super::identity::IdentityFile;
use crate::config::{Problems, Raw, Secret, Value};
use crate::logging::chain;
use crate::random;
use crate::reload::Reloads;
use async_nats::{ConnectOptions, ServerAddr};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

crate::settings! {
    /// The NATS connection.
    pub struct BusSettings {
        /// Servers to try, in random order; `nats://host:4222`, `tls://…`. More are learned from the first one.
        pub servers: Vec<BusServer> = "nats://127.0.0.1:4222",
        /// What each subject begins with; fleets that share a NATS have one each.
        pub prefix: String = "hf",
        /// A credentials file (`.creds`: a user's JWT and key).
        pub credentials: Option<PathBuf>,
        /// A file with the seed of an NKEY.
        pub nkey: Option<PathBuf>,
        /// A token.
        pub token: Option<Secret>,
        /// A user name, with `password`.
        pub user: Option<String>,
        /// The user's password.
        pub password: Option<Secret>,
        /// What subjects for answers begin with; with permissions, one per service.
        pub inbox_prefix: String = "_INBOX",
        /// The longest pause between attempts to connect; pauses grow up to it and are spread at random.
        pub reconnect_delay_max: Duration = "2s",
        /// How often a quiet connection is probed; one that misses two answers is given up.
        pub ping_interval: Duration = "5s",
        /// Messages that may wait in one subscription before more are dropped (and counted).
        pub subscription_capacity: usize = "262144",
        /// TLS towards NATS.
        pub tls: BusTlsSettings,
    }
}

crate::settings! {
    /// TLS towards NATS.
    pub struct BusTlsSettings {
        /// Refuse a server without TLS; implied by `tls://` in the address.
        pub required: bool = "false",
        /// A PEM file of authorities to trust besides the system's.
        pub authorities: Option<PathBuf>,
        /// Our certificate chain, PEM.
        pub certificate: Option<PathBuf>,
        /// Its key, PEM.
        pub key: Option<PathBuf>,
    }
}

/// The address of a NATS server. May carry a password, so only host and port are ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct BusServer(ServerAddr);

impl fmt::Debug for BusServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.host(), self.0.port())
    }
}

impl BusServer {
    pub(super) fn address(&self) -> &ServerAddr {
        &self.0
    }
}

impl Value for BusServer {
    const KIND: &'static str = "NATS address";

    fn parse(raw: &Raw) -> Result<Self, String> {
        // The text itself may hold a password, so it is not repeated.
        let no_address = |_| "is no NATS address such as nats://127.0.0.1:4222".to_owned();
        raw.text()?.trim().parse().map(Self).map_err(no_address)
    }
}

/// Why the settings are unusable; retrying would not help.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No server is named.
    #[error("bus.servers names no server")]
    NoServers,
    /// A file cannot be read.
    #[error("cannot read {setting} from {path}")]
    File {
        /// The setting's key.
        setting: &'static str,
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{setting} in {path} is malformed")]
    Malformed {
        /// The setting's key.
        setting: &'static str,
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// More than one way to authenticate.
    #[error("{0} and {1} are both set; choose one")]
    TwoCredentials(&'static str, &'static str),
    /// One half of a pair.
    #[error("{0} is set without {1}")]
    Half(&'static str, &'static str),
}

/// Commands (publishes, subscriptions) the client holds before the overflow begins.
const CLIENT_CAPACITY: usize = 4096;

/// For one attempt to connect.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(3);

/// The first pause; it doubles up to the configured one.
const RECONNECT_DELAY_FIRST: Duration = Duration::from_millis(50);

impl BusSettings {
    /// Notes what [`Bus::connect`](super::Bus::connect) or NATS would refuse: for a service's rules, so that `config check`
    /// finds it.
    pub fn check(&self, problems: &mut Problems) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !self.prefix.split('.').all(|part| !part.is_empty() && part.bytes().all(plain)) {
            problems.add("bus.prefix", "must be letters, digits, _ and -, in parts joined by dots");
        }
        if let Err(error) = self.options("check") {
            problems.add("bus", chain(&error).to_string());
        }
    }

    pub(super) fn options(&self, name: &str) -> Result<ConnectOptions, SettingsError> {
        if self.servers.is_empty() {
            return Err(SettingsError::NoServers);
        }
        let most = self.reconnect_delay_max;
        let options = match self.identity_file() {
            Some(file) => {
                file.check()?;
                // Read anew for each connection.
                ConnectOptions::with_auth_callback(move |nonce| {
                    let answer = file.answer(&nonce);
                    async move { answer }
                })
            }
            None => ConnectOptions::new(),
        };
        let options = options
            .name(name)
            .retry_on_initial_connect()
            .connection_timeout(CONNECTION_TIMEOUT)
            .ping_interval(self.ping_interval)
            .client_capacity(CLIENT_CAPACITY)
            .subscription_capacity(self.subscription_capacity)
            .custom_inbox_prefix(&self.inbox_prefix)
            .reconnect_delay_callback(move |attempts| reconnect_delay(attempts, most));
        let options = self.authenticate(options)?;
        self.encrypt(options)
    }

    fn identity_file(&self) -> Option<IdentityFile> {
        let credentials = self.credentials.clone().map(IdentityFile::Credentials);
        credentials.or_else(|| self.nkey.clone().map(IdentityFile::Nkey))
    }

    /// Looks after the files of credentials and certificates, where there are any: they are read anew for each
    /// connection to NATS, and a rotation that would fail then is told at once.
    pub fn keep_files(&self, reloads: &Reloads) {
        let files = [&self.credentials, &self.nkey, &self.tls.authorities, &self.tls.certificate, &self.tls.key];
        let files: Vec<PathBuf> = files.into_iter().flatten().cloned().collect();
        if !files.is_empty() {
            let settings = self.clone();
            reloads.keep("bus_credentials", files, move || {
                settings.options("check").map(drop).map_err(|error| chain(&error).to_string())
            });
        }
    }

    fn authenticate(&self, options: ConnectOptions) -> Result<ConnectOptions, SettingsError> {
        let set = [
            ("bus.credentials", self.credentials.is_some()),
            ("bus.nkey", self.nkey.is_some()),
            ("bus.token", self.token.is_some()),
            ("bus.user", self.user.is_some()),
        ];
        let mut set = set.into_iter().filter(|(_, set)| *set).map(|(name, _)| name);
        if let (Some(one), Some(other)) = (set.next(), set.next()) {
            return Err(SettingsError::TwoCredentials(one, other));
        }
        if let Some(token) = &self.token {
            return Ok(options.token(token.expose().to_owned()));
        }
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => Ok(options.user_and_password(user.clone(), password.expose().to_owned())),
            (Some(_), None) => Err(SettingsError::Half("bus.user", "bus.password")),
            (None, Some(_)) => Err(SettingsError::Half("bus.password", "bus.user")),
            (None, None) => Ok(options),
        }
    }

    fn encrypt(&self, mut options: ConnectOptions) -> Result<ConnectOptions, SettingsError> {
        if self.tls.required {
            options = options.require_tls(true);
        }
        if let Some(authorities) = &self.tls.authorities {
            read("bus.tls.authorities", authorities)?;
            options = options.add_root_certificates(authorities.clone());
        }
        match (&self.tls.certificate, &self.tls.key) {
            (Some(certificate), Some(key)) => {
                read("bus.tls.certificate", certificate)?;
                read("bus.tls.key", key)?;
                Ok(options.add_client_certificate(certificate.clone(), key.clone()))
            }
            (Some(_), None) => Err(SettingsError::Half("bus.tls.certificate", "bus.tls.key")),
            (None, Some(_)) => Err(SettingsError::Half("bus.tls.key", "bus.tls.certificate")),
            (None, None) => Ok(options),
        }
    }
}

pub(super) fn read(setting: &'static str, path: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(path).map_err(|source| SettingsError::File { setting, path: path.to_owned(), source })
}

/// Half of the growing pause for certain, half at random, so that a fleet does not come back in step. The first
/// attempt of a process or after a loss comes soon.
fn reconnect_delay(attempts: usize, most: Duration) -> Duration {
    if attempts <= 1 {
        return random::up_to(RECONNECT_DELAY_FIRST.min(most));
    }
    let doublings = u32::try_from(attempts - 2).unwrap_or(u32::MAX).min(16);
    let pause = RECONNECT_DELAY_FIRST.saturating_mul(1 << doublings).min(most);
    pause / 2 + random::up_to(pause / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_attempts_grow_to_the_bound_and_are_spread() {
        let most = Duration::from_secs(2);

        assert!(reconnect_delay(1, most) <= RECONNECT_DELAY_FIRST);
        for attempts in [2, 3, 8, 100, usize::MAX] {
            let pause = reconnect_delay(attempts, most);
            assert!(pause >= RECONNECT_DELAY_FIRST / 2 && pause <= most, "{attempts}: {pause:?}");
        }
        assert!(reconnect_delay(100, most) >= most / 2);
    }
}
