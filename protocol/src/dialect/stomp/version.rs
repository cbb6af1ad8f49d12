//! Which STOMP a connection speaks.

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 1.0: no escapes, no heart-beats.
    V1_0,
    /// 1.1: heart-beats, NACK, escapes in header values.
    V1_1,
    /// 1.2: CRLF, `ack` header, escapes in names too.
    V1_2,
}

/// The client and we have no version in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no common version")]
pub struct UnknownVersion;

impl Version {
    /// All of them as the `version` header of a refusal lists them.
    pub const ALL: &'static str = "1.0,1.1,1.2";

    /// The version as written in `version` headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }

    /// The highest common version of an `accept-version` header; a missing one means 1.0 (1.2 §Protocol Negotiation).
    ///
    /// # Errors
    /// Nothing in the list is known.
    pub fn negotiate(accept: Option<&str>) -> Result<Self, UnknownVersion> {
        let Some(accept) = accept else { return Ok(Self::V1_0) };
        accept
            .split(',')
            .filter_map(|version| match version.trim() {
                "1.0" => Some(Self::V1_0),
                "1.1" => Some(Self::V1_1),
                "1.2" => Some(Self::V1_2),
                _ => None,
            })
            .max()
            .ok_or(UnknownVersion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_spoken() {
        for (accept, expected) in [
            (None, Ok(Version::V1_0)),
            (Some("1.0"), Ok(Version::V1_0)),
            (Some("1.2,1.1,1.0"), Ok(Version::V1_2)),
            (Some("1.0, 1.1"), Ok(Version::V1_1)),
            (Some("2.0,1.1"), Ok(Version::V1_1)),
            (Some("2.0"), Err(UnknownVersion)),
            (Some(""), Err(UnknownVersion)),
        ] {
            assert_eq!(Version::negotiate(accept), expected, "{accept:?}");
        }
    }
}
