//! A transport as hyper wants it: reads into the buffer that the thread lends, writes what the socket takes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::scratch;
use super::transport::Transport;

/// See the module's head.
pub(super) struct HttpIo(pub(super) Transport);

impl Read for HttpIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        scratch::lend(|scratch| {
            let room = buffer.remaining().min(scratch.len());
            let out = scratch.get_mut(..room).unwrap_or_default();
            let bytes = ready!(self.0.poll_read(cx, out))?;
            buffer.put_slice(out.get(..bytes).unwrap_or_default());
            Poll::Ready(Ok(()))
        })
    }
}

impl Write for HttpIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.0.try_write(&[IoSlice::new(bytes)]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.0.poll_write_ready(cx))?,
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_flush(cx))?;
        Poll::Ready(self.0.finish())
    }
}
