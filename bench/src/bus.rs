//! A publisher and subscriber of NATS with blocking calls and nothing else, so that driving costs as little as can be:
//! what is published leaves when it is flushed, in one write.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::load::client::Framing;
use crate::load::open::{Duplex, Greeting, Input};

const HELLO: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n";
/// What is written before it is told to be.
const BUFFER_BYTES: usize = 256 * 1024;

/// A connection that publishes.
#[derive(Debug)]
pub(crate) struct Publisher {
    tcp: TcpStream,
    out: Vec<u8>,
}

impl Publisher {
    /// Connects and says hello.
    ///
    /// # Errors
    /// There is no server.
    pub(crate) fn connect(server: SocketAddr) -> anyhow::Result<Self> {
        let mut tcp = TcpStream::connect(server).context("cannot connect to NATS")?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
        tcp.write_all(HELLO)?;
        let mut publisher = Self { tcp, out: Vec::with_capacity(BUFFER_BYTES) };
        publisher.fence()?;
        Ok(publisher)
    }

    /// Publishes; it leaves with the next flush at the latest.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) fn publish(&mut self, subject: &str, payload: &[u8]) -> anyhow::Result<()> {
        write!(self.out, "PUB {subject} {}\r\n", payload.len())?;
        self.out.extend(payload);
        self.out.extend(b"\r\n");
        if self.out.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what was published.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.tcp.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Returns when the server has taken all that was published.
    ///
    /// # Errors
    /// It does not answer, or complains.
    pub(crate) fn fence(&mut self) -> anyhow::Result<()> {
        self.out.extend(b"PING\r\n");
        self.flush()?;
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while memchr::memmem::find(&heard, b"PONG\r\n").is_none() {
            let length = self.tcp.read(&mut buffer).context("NATS does not answer")?;
            ensure!(length > 0, "NATS closed");
            heard.extend(buffer.iter().take(length));
            ensure!(memchr::memmem::find(&heard, b"-ERR").is_none(), "NATS: {}", String::from_utf8_lossy(&heard));
        }
        Ok(())
    }
}

/// A client that is a subscriber of NATS itself: the floor of everything that goes through it.
pub(crate) struct Subscriber {
    /// The subject that the `number`th subscriber listens to.
    pub(crate) subject: fn(usize) -> String,
}

impl Greeting for Subscriber {
    fn greet(&self, number: usize, stream: &mut dyn Duplex, input: &mut Input) -> anyhow::Result<()> {
        let subscribe = format!("SUB {} 1\r\nPING\r\n", (self.subject)(number));
        stream.write_all(&[HELLO, subscribe.as_bytes()].concat())?;
        input.until(stream, b"PONG\r\n").map(drop)
    }

    fn framing(&self) -> Framing {
        Framing::Lines(Vec::new())
    }
}

/// A domain service that answers each request with its own payload. It ends with its connection.
#[derive(Debug)]
pub(crate) struct Responder(TcpStream);

impl Drop for Responder {
    fn drop(&mut self) {
        drop(self.0.shutdown(std::net::Shutdown::Both));
    }
}

/// Answers on this subject from now on, on a thread of its own.
///
/// # Errors
/// NATS is not there.
pub(crate) fn responder(server: SocketAddr, subject: &str) -> anyhow::Result<Responder> {
    let mut tcp = TcpStream::connect(server).context("cannot connect to NATS")?;
    tcp.set_nodelay(true)?;
    let subscribe = format!("SUB {subject} 1\r\nPING\r\n");
    tcp.write_all(&[HELLO, subscribe.as_bytes()].concat())?;
    let mut input = Input::default();
    input.until(&mut tcp, b"PONG\r\n")?;
    let held = Responder(tcp.try_clone()?);
    let run = move || {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut pending = input.pending;
        // The end of the connection is the end of the service.
        while let Ok(length @ 1..) = tcp.read(&mut buffer) {
            pending.extend(buffer.iter().take(length));
            let mut out = Vec::new();
            let mut used = 0;
            while let Some(length) = answer(pending.get(used..).unwrap_or_default(), &mut out) {
                used += length;
            }
            pending.drain(..used);
            if tcp.write_all(&out).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("service".to_owned()).spawn(run)?;
    Ok(held)
}

/// Answers the message in front, once it is whole; its length.
fn answer(bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let end = memchr::memmem::find(bytes, b"\r\n")?;
    let line = std::str::from_utf8(bytes.get(..end)?).unwrap_or_default();
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    // `MSG subject sid [reply] size`, `HMSG subject sid [reply] size-of-headers size`
    let (reply, headers, size) = match words.as_slice() {
        ["MSG", _, _, reply, size] => (*reply, 0, size.parse::<usize>().ok()?),
        ["HMSG", _, _, reply, headers, size] => (*reply, headers.parse().ok()?, size.parse().ok()?),
        ["PING"] => {
            out.extend(b"PONG\r\n");
            return Some(end + 2);
        }
        _ => return Some(end + 2),
    };
    let start = end + 2;
    let payload = bytes.get(start + headers..start + size)?;
    bytes.get(start + size..start + size + 2)?;
    out.extend(format!("PUB {reply} {}\r\n", payload.len()).as_bytes());
    out.extend(payload);
    out.extend(b"\r\n");
    Some(start + size + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_once_they_are_whole() {
        let request = b"HMSG hf.req 1 _INBOX.7 12 17\r\nNATS/1.0\r\n\r\nhello\r\n";
        for cut in 0..request.len() {
            assert_eq!(answer(request.get(..cut).unwrap(), &mut Vec::new()), None, "cut at {cut}");
        }
        let mut out = Vec::new();
        assert_eq!(answer(request, &mut out), Some(request.len()));
        assert_eq!(out, b"PUB _INBOX.7 5\r\nhello\r\n");
    }
}
