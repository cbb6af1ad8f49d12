//! Which versions of nats-server will do.

/// The oldest: earlier ones have no subject transforms and route pools, and are not maintained.
const OLDEST: (u32, u32) = (2, 10);

/// Whether a server of this version will do.
///
/// # Errors
/// Why not, for people. A version that cannot be read is taken for a good one: it may be something else than
/// nats-server that speaks its protocol.
pub(super) fn check(version: &str) -> Result<(), String> {
    let mut parts = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < OLDEST => {
            let (oldest_major, oldest_minor) = OLDEST;
            Err(format!("nats-server {version} is not supported, {oldest_major}.{oldest_minor} or newer is needed"))
        }
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
        for old in ["2.9.25", "2.1.0", "1.4.1"] {
            let why = format!("nats-server {old} is not supported, 2.10 or newer is needed");
            assert_eq!(check(old), Err(why), "{old}");
        }
    }
}
