//! The close catalogue: each way the gateway ends a connection, as one entry. What a client may see of an ending
//! comes from here alone.

/// What a client should do after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnect {
    /// It was meant: stay away.
    No,
    /// Come back, with jitter and back-off.
    Yes,
    /// Come back with a new credential.
    WithNewCredential,
    /// Come back, but later: the node had too much to do.
    Later,
}

/// One entry of the catalogue. The order is that of the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Close {
    /// The client closed; its close is answered with this.
    Normal,
    /// A frame broke RFC 6455.
    Protocol,
    /// Binary data on a text dialect.
    UnsupportedData,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// A rule of the endpoint was broken.
    Policy,
    /// A message over the limit.
    TooBig,
    /// A fault of ours.
    Internal,
    /// The node drains or restarts.
    Drain,
    /// The node has too much to do.
    Overload,
    /// The bus is gone.
    BusGone,
    /// A domain service ended it, without a code of its own.
    Disconnected,
    /// A newer connection of the user replaced it.
    Replaced,
    /// The token expired or was revoked.
    Expired,
    /// The client did not read what was sent to it.
    SlowConsumer,
    /// Nothing was heard for too long.
    Silent,
    /// The first message's credential is wrong.
    BadCredential,
    /// No credential came in time.
    NoCredential,
    /// More connections or messages than allowed.
    TooMany,
}

impl Close {
    /// Each entry, for documentation and for counters that start at zero.
    pub const ALL: [Self; 18] = [
        Self::Normal,
        Self::Protocol,
        Self::UnsupportedData,
        Self::InvalidUtf8,
        Self::Policy,
        Self::TooBig,
        Self::Internal,
        Self::Drain,
        Self::Overload,
        Self::BusGone,
        Self::Disconnected,
        Self::Replaced,
        Self::Expired,
        Self::SlowConsumer,
        Self::Silent,
        Self::BadCredential,
        Self::NoCredential,
        Self::TooMany,
    ];

    /// The close code (RFC 6455 §7.4, and ours in 4000–4999).
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Protocol => 1002,
            Self::UnsupportedData => 1003,
            Self::InvalidUtf8 => 1007,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::Internal => 1011,
            Self::Drain => 1012,
            Self::Overload => 1013,
            Self::BusGone => 1014,
            Self::Disconnected => 4000,
            Self::Replaced => 4001,
            Self::Expired => 4003,
            Self::SlowConsumer => 4008,
            Self::Silent => 4009,
            Self::BadCredential => 4401,
            Self::NoCredential => 4408,
            Self::TooMany => 4429,
        }
    }

    /// The entry with this code.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|close| close.code() == code)
    }

    /// The reason a client is shown.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::Protocol => "protocol error",
            Self::UnsupportedData => "binary messages are not understood here",
            Self::InvalidUtf8 => "text is not UTF-8",
            Self::Policy => "policy violation",
            Self::TooBig => "message too big",
            Self::Internal => "internal error",
            Self::Drain => "service restart, please reconnect",
            Self::Overload => "overloaded, please try again later",
            Self::BusGone => "backend is not reachable",
            Self::Disconnected => "disconnected by the service",
            Self::Replaced => "replaced by a newer connection",
            Self::Expired => "token expired",
            Self::SlowConsumer => "messages were not read in time",
            Self::Silent => "nothing heard for too long",
            Self::BadCredential => "credential refused",
            Self::NoCredential => "no credential in time",
            Self::TooMany => "too many",
        }
    }

    /// What the client should do.
    pub const fn reconnect(self) -> Reconnect {
        match self {
            Self::Normal
            | Self::Protocol
            | Self::UnsupportedData
            | Self::InvalidUtf8
            | Self::Policy
            | Self::TooBig
            | Self::Disconnected
            | Self::Replaced => Reconnect::No,
            Self::Internal | Self::Drain | Self::SlowConsumer | Self::Silent => Reconnect::Yes,
            Self::Overload | Self::BusGone | Self::TooMany => Reconnect::Later,
            Self::Expired | Self::BadCredential | Self::NoCredential => Reconnect::WithNewCredential,
        }
    }

    /// The value of the metric label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Protocol => "protocol",
            Self::UnsupportedData => "unsupported_data",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::Policy => "policy",
            Self::TooBig => "too_big",
            Self::Internal => "internal",
            Self::Drain => "drain",
            Self::Overload => "overload",
            Self::BusGone => "bus_gone",
            Self::Disconnected => "disconnected",
            Self::Replaced => "replaced",
            Self::Expired => "expired",
            Self::SlowConsumer => "slow_consumer",
            Self::Silent => "silent",
            Self::BadCredential => "bad_credential",
            Self::NoCredential => "no_credential",
            Self::TooMany => "too_many",
        }
    }
}

/// Whether a command may close with this code: what RFC 6455 lets an endpoint send, and the applications' own.
pub const fn may_disconnect_with(code: u16) -> bool {
    matches!(code, 1000 | 1008 | 1012 | 1013 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CLOSE_REASON_BYTES_MAX;

    #[test]
    fn each_entry_fits_a_control_frame_and_is_its_own() {
        let mut codes: Vec<_> = Close::ALL.iter().map(|close| close.code()).collect();
        codes.dedup();

        assert_eq!(codes.len(), Close::ALL.len());
        assert!(codes.is_sorted());
        assert!(Close::ALL.iter().all(|close| close.reason().len() <= CLOSE_REASON_BYTES_MAX));
    }
}
