//! Many plain connections read at once: every data frame counted, every ping answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::frames::{self, Counter};

/// How long the last delivery of a window may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections being read.
#[derive(Debug)]
pub(crate) struct Readers {
    shared: Arc<Shared>,
    /// One task per connection; they end with this.
    tasks: JoinSet<anyhow::Result<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Data frames of all connections.
    deliveries: AtomicU64,
    /// `deliveries` that the waiter wants; it is woken once, when they are there.
    wanted: AtomicU64,
    reached: Notify,
}

impl Readers {
    /// Reads these connections from now on.
    pub(crate) fn start(connections: impl IntoIterator<Item = std::net::TcpStream>) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared { wanted: AtomicU64::new(u64::MAX), ..Shared::default() });
        let mut tasks = JoinSet::new();
        for connection in connections {
            connection.set_nonblocking(true)?;
            tasks.spawn(read(TcpStream::from_std(connection)?, Arc::clone(&shared)));
        }
        Ok(Self { shared, tasks })
    }

    /// Waits until at least this many deliveries have come since the start.
    pub(crate) async fn at_least(&mut self, deliveries: u64) -> anyhow::Result<()> {
        self.shared.wanted.store(deliveries, Ordering::SeqCst);
        loop {
            let so_far = self.shared.deliveries.load(Ordering::SeqCst);
            if so_far >= deliveries {
                return Ok(());
            }
            let stalled = || format!("{so_far} of {deliveries} deliveries, and no more come");
            tokio::select! {
                reached = tokio::time::timeout(PATIENCE, self.shared.reached.notified()) => reached.with_context(stalled)?,
                Some(ended) = self.tasks.join_next() => ended?.context("a connection ended")?,
            }
        }
    }

    /// Waits until this many have come; one more is an error.
    pub(crate) async fn exactly(&mut self, deliveries: u64) -> anyhow::Result<()> {
        self.at_least(deliveries).await?;
        let so_far = self.shared.deliveries.load(Ordering::SeqCst);
        ensure!(so_far == deliveries, "{so_far} deliveries, {deliveries} expected");
        Ok(())
    }
}

async fn read(stream: TcpStream, shared: Arc<Shared>) -> anyhow::Result<()> {
    let mut counter = Counter::default();
    loop {
        stream.readable().await?;
        let before = counter.data;
        let open = drain(&stream, &mut counter)?;
        let new = counter.data - before;
        let total = shared.deliveries.fetch_add(new, Ordering::SeqCst) + new;
        let wanted = shared.wanted.load(Ordering::SeqCst);
        if total >= wanted && total - new < wanted {
            shared.reached.notify_one();
        }
        ensure!(open && !counter.closed, "closed by the gateway");
        while counter.pings > 0 {
            counter.pings -= 1;
            stream.writable().await?;
            stream.try_write(&frames::pong())?;
        }
    }
}

/// Reads what is there; `false` at the end of the stream.
fn drain(stream: &TcpStream, counter: &mut Counter) -> std::io::Result<bool> {
    let mut buffer = [0; 64 * 1024];
    loop {
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => counter.take(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}
