//! The listener for back ends that speak STOMP over TCP: the settings, and the rules between them.

use std::net::SocketAddr;

use holdfast_daemon::config::{Problems, Secret};
use holdfast_daemon::settings;

/// Passcodes shorter than this can be guessed.
const PASSCODE_BYTES_MIN: usize = 12;

settings! {
    /// A listener for back ends that speak STOMP over TCP, as Spring's `enableStompBrokerRelay` does.
    pub struct RelayConfig {
        /// Address and port; unset means off. Port 0 takes a free one.
        pub listen: Option<SocketAddr>,
        /// Speak TLS, with the certificate that clients see.
        pub tls: bool = "false",
        /// Allow plaintext elsewhere than on loopback.
        pub plaintext: bool = "false",
        /// What back ends log in as.
        pub login: Option<String>,
        /// Their passcode, at least 12 bytes.
        pub passcode: Option<Secret>,
        /// Sessions at once.
        pub sessions: u32 = "1024",
    }
}

impl RelayConfig {
    /// `has_certificate`: there is one to show.
    pub(super) fn check(&self, has_certificate: bool, problems: &mut Problems) {
        let Some(listen) = self.listen else { return };
        if self.tls && !has_certificate {
            problems.add("stomp_relay.tls", "needs tls.certificate and tls.key");
        }
        if !listen.ip().is_loopback() && !self.plaintext && !self.tls {
            problems.add(
                "stomp_relay.listen",
                "is not on loopback and would speak plaintext; set stomp_relay.tls = true, or stomp_relay.plaintext = \
                 true where the network is trusted",
            );
        }
        let is_long = |passcode: &Secret| passcode.expose().len() >= PASSCODE_BYTES_MIN;
        if self.login.as_ref().is_none_or(String::is_empty) || !self.passcode.as_ref().is_some_and(is_long) {
            problems.add(
                "stomp_relay.passcode",
                format!("who listens needs stomp_relay.login and a passcode of {PASSCODE_BYTES_MIN} bytes or more"),
            );
        }
        if self.sessions == 0 {
            problems.add("stomp_relay.sessions", "must be at least 1");
        }
    }
}
