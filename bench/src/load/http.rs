//! HTTP/1.1 as a browser's fallbacks use it: a connection that stays, one request at a time, an answer of a known length
//! or one in chunks that goes on. Counts what it writes and reads.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

/// How long an answer may take: a poll is held for 25 s.
const PATIENCE: Duration = Duration::from_secs(40);

/// What went over the wire, headers included.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) requests: AtomicU64,
    pub(crate) up_bytes: AtomicU64,
    pub(crate) down_bytes: AtomicU64,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) requests: u64,
    pub(crate) up_bytes: u64,
    pub(crate) down_bytes: u64,
}

impl Traffic {
    pub(crate) fn sent(&self, bytes: usize) {
        self.up_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.down_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Counted {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted { requests: of(&self.requests), up_bytes: of(&self.up_bytes), down_bytes: of(&self.down_bytes) }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Http {
    tcp: TcpStream,
    pending: Vec<u8>,
    traffic: Arc<Traffic>,
    host: String,
}

impl Http {
    pub(crate) fn connect(server: SocketAddr, traffic: &Arc<Traffic>) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(server)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { tcp, pending: Vec::new(), traffic: Arc::clone(traffic), host: server.to_string() })
    }

    /// Ends what waits on this connection, from another thread.
    pub(crate) fn ender(&self) -> anyhow::Result<impl FnOnce() + Send + use<>> {
        let tcp = self.tcp.try_clone()?;
        Ok(move || drop(tcp.shutdown(Shutdown::Both)))
    }

    /// Asks; the answer's status and head.
    pub(crate) fn ask(&mut self, method: &str, path: &str, more: &str, body: &str) -> anyhow::Result<(u16, String)> {
        // What a browser sends at the least, and not the kilobyte of some.
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: */*\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.traffic.requests.fetch_add(1, Ordering::Relaxed);
        self.traffic.sent(request.len());
        self.tcp.write_all(request.as_bytes())?;
        let head = self.until(b"\r\n\r\n")?;
        let head = String::from_utf8(head).context("a head that is no text")?.to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
        Ok((status, head))
    }

    /// Asks, and reads an answer that is whole; it must be this status.
    pub(crate) fn whole(
        &mut self,
        method: &str,
        path: &str,
        more: &str,
        body: &str,
        status: u16,
    ) -> anyhow::Result<Vec<u8>> {
        let (got, head) = self.ask(method, path, more, body)?;
        let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(Ok(0), |length| length.trim().parse())?;
        while self.pending.len() < length {
            self.fill()?;
        }
        let body: Vec<u8> = self.pending.drain(..length).collect();
        ensure!(got == status, "{method} {path}: {got}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    /// The next chunk of an answer that goes on; `None` at its end.
    pub(crate) fn chunk(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let line = self.until(b"\r\n")?;
        let line = String::from_utf8_lossy(&line);
        let Ok(length) = usize::from_str_radix(line.trim_end(), 16) else { bail!("no chunk: {line:?}") };
        while self.pending.len() < length + 2 {
            self.fill()?;
        }
        let mut chunk: Vec<u8> = self.pending.drain(..length + 2).collect();
        chunk.truncate(length);
        Ok((length > 0).then_some(chunk))
    }

    fn until(&mut self, end: &[u8]) -> anyhow::Result<Vec<u8>> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.pending, end) {
                return Ok(self.pending.drain(..at + end.len()).collect());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let length = self.tcp.read(&mut buffer)?;
        ensure!(length > 0, "the server closed");
        self.traffic.received(length);
        self.pending.extend(buffer.iter().take(length));
        Ok(())
    }
}
