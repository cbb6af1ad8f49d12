//! A client's byte stream: TCP, or TLS over it, with the same calls for both.
//!
//! Reads only into buffers that the caller lends and keeps nothing that is complete. Knows no HTTP and no frames.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::certificates::HTTP2;
use super::scratch;
use super::tls::Tls;

/// What one read takes from the socket at most: a flood of small messages is no more work than this at a time.
const READ_BYTES: usize = 16 * 1024;

/// What a client that knows of HTTP/2 begins with.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks for the rest of that.
const PEEK_INTERVAL: Duration = Duration::from_millis(10);

/// A connected socket.
#[derive(Debug)]
pub struct Transport {
    tcp: TcpStream,
    /// One box, so that moving a transport moves a pointer and not a TLS session.
    tls: Option<Box<Tls>>,
}

/// Why a TLS handshake did not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client spoke HTTP without TLS; it has been told so.
    #[error("the client speaks plain HTTP to a TLS address")]
    PlainHttp,
    /// The socket failed or TLS could not be agreed on.
    #[error("the TLS handshake failed")]
    Failed(#[source] io::Error),
}

const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 29\r\nConnection: close\r\n\r\nthis address speaks TLS only\n";

impl Transport {
    /// In the clear.
    pub fn plain(tcp: TcpStream) -> Self {
        Self { tcp, tls: None }
    }

    /// Over TLS; [`Self::handshake`] comes next.
    ///
    /// # Errors
    /// An unusable configuration.
    pub fn tls(tcp: TcpStream, config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self { tcp, tls: Some(Box::new(Tls::new(config)?)) })
    }

    /// Who the socket is connected to. Asks the kernel.
    pub fn peer(&self) -> Option<IpAddr> {
        self.tcp.peer_addr().ok().map(|peer| peer.ip().to_canonical())
    }

    /// Whether it is TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether the client begins with HTTP/2: over TLS by ALPN, in the clear by the first bytes it sends (RFC 9113 §3.3,
    /// §3.4). Waits for those; bounded by the caller's time-out alone.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) async fn begins_http2(&self) -> io::Result<bool> {
        if let Some(tls) = &self.tls {
            return Ok(tls.protocol() == Some(HTTP2));
        }
        let mut first = [0; HTTP2_PREFACE.len()];
        loop {
            let seen = self.tcp.peek(&mut first).await?;
            let fits = seen > 0 && HTTP2_PREFACE.starts_with(first.get(..seen).unwrap_or_default());
            if !fits || seen == HTTP2_PREFACE.len() {
                return Ok(fits);
            }
            // In pieces, which hardly anybody sends: no readiness tells of more than there is.
            tokio::time::sleep(PEEK_INTERVAL).await;
        }
    }

    /// Completes the TLS handshake. Bounded by the caller's time-out alone. Not cancel-safe.
    ///
    /// # Errors
    /// The peer's fault, or the socket's.
    pub async fn handshake(&mut self) -> Result<(), HandshakeError> {
        if self.tls.is_none() {
            return Ok(());
        }
        let mut first = [0];
        let peeked = self.tcp.peek(&mut first).await.map_err(HandshakeError::Failed)?;
        // A TLS record begins with 22, an HTTP request with a method in upper case.
        if peeked == 1 && first.iter().all(u8::is_ascii_uppercase) {
            drop(self.tcp.try_write(PLAIN_HTTP_ANSWER));
            return Err(HandshakeError::PlainHttp);
        }
        std::future::poll_fn(|cx| self.poll_handshake(cx)).await.map_err(HandshakeError::Failed)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking()) {
                return self.poll_flush(cx);
            }
            // Plaintext behind the handshake finds no room here and waits in the session.
            if ready!(self.poll_receive(cx, &mut []))?.is_none() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads plaintext; 0 is the end. Registers the task for readiness like any poll function; several calls may be
    /// needed before it says "pending". Cancel-safe.
    ///
    /// # Errors
    /// Those of the socket, and TLS that is broken.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.tls.is_none() {
            return poll_tcp(&mut self.tcp, cx, out);
        }
        loop {
            if let Some(tls) = &mut self.tls {
                let waiting = tls.take_plain(out);
                if waiting > 0 || tls.is_ended() {
                    return Poll::Ready(Ok(waiting));
                }
            }
            match ready!(self.poll_receive(cx, out))? {
                None => return Poll::Ready(Ok(0)),
                Some(0) => {}
                Some(bytes) => return Poll::Ready(Ok(bytes)),
            }
        }
    }

    /// One read of ciphertext; how much plaintext it brought, `None` at the end of the stream.
    fn poll_receive(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<Option<usize>>> {
        let Some(tls) = &mut self.tls else { return Poll::Ready(Ok(None)) };
        let tcp = &mut self.tcp;
        let received = scratch::lend(|ciphertext| {
            let held = tls.incoming().len();
            let Some((front, room)) = ciphertext.split_at_mut_checked(held).filter(|(_, room)| !room.is_empty()) else {
                let error = io::Error::new(io::ErrorKind::InvalidData, "a TLS message does not fit the buffer");
                return Poll::Ready(Err(error));
            };
            front.copy_from_slice(tls.incoming());
            let read = ready!(poll_tcp(tcp, cx, room))?;
            if read == 0 {
                return Poll::Ready(Ok(None));
            }
            let ciphertext = ciphertext.get_mut(..held + read).unwrap_or_default();
            Poll::Ready(Ok(Some(tls.receive(ciphertext, out))))
        });
        match ready!(received)? {
            None => Poll::Ready(Ok(None)),
            Some(Ok(bytes)) => {
                // What TLS itself answers; if the socket is full the task is registered for its room.
                if let Poll::Ready(flushed) = self.poll_flush(cx) {
                    flushed?;
                }
                Poll::Ready(Ok(Some(bytes)))
            }
            Some(Err(error)) => {
                // The alert, as far as the socket takes it.
                drop(self.try_flush());
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
            }
        }
    }

    /// Waits for room to write.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_write_ready(cx)
    }

    /// Writes without waiting; returns how many bytes of plaintext were taken. Over TLS they may still have to leave:
    /// see [`Self::has_unsent`].
    ///
    /// # Errors
    /// "Would block" where nothing could be taken; those of the socket.
    pub fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.tls.is_some() {
            self.try_flush()?;
        }
        let Self { tcp, tls } = self;
        match (tls, slices) {
            (Some(tls), _) => tls.send(slices, |ciphertext| tcp.try_write(ciphertext)),
            (None, [only]) => tcp.try_write(only),
            (None, _) => tcp.try_write_vectored(slices),
        }
    }

    /// The same for bytes in one piece. In the clear it asks the kernel whatever is known of readiness, which this neither
    /// reads nor changes: who waits for room writes with [`Self::try_write`].
    ///
    /// # Errors
    /// As above.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_secure() {
            self.try_write(&[IoSlice::new(bytes)])
        } else {
            socket2::SockRef::from(&self.tcp).send(bytes)
        }
    }

    /// Writes ciphertext that waits.
    ///
    /// # Errors
    /// "Would block" while some still waits; those of the socket.
    pub fn try_flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while !tls.outgoing().is_empty() {
            let bytes = self.tcp.try_write(tls.outgoing())?;
            tls.sent(bytes);
        }
        Ok(())
    }

    /// Writes ciphertext that waits, and registers the task while some does.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_write_ready(cx))?,
                flushed => return Poll::Ready(flushed),
            }
        }
    }

    /// Whether plaintext that was taken, or something of TLS itself, is not with the kernel yet.
    pub fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.outgoing().is_empty())
    }

    /// Reads and throws away, without decrypting; 0 is the end.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        scratch::lend(|buffer| poll_tcp(&mut self.tcp, cx, buffer))
    }

    /// Says that nothing more will be sent: the TLS alert, as far as the socket takes it, then TCP's.
    ///
    /// # Errors
    /// A socket that is not connected any more.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.close();
            drop(self.try_flush());
        }
        socket2::SockRef::from(&self.tcp).shutdown(Shutdown::Write)
    }
}

fn poll_tcp(tcp: &mut TcpStream, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
    // Not `try_read`: this call knows that a short read has emptied the socket, and saves the one that would find out.
    // It also replaces the waker of whatever task polled before, whose memory would otherwise stay.
    let room = out.len().min(READ_BYTES);
    let mut buffer = ReadBuf::new(out.get_mut(..room).unwrap_or_default());
    ready!(Pin::new(tcp).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}
