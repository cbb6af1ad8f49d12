//! Who a client is: credentials in, identities out.
//!
//! [`Verifier`] decides alone and at once, from keys it has. [`Authenticator`] also asks: for new keys, or a domain
//! service (a *callout*). Tokens and keys are never part of an error, a log line or a `Debug` form.

mod authenticator;
pub mod callout;
mod claims;
mod jwks;
mod keys;
mod rooms;
mod verifier;

#[cfg(test)]
mod kit;

use std::fmt;
use std::sync::Arc;

pub use authenticator::{Authenticator, Backend};
pub use jwks::{Jwks, JwksSettings, JwksStatus, KeyRefresher, read_file as read_key_file};
pub use keys::{KeyError, algorithm};
pub use rooms::RoomPatterns;
pub use verifier::{JwtSettings, Verifier};

/// What a verified credential says.
#[derive(Clone, PartialEq)]
pub struct Identity {
    /// The user.
    pub user: Arc<str>,
    /// The device.
    pub device: Option<Arc<str>>,
    /// The claim `attributes`; an object. `None` where there are none, so that most connections hold nothing.
    pub attributes: Option<Arc<serde_json::Map<String, serde_json::Value>>>,
    /// Comma-joined: the claim `roles`, else `attributes.role`.
    pub roles: Option<Arc<str>>,
    /// Which rooms the user may join by themselves.
    pub rooms: Arc<RoomPatterns>,
    /// Unix seconds.
    pub expires: Option<u64>,
    /// The token's id.
    pub jti: Option<Arc<str>>,
}

impl Identity {
    /// Somebody by their own word: the development profile. May join any room, for ever.
    pub fn unsigned(user: &str, device: Option<Arc<str>>) -> Self {
        Self {
            user: user.into(),
            device,
            attributes: None,
            roles: None,
            rooms: RoomPatterns::any(),
            expires: None,
            jti: None,
        }
    }

    /// Whether the credential has ended at this Unix millisecond. No leeway.
    pub fn is_expired(&self, unix_ms: u64) -> bool {
        self.expires.is_some_and(|expires| unix_ms / 1000 >= expires)
    }
}

impl fmt::Debug for Identity {
    /// Claims are the application's secrets; who it is, is enough to debug ours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("user", &self.user).field("device", &self.device).finish_non_exhaustive()
    }
}

/// Why a credential makes nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Unreadable, wrong signature, wrong claims, or not valid yet.
    #[error("the credential is not valid")]
    Invalid,
    /// It was good once.
    #[error("the credential has expired")]
    Expired,
    /// Good, but not for this endpoint.
    #[error("the credential does not allow this endpoint")]
    Forbidden,
    /// The key, or the service that decides, cannot be reached now.
    #[error("credentials cannot be checked now")]
    Unavailable,
    /// Signed with a key that is not known yet: only a [`Verifier`] says so; an [`Authenticator`] fetches keys.
    #[error("the credential is signed with an unknown key")]
    UnknownKey,
}
