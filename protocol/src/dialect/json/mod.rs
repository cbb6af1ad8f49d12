//! Dialect `json` (sub-protocol `holdfast.v1.json`): one JSON object per WebSocket text message.
//!
//! Application payloads pass through as bytes, in both directions: what is written in `data` is neither built nor
//! re-encoded. Errors that a client may see are [`ErrorCode`]s with texts from here alone.

mod id;
mod read;
mod write;

pub use id::MessageId;
pub use read::{ClientMessage, Cursor, Head, Kind, Mark, Rejection, read};
pub use write::{
    Gap, Welcome, delivery, error, gap, goaway, history, joined, left, ok, ok_joined, ok_refreshed, pong, reply,
    service_error, welcome,
};

/// Why something a client asked for was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// Not JSON, no object, or a field that is missing, of the wrong type or out of bounds.
    BadMessage,
    /// A `type` that does not exist.
    UnknownType,
    /// The connection is nobody's yet.
    Unauthenticated,
    /// A token that is wrong, expired, or another user's.
    BadCredential,
    /// The credential does not allow it.
    Forbidden,
    /// Over a limit on rooms or on what may be outstanding.
    TooMany,
    /// Nobody serves the subject.
    NoResponder,
    /// No answer in time.
    Timeout,
    /// The domain service said so.
    Service,
    /// The bus is away or did not confirm in time.
    BusUnavailable,
    /// No router, or nobody who could decide.
    Unavailable,
    /// Larger than the bus carries.
    TooBig,
}

impl ErrorCode {
    /// Each code.
    pub const ALL: [Self; 12] = [
        Self::BadMessage,
        Self::UnknownType,
        Self::Unauthenticated,
        Self::BadCredential,
        Self::Forbidden,
        Self::TooMany,
        Self::NoResponder,
        Self::Timeout,
        Self::Service,
        Self::BusUnavailable,
        Self::Unavailable,
        Self::TooBig,
    ];

    /// The value of the field `code`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadMessage => "bad_message",
            Self::UnknownType => "unknown_type",
            Self::Unauthenticated => "unauthenticated",
            Self::BadCredential => "bad_credential",
            Self::Forbidden => "forbidden",
            Self::TooMany => "too_many",
            Self::NoResponder => "no_responder",
            Self::Timeout => "timeout",
            Self::Service => "service",
            Self::BusUnavailable => "bus_unavailable",
            Self::Unavailable => "unavailable",
            Self::TooBig => "too_big",
        }
    }

    /// The value of the field `retry`: whether the same message may work later. For `too_many` that depends on what
    /// there is too much of, so [`error`] takes it as an argument.
    pub const fn retry(self) -> bool {
        match self {
            Self::NoResponder | Self::Timeout | Self::BusUnavailable | Self::Unavailable => true,
            Self::BadMessage
            | Self::UnknownType
            | Self::Unauthenticated
            | Self::BadCredential
            | Self::Forbidden
            | Self::TooMany
            | Self::Service
            | Self::TooBig => false,
        }
    }
}

#[cfg(test)]
mod tests;
