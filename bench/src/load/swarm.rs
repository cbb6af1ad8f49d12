//! Many clients read at once by a few threads: every delivery checked and counted, every ping answered, latency from
//! the time a message was meant to be sent.

use std::io;
use std::net::TcpStream as StdStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use super::client::{Check, Client, Stream};
use super::open::Opened;
use crate::clock;
use crate::report::note;

/// How long a wait may go without a delivery.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two lines that tell of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Read at once.
const BUFFER_BYTES: usize = 64 * 1024;
const EVENTS: usize = 1024;
const WAKER: Token = Token(usize::MAX);

/// Clients that are being read. Dropping it closes them.
#[derive(Debug)]
pub(crate) struct Swarm {
    shared: Arc<Shared>,
    lanes: Vec<Lane>,
    clients: usize,
}

/// One thread and its clients.
#[derive(Debug)]
struct Lane {
    clients: Arc<Mutex<Vec<Client>>>,
    registry: Registry,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    delivered: AtomicU64,
    /// `delivered` the waiter wants; it is woken once, when they are there.
    wanted: AtomicU64,
    /// Whether a connection may end.
    may_end: AtomicBool,
    over: AtomicBool,
    timing: AtomicBool,
    latency: Mutex<Histogram<u64>>,
    wrong: Mutex<Option<String>>,
    reached: Condvar,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Microseconds, up to a minute.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap_or_else(|error| unreachable!("fixed bounds: {error}"))
}

impl Swarm {
    /// Reads with this many threads from now on; nobody yet.
    pub(crate) fn new(threads: usize) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            delivered: AtomicU64::new(0),
            wanted: AtomicU64::new(u64::MAX),
            may_end: AtomicBool::new(false),
            over: AtomicBool::new(false),
            timing: AtomicBool::new(false),
            latency: Mutex::new(histogram()),
            wrong: Mutex::new(None),
            reached: Condvar::new(),
        });
        let lanes = (0..threads.max(1)).map(|_| Lane::start(&shared)).collect::<anyhow::Result<_>>()?;
        Ok(Self { shared, lanes, clients: 0 })
    }

    /// Takes a connection that was just opened; `bytes`: of each payload, 0 for any.
    pub(crate) fn add(&mut self, opened: Opened, bytes: usize) -> anyhow::Result<()> {
        let lane = &self.lanes[self.clients % self.lanes.len()];
        self.clients += 1;
        let mut client = Client {
            stream: match opened.tls {
                None => Stream::Plain(nonblocking(opened.tcp)?),
                Some(tls) => Stream::Tls(Box::new(rustls::StreamOwned::new(*tls, nonblocking(opened.tcp)?))),
            },
            framing: opened.framing,
            check: Check::new(bytes),
            ended: None,
            heartbeat: opened.heartbeat,
        };
        client.take(&opened.rest, &mut |_| {})?;
        let mut clients = locked(&lane.clients);
        let token = Token(clients.len());
        clients.push(client);
        let Some(client) = clients.last_mut() else { return Ok(()) };
        let tcp = match &mut client.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &mut tls.sock,
        };
        lane.registry.register(tcp, token, Interest::READABLE)?;
        // What TLS took in with the opening, no readiness will tell of.
        self.shared.pass(client, &mut [0; BUFFER_BYTES], &mut histogram(), false);
        Ok(())
    }

    /// How many clients there are.
    pub(crate) const fn len(&self) -> usize {
        self.clients
    }

    /// Deliveries so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.shared.delivered.load(Ordering::SeqCst)
    }

    /// From now on a connection may end without that being a fault.
    pub(crate) fn may_end(&self) {
        self.shared.may_end.store(true, Ordering::SeqCst);
    }

    /// What payloads must measure from now on.
    pub(crate) fn expect_bytes(&self, bytes: usize) {
        for lane in &self.lanes {
            locked(&lane.clients).iter_mut().for_each(|client| client.check.bytes = bytes);
        }
    }

    /// Measures latency from now on, from nothing; or no longer.
    pub(crate) fn time(&self, on: bool) {
        locked(&self.shared.latency).reset();
        self.shared.timing.store(on, Ordering::SeqCst);
    }

    /// The latencies so far, microseconds.
    pub(crate) fn latency(&self) -> Histogram<u64> {
        locked(&self.shared.latency).clone()
    }

    /// Waits until at least this many deliveries have come since the start.
    ///
    /// # Errors
    /// A wrong delivery, a connection that ended, or no delivery for a long time.
    pub(crate) fn at_least(&self, deliveries: u64) -> anyhow::Result<()> {
        self.shared.wanted.store(deliveries, Ordering::SeqCst);
        let (mut last, mut moved, mut told) = (self.delivered(), Instant::now(), Instant::now());
        let mut wrong = locked(&self.shared.wrong);
        loop {
            if let Some(what) = &*wrong {
                bail!("wrong delivery: {what}");
            }
            let so_far = self.delivered();
            if so_far >= deliveries {
                return Ok(());
            }
            if so_far > last {
                (last, moved) = (so_far, Instant::now());
            }
            ensure!(moved.elapsed() < PATIENCE, "{so_far} of {deliveries} deliveries, and no more come");
            if told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                note(&format!("    {so_far} of {deliveries} deliveries"));
            }
            let waited = self.shared.reached.wait_timeout(wrong, Duration::from_millis(200));
            wrong = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until this many have come; one more is an error.
    pub(crate) fn exactly(&self, deliveries: u64) -> anyhow::Result<()> {
        self.at_least(deliveries)?;
        let so_far = self.delivered();
        ensure!(so_far == deliveries, "{so_far} deliveries, {deliveries} expected");
        Ok(())
    }

    /// Whether each client that has not ended got so many of this stream; `expected` is asked with its number.
    pub(crate) fn verify(&self, stream: u8, expected: impl Fn(usize) -> u64) -> anyhow::Result<()> {
        for (offset, lane) in self.lanes.iter().enumerate() {
            for (place, client) in locked(&lane.clients).iter().enumerate() {
                let number = place * self.lanes.len() + offset;
                let (got, wanted) = (u64::from(client.check.count(stream)), expected(number));
                let ended = client.ended.is_some();
                ensure!(ended || got == wanted, "client {number}: {got} of stream {stream} and not {wanted}");
            }
        }
        Ok(())
    }
}

fn nonblocking(tcp: StdStream) -> io::Result<mio::net::TcpStream> {
    tcp.set_nonblocking(true)?;
    Ok(mio::net::TcpStream::from_std(tcp))
}

impl Lane {
    fn start(shared: &Arc<Shared>) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let clients = Arc::new(Mutex::new(Vec::new()));
        let (theirs, shared) = (Arc::clone(&clients), Arc::clone(shared));
        let run = move || {
            if let Err(error) = read(poll, &theirs, &shared) {
                shared.fail(format!("{error:#}"));
            }
        };
        let thread = thread::Builder::new().name("clients".to_owned()).spawn(run).context("cannot start a thread")?;
        Ok(Self { clients, registry, waker, thread: Some(thread) })
    }
}

fn read(mut poll: Poll, clients: &Mutex<Vec<Client>>, shared: &Shared) -> anyhow::Result<()> {
    let mut events = Events::with_capacity(EVENTS);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut latency = histogram();
    while !shared.over.load(Ordering::Relaxed) {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        let timing = shared.timing.load(Ordering::Relaxed);
        let mut clients = locked(clients);
        for event in &events {
            if let Some(client) = clients.get_mut(event.token().0) {
                shared.pass(client, &mut buffer, &mut latency, timing);
            }
        }
        drop(clients);
        if timing && !latency.is_empty() {
            locked(&shared.latency).add(&latency)?;
            latency.reset();
        }
    }
    Ok(())
}

impl Shared {
    /// Reads one client and counts.
    fn pass(&self, client: &mut Client, buffer: &mut [u8], latency: &mut Histogram<u64>, timing: bool) {
        let had_ended = client.ended.is_some();
        let outcome = client.read(buffer, &mut |sent_us| {
            if timing {
                latency.saturating_record(clock::micros().saturating_sub(sent_us).max(1));
            }
        });
        if let Err(error) = outcome {
            client.ended = Some(0);
            if !self.may_end.load(Ordering::Relaxed) {
                self.fail(format!("a connection failed: {error}"));
            }
        }
        if let Some(what) = client.check.wrong.take() {
            self.fail(what);
        }
        let fresh = std::mem::take(&mut client.check.fresh);
        if fresh > 0 {
            let total = self.delivered.fetch_add(fresh, Ordering::SeqCst) + fresh;
            let wanted = self.wanted.load(Ordering::SeqCst);
            if total >= wanted && total - fresh < wanted {
                let _wrong = locked(&self.wrong);
                self.reached.notify_all();
            }
        }
        if let (Some(code), false) = (client.ended, had_ended)
            && !self.may_end.load(Ordering::Relaxed)
        {
            self.fail(format!("the server closed a connection ({code})"));
        }
    }

    /// The first fault counts.
    fn fail(&self, what: String) {
        let mut wrong = locked(&self.wrong);
        wrong.get_or_insert(what);
        self.reached.notify_all();
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        for lane in &mut self.lanes {
            // Where it cannot be woken it ends with the process.
            if lane.waker.wake().is_ok()
                && let Some(thread) = lane.thread.take()
            {
                drop(thread.join());
            }
        }
    }
}
