//! Opens connections with blocking calls, on several threads: TCP from one of many source addresses, TLS if wanted, and
//! whatever greeting the dialect asks for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use socket2::{Domain, Socket, Type};

use super::client::Framing;
use super::swarm::{Swarm, histogram};

/// How long a step of opening may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections per source address: well under half of the ports there are for one.
const CONNECTIONS_PER_SOURCE: usize = 4_000;
/// Source addresses behind one another, before the next range: 127.0.x.2 to 127.0.x.201.
const SOURCES_PER_RANGE: usize = 200;

/// What a client says first, and how it knows that it is in.
pub(crate) trait Greeting: Send + Sync {
    /// Greets as the `number`th client and returns when it is welcome and in its rooms.
    ///
    /// # Errors
    /// Whatever keeps it out.
    fn greet(&self, number: usize, stream: &mut dyn Duplex, input: &mut Input) -> anyhow::Result<()>;

    /// How what follows is framed.
    fn framing(&self) -> Framing {
        Framing::WebSocket(super::ws::Decoder::default())
    }

    /// A heartbeat in the dialect's own words: what the server says, and the answer.
    fn heartbeat(&self) -> Option<(&'static [u8], &'static [u8])> {
        None
    }
}

/// A stream in both directions.
pub(crate) trait Duplex: Read + Write {}

impl<T: Read + Write> Duplex for T {}

/// How to connect.
#[derive(Clone)]
pub(crate) struct Opening {
    pub(crate) server: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) greeting: Arc<dyn Greeting>,
    /// The first of the source addresses; each worker process has its own.
    pub(crate) source: usize,
}

/// A connection that is in.
pub(crate) struct Opened {
    pub(crate) tcp: TcpStream,
    pub(crate) tls: Option<Box<ClientConnection>>,
    /// What came behind the last answer.
    pub(crate) rest: Vec<u8>,
    pub(crate) framing: Framing,
    pub(crate) heartbeat: Option<(&'static [u8], &'static [u8])>,
}

impl Opening {
    /// The same, greeting otherwise.
    pub(crate) fn greeting(&self, greeting: impl Greeting + 'static) -> Self {
        Self { greeting: Arc::new(greeting), ..self.clone() }
    }

    /// Opens the `number`th connection.
    ///
    /// # Errors
    /// Whatever keeps it out.
    pub(crate) fn open(&self, number: usize) -> anyhow::Result<Opened> {
        let mut tcp = self.dial(number)?;
        let mut input = Input::default();
        let tls = match &self.tls {
            None => {
                self.greeting.greet(number, &mut tcp, &mut input)?;
                None
            }
            Some(config) => {
                let name = ServerName::from(self.server.ip());
                let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(config), name)?, tcp);
                self.greeting.greet(number, &mut stream, &mut input)?;
                tcp = stream.sock;
                Some(Box::new(stream.conn))
            }
        };
        let (framing, heartbeat) = (self.greeting.framing(), self.greeting.heartbeat());
        Ok(Opened { tcp, tls, rest: input.pending, framing, heartbeat })
    }

    fn dial(&self, number: usize) -> anyhow::Result<TcpStream> {
        let source = self.source + number / CONNECTIONS_PER_SOURCE;
        let range = u8::try_from(source / SOURCES_PER_RANGE).context("too many connections")?;
        let last = u8::try_from(source % SOURCES_PER_RANGE + 2).context("too many connections")?;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, range, last), 0)).into())?;
        socket.connect(&self.server.into()).with_context(|| format!("connection {number}"))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    }

    /// Opens these connections on several threads, and adds them to the swarm in their order. Returns how long each
    /// took, in microseconds.
    ///
    /// # Errors
    /// The first that does not come in.
    pub(crate) fn open_all(
        &self,
        numbers: Range<usize>,
        threads: usize,
        swarm: &mut Swarm,
        bytes: usize,
    ) -> anyhow::Result<Histogram<u64>> {
        let (opened, took) = self.open_many(numbers, threads)?;
        for opened in opened {
            swarm.add(opened, bytes)?;
        }
        Ok(took)
    }

    /// Opens these connections on several threads; they are nobody's yet.
    ///
    /// # Errors
    /// The first that does not come in.
    pub(crate) fn open_many(
        &self,
        numbers: Range<usize>,
        threads: usize,
    ) -> anyhow::Result<(Vec<Opened>, Histogram<u64>)> {
        let share = |opener: usize| numbers.clone().skip(opener).step_by(threads);
        let run = |opener: usize| -> anyhow::Result<(Vec<Opened>, Histogram<u64>)> {
            let (mut opened, mut took) = (Vec::new(), histogram());
            for number in share(opener) {
                let started = Instant::now();
                opened.push(self.open(number)?);
                took.saturating_record(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX).max(1));
            }
            Ok((opened, took))
        };
        thread::scope(|scope| {
            let run = &run;
            let openers: Vec<_> = (0..threads).map(|opener| scope.spawn(move || run(opener))).collect();
            let (mut lanes, mut took) = (Vec::new(), histogram());
            for opener in openers {
                let (opened, theirs) = opener.join().map_err(|_| anyhow::anyhow!("an opening thread panicked"))??;
                took.add(&theirs)?;
                lanes.push(opened.into_iter());
            }
            let mut all = Vec::with_capacity(numbers.len());
            for place in 0..numbers.len() {
                all.extend(lanes[place % threads].next());
            }
            Ok((all, took))
        })
    }
}

/// What was read and not yet looked at.
#[derive(Debug, Default)]
pub(crate) struct Input {
    pub(crate) pending: Vec<u8>,
}

impl Input {
    fn fill(&mut self, stream: &mut dyn Duplex) -> anyhow::Result<()> {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).context("no answer from the server")?;
        ensure!(length > 0, "the server closed");
        self.pending.extend(buffer.iter().take(length));
        Ok(())
    }

    /// Reads up to and with `end`.
    pub(crate) fn until(&mut self, stream: &mut dyn Duplex, end: &[u8]) -> anyhow::Result<Vec<u8>> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.pending, end) {
                return Ok(self.pending.drain(..at + end.len()).collect());
            }
            self.fill(stream)?;
        }
    }

    /// Reads an HTTP head, which must be a 101.
    pub(crate) fn upgraded(&mut self, stream: &mut dyn Duplex) -> anyhow::Result<()> {
        let head = self.until(stream, b"\r\n\r\n")?;
        ensure!(head.starts_with(b"HTTP/1.1 101 "), "refused: {}", String::from_utf8_lossy(&head));
        Ok(())
    }

    /// Reads one frame with data of less than 64 KiB and returns its payload.
    pub(crate) fn frame(&mut self, stream: &mut dyn Duplex) -> anyhow::Result<Vec<u8>> {
        loop {
            if let Some((first, start, end)) = whole_frame(&self.pending) {
                let frame: Vec<u8> = self.pending.drain(..end).collect();
                ensure!(first & 0x0F < 3, "not a frame with data: {first:x}");
                return Ok(frame.get(start..).unwrap_or_default().to_vec());
            }
            self.fill(stream)?;
        }
    }

    /// Reads the `ok` to a request of dialect `json`. Before it a node may say that it could have missed something: one
    /// that stood still while thousands came at once must, and nothing was sent to these clients yet.
    pub(crate) fn answered(&mut self, stream: &mut dyn Duplex) -> anyhow::Result<()> {
        loop {
            let frame = self.frame(stream)?;
            if frame == br#"{"type":"gap","all":true}"# {
                continue;
            }
            ensure!(frame.starts_with(br#"{"type":"ok""#), "{} and not ok", String::from_utf8_lossy(&frame));
            return Ok(());
        }
    }

    /// Reads one frame, which must contain this text.
    pub(crate) fn expect(&mut self, stream: &mut dyn Duplex, text: &str) -> anyhow::Result<()> {
        let frame = self.frame(stream)?;
        let found = memchr::memmem::find(&frame, text.as_bytes()).is_some();
        ensure!(found, "{} and not {text}", String::from_utf8_lossy(&frame));
        Ok(())
    }
}

/// First byte, start of the payload, end.
fn whole_frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (start, length) = match second & 0x7F {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        short => (2, usize::from(short)),
    };
    bytes.get(start..start + length).map(|_| (first, start, start + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server says, each an unmasked text frame.
    fn said(frames: &[&str]) -> Input {
        let mut pending = Vec::new();
        for frame in frames {
            pending.extend([0x81, u8::try_from(frame.len()).unwrap()]);
            pending.extend(frame.as_bytes());
        }
        Input { pending }
    }

    fn answered(frames: &[&str]) -> anyhow::Result<Input> {
        let mut input = said(frames);
        input.answered(&mut std::io::Cursor::new(Vec::new()))?;
        Ok(input)
    }

    #[test]
    fn a_gap_may_come_before_the_answer_and_nothing_else() {
        const GAP: &str = r#"{"type":"gap","all":true}"#;
        const OK: &str = r#"{"type":"ok","id":1}"#;

        assert!(answered(&[GAP, OK, "next"]).unwrap().pending.ends_with(b"next"));
        assert!(answered(&[r#"{"type":"error","id":1}"#, OK]).is_err());
        assert!(answered(&[r#"{"type":"gap","room":"chat/1"}"#, OK]).is_err(), "of a room that was not joined yet");
        assert!(answered(&[GAP]).is_err(), "no answer at all");
    }
}
