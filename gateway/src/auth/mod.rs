//! Who a client is: credentials in, identities out.

use std::sync::Arc;

/// What a verified credential says.
#[derive(Debug, Clone, PartialEq)]
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

/// Patterns of the claim `rooms`: `*` is one segment, `**` one or more and only last; split at `/`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomPatterns(pub Vec<String>);

/// Why a credential makes nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Unreadable, wrong signature, wrong claims.
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
}
