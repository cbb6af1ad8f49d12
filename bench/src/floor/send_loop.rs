//! The floor of fan-out: a loop that writes the same frame to as many sockets from one thread on the server's core,
//! one `send` each, or several frames to a `send`. Plain or over TLS.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustls::{ClientConfig, ServerConfig, ServerConnection, StreamOwned};

use super::Spent;
use crate::cores;
use crate::load::open::{Duplex, Greeting, Input};
use crate::load::{Opening, Swarm, token, ws};
use crate::process::thread_cpu_time;

/// What dialect json puts before a payload and behind it, for a message to this room.
const BEFORE: &str = r#"{"type":"message","id":"0123456789abcdef0123456789","room":"bench/fanout","data":"#;
const BEHIND: &str = "}";

/// The loop, its sockets and their clients.
#[derive(Debug)]
pub(crate) struct SendLoop {
    swarm: Swarm,
    jobs: SyncSender<Job>,
    done: Receiver<anyhow::Result<Duration>>,
    thread: Option<JoinHandle<()>>,
    sent: u64,
}

/// So many messages from this number on, that many to a `send`.
#[derive(Debug, Clone, Copy)]
struct Job {
    first: u64,
    messages: u64,
    per_send: u64,
    bytes: usize,
}

/// How to drive it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drive {
    pub(crate) messages: u64,
    /// On their way at most.
    pub(crate) window: u64,
    pub(crate) per_send: u64,
    pub(crate) bytes: usize,
}

/// One accepted socket.
enum Far {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// A client that says one byte and hears one, so that a TLS handshake is over when it is in.
pub(crate) struct Silent;

impl Greeting for Silent {
    fn greet(&self, _: usize, stream: &mut dyn Duplex, input: &mut Input) -> anyhow::Result<()> {
        stream.write_all(b"?")?;
        input.until(stream, b"!").map(drop)
    }
}

impl SendLoop {
    /// Opens so many sockets.
    ///
    /// # Errors
    /// Those of the sockets.
    pub(crate) fn open(sockets: usize, tls: Option<(Arc<ServerConfig>, Arc<ClientConfig>)>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let server = listener.local_addr()?;
        let (server_tls, client_tls) = tls.unzip();
        let accept = thread::spawn(move || accept(&listener, sockets, server_tls.as_ref()));
        let mut swarm = Swarm::new(1)?;
        opening(server, client_tls).open_all(0..sockets, 1, &mut swarm, 0)?;
        let far = accept.join().map_err(|_| anyhow::anyhow!("the accepting thread panicked"))??;
        let (jobs, work) = sync_channel::<Job>(1);
        let (finished, done) = sync_channel(1);
        let run = move || serve(far, &work, &finished);
        let thread = thread::Builder::new().name("send-loop".to_owned()).spawn(run)?;
        Ok(Self { swarm, jobs, done, thread: Some(thread), sent: 0 })
    }

    /// Sends that many messages to every socket, and waits until all have come.
    ///
    /// # Errors
    /// One did not come, or a wrong one.
    pub(crate) fn run(&mut self, drive: Drive) -> anyhow::Result<Spent> {
        self.swarm.expect_bytes(drive.bytes);
        let sockets = self.swarm.len() as u64;
        // Half a window is written at once, and the other half may still be on its way.
        let half = drive.window.div_ceil(2).max(drive.per_send);
        let before = self.sent;
        let mut cpu = Duration::ZERO;
        let started = Instant::now();
        while self.sent - before < drive.messages {
            let messages = half.min(drive.messages - (self.sent - before));
            let job = Job { first: self.sent + 1, messages, per_send: drive.per_send, bytes: drive.bytes };
            self.jobs.send(job).context("the loop is gone")?;
            cpu += self.done.recv().context("the loop is gone")??;
            self.sent += messages;
            let may_wait = drive.window - half.min(drive.window);
            self.swarm.at_least(self.sent.saturating_sub(may_wait).max(before) * sockets)?;
        }
        self.swarm.exactly(self.sent * sockets)?;
        self.swarm.verify(0, |_| self.sent)?;
        Ok(Spent { elapsed: started.elapsed(), cpu })
    }
}

fn opening(server: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Opening {
    Opening { server, tls, greeting: Arc::new(Silent), source: 0 }
}

fn accept(listener: &TcpListener, sockets: usize, tls: Option<&Arc<ServerConfig>>) -> anyhow::Result<Vec<Far>> {
    let accept_one = |_| -> anyhow::Result<Far> {
        let (tcp, _) = listener.accept()?;
        tcp.set_nodelay(true)?;
        let mut far = match tls {
            None => Far::Plain(tcp),
            Some(config) => {
                let session = ServerConnection::new(Arc::clone(config))?;
                Far::Tls(Box::new(StreamOwned::new(session, tcp)))
            }
        };
        let mut byte = [0];
        match &mut far {
            Far::Plain(tcp) => std::io::Read::read_exact(tcp, &mut byte)?,
            Far::Tls(tls) => std::io::Read::read_exact(tls, &mut byte)?,
        }
        far.send(b"!")?;
        Ok(far)
    };
    (0..sockets).map(accept_one).collect()
}

impl Far {
    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.write_all(bytes),
            Self::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }
}

fn serve(mut sockets: Vec<Far>, work: &Receiver<Job>, finished: &SyncSender<anyhow::Result<Duration>>) {
    let bound = cores::bind_thread(cores::SERVER);
    while let Ok(job) = work.recv() {
        let outcome = match &bound {
            Ok(()) => write(&mut sockets, job),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        if finished.send(outcome).is_err() {
            return;
        }
    }
}

/// Returns the CPU time it took.
fn write(sockets: &mut [Far], job: Job) -> anyhow::Result<Duration> {
    let before = thread_cpu_time();
    let mut next = job.first;
    let end = job.first + job.messages;
    let mut batch = Vec::new();
    while next < end {
        let together = job.per_send.min(end - next);
        batch.clear();
        for number in next..next + together {
            let payload = token::payload(0, number, 0, job.bytes);
            batch.extend(ws::server_text(&[BEFORE.as_bytes(), &payload, BEHIND.as_bytes()].concat()));
        }
        for socket in &mut *sockets {
            socket.send(&batch)?;
        }
        next += together;
    }
    Ok(thread_cpu_time().saturating_sub(before))
}

impl Drop for SendLoop {
    fn drop(&mut self) {
        // Its end is the thread's.
        let (jobs, _) = sync_channel(1);
        self.jobs = jobs;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
