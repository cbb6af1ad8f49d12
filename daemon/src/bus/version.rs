//! Which versions of nats-server will do.

/// The oldest: earlier ones have no subject transforms and route pools, and are not maintained.
const OLDEST: (u32, u32) = (2, 10);

/// A server that is not used, by its version. Shown, it says what is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nats-server {major}.{minor} is not supported, {}.{} or newer is needed", OLDEST.0, OLDEST.1)]
pub struct TooOld {
    major: u32,
    minor: u32,
}

/// Whether a server of this version will do.
///
/// # Errors
/// It is too old. A version that cannot be read is taken for a good one: it may be something else than nats-server
/// that speaks its protocol.
pub(super) fn check(version: &str) -> Result<(), TooOld> {
    let mut parts = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < OLDEST => Err(TooOld { major, minor }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_2_10_are_refused_with_a_sentence() {
        for good in ["2.10.0", "2.10.29", "2.15.1", "3.0.0", "2.12.0-preview.1", "v2.11.1", "", "edge"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (old, named) in [("2.9.25", "2.9"), ("2.1.0", "2.1"), ("1.4.1", "1.4")] {
            let why = check(old).map_err(|error| error.to_string());
            let wanted = format!("nats-server {named} is not supported, 2.10 or newer is needed");
            assert_eq!(why, Err(wanted), "{old}");
        }
    }
}
