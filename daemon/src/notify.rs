//! What systemd is told of a service of `Type=notify`: that it is ready, that it ends and how long that may take, and
//! that it still lives. Says nothing where nobody asked (no `NOTIFY_SOCKET`). After `sd_notify(3)`.

use crate::shutdown::{Shutdown, Tasks};
use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// systemd reads at once; one that does not is not waited for.
const SEND_TIMEOUT: Duration = Duration::from_millis(200);

/// Serving has begun.
pub(crate) fn ready() {
    tell("READY=1\nSTATUS=Serving");
}

/// Tells, once an end is asked for, that it has begun, and that it may take so long before the process is to be killed,
/// also where that is longer than the unit's `TimeoutStopSec`.
pub fn stopping(shutdown: &Shutdown, tasks: &Tasks, at_most: Duration) {
    let shutdown = shutdown.clone();
    tasks.spawn("notify stopping", async move {
        shutdown.first().await;
        let micros = at_most.as_micros();
        tell(&format!("STOPPING=1\nSTATUS=Draining\nEXTEND_TIMEOUT_USEC={micros}"));
    });
}

/// Tells twice per interval of the unit's `WatchdogSec` that the process lives, as long as `alive` says so. The first
/// time that `alive` does not answer, or says no, is not the end: systemd waits for the whole interval.
pub fn watchdog<A>(tasks: &Tasks, alive: impl Fn() -> A + Send + 'static)
where
    A: Future<Output = bool> + Send + 'static,
{
    let Some(every) = half_of_watchdog(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id()) else {
        return;
    };
    tasks.spawn("notify watchdog", async move {
        let mut tick = tokio::time::interval(every);
        loop {
            tick.tick().await;
            if tokio::time::timeout(every, alive()).await == Ok(true) {
                tell("WATCHDOG=1");
            } else {
                tracing::warn!("A part of the process does not answer, the watchdog is not told");
            }
        }
    });
}

/// Half of the interval, where it is ours.
fn half_of_watchdog(micros: Option<String>, of: Option<String>, own: u32) -> Option<Duration> {
    let micros: u64 = micros?.parse().ok().filter(|micros| *micros > 1)?;
    let ours = of.is_none_or(|of| of.parse() == Ok(own));
    ours.then(|| Duration::from_micros(micros / 2))
}

fn tell(state: &str) {
    let Some(socket) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(OsStr::new(&socket), state) {
        tracing::warn!(%error, "Could not notify the service manager");
    }
}

fn send(to: &OsStr, state: &str) -> io::Result<()> {
    let address = match to.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(to)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    socket.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the service manager's, no settings of ours")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(of: &str) -> Option<String> {
        Some(of.to_owned())
    }

    #[test]
    fn a_state_reaches_a_socket_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let abstract_name = format!("holdfast-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(abstract_name.as_bytes()).expect("a name");
        let by_path = UnixDatagram::bind(&path).expect("bound");
        let by_name = UnixDatagram::bind_addr(&address).expect("bound");

        send(path.as_os_str(), "READY=1").expect("sent");
        send(OsStr::new(&format!("@{abstract_name}")), "STOPPING=1").expect("sent");

        let mut space = [0; 64];
        let read = by_path.recv(&mut space).expect("heard");
        assert_eq!(space.get(..read), Some(&b"READY=1"[..]));
        let read = by_name.recv(&mut space).expect("heard");
        assert_eq!(space.get(..read), Some(&b"STOPPING=1"[..]));
    }

    #[test]
    fn the_watchdog_is_told_twice_per_interval_where_it_is_ours() {
        assert_eq!(half_of_watchdog(text("20000000"), None, 7), Some(Duration::from_secs(10)));
        assert_eq!(half_of_watchdog(text("20000000"), text("7"), 7), Some(Duration::from_secs(10)));
        assert_eq!(half_of_watchdog(text("20000000"), text("8"), 7), None);
        assert_eq!(half_of_watchdog(text("soon"), None, 7), None);
        assert_eq!(half_of_watchdog(text("0"), None, 7), None);
        assert_eq!(half_of_watchdog(None, None, 7), None);
    }
}
