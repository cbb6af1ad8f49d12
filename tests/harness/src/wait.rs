//! Waiting for conditions: level-triggered, bounded, and reporting the last status when it gives up.
//!
//! The only file of the tests that sleeps. Deadlines are generous on purpose: a test fails because something never
//! became true, not because a machine was slow.

use std::time::Duration;

use tokio::time::Instant;

/// How long anything may take before it counts as never happening.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Repeats `condition` until it gives `Ok`, and returns that.
///
/// # Panics
/// After [`PATIENCE`], with `what` and the last `Err`.
pub async fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(PATIENCE, what, condition).await
}

/// [`eventually`] with a deadline of its own, for what is known to take longer.
///
/// # Panics
/// After `patience`, with `what` and the last `Err`.
pub async fn within<T>(patience: Duration, what: &str, mut condition: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + patience;
    let mut status = "not even looked at".to_owned();
    loop {
        match tokio::time::timeout_at(deadline, condition()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(last)) => status = last,
            Err(_) => panic!("not within {patience:?}: {what}; last status: {status}; one more look was under way"),
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}; last status: {status}");
        pause(POLL_INTERVAL).await;
    }
}

/// Waits for one future, at most [`PATIENCE`].
///
/// # Panics
/// After that, with `what`.
pub async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Lets time pass. For faults that have a length (an outage of seconds, a slow link), never to await an effect.
#[expect(clippy::disallowed_methods, reason = "the one place of the tests that sleeps")]
pub async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}
