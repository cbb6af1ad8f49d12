//! The echo route: whatever message comes goes back, one for one. For conformance runs; off unless configured.
//!
//! Needs no credential and knows no session. It reads on only when what it answered has been taken, so it holds no
//! more than one buffer's worth of answers besides one message.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use crate::net::Transport;
use crate::ws::{Decoder, Fault, Item, Limits, frame};

/// RFC 6455 leaves limits open; these are what conformance suites go up to: 65,536 fragments with payload, and the empty
/// frame that some clients end a message with.
const LIMITS: Limits = Limits { message_bytes_max: 16 * 1024 * 1024, fragments_max: 65_536 + 1 };
/// A client that neither sends nor reads is gone.
const IDLE: Duration = Duration::from_secs(300);
/// For the client to end the stream after the close frames.
const LINGER: Duration = Duration::from_secs(2);
const READ_BYTES: usize = 64 * 1024;

/// Echoes until either side closes. `early` is what came behind the request.
pub(crate) async fn run(mut transport: Transport, early: Bytes) {
    let mut echo = Echo { decoder: Decoder::default(), answers: Vec::new(), over: false };
    let mut buffer = vec![0; READ_BYTES];
    echo.take(&mut early.to_vec());
    loop {
        if !within(IDLE, |cx| echo.poll_write(&mut transport, cx)).await {
            return;
        }
        if echo.over {
            break;
        }
        let mut bytes = 0;
        let more = within(IDLE, |cx| {
            bytes = ready!(transport.poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(bytes > 0))
        });
        if !more.await {
            return;
        }
        echo.take(buffer.get_mut(..bytes).unwrap_or_default());
    }
    if transport.finish().is_ok() {
        let drained =
            async { while within(LINGER, |cx| Poll::Ready(Ok(ready!(transport.poll_discard(cx))? > 0))).await {} };
        drop(tokio::time::timeout(LINGER, drained).await);
    }
}

/// Whether the operation came out true in time.
async fn within(limit: Duration, poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<bool>>) -> bool {
    matches!(tokio::time::timeout(limit, std::future::poll_fn(poll)).await, Ok(Ok(true)))
}

struct Echo {
    decoder: Decoder,
    /// Frames to write.
    answers: Vec<u8>,
    /// A close frame is the last answer.
    over: bool,
}

impl Echo {
    fn take(&mut self, mut input: &mut [u8]) {
        while !self.over {
            match self.decoder.next(&LIMITS, &mut input) {
                Ok(None) => break,
                Ok(Some(item)) => {
                    self.over = matches!(item, Item::Close { .. });
                    if let Some(answer) = answer(&item) {
                        self.answers.extend_from_slice(&answer);
                    }
                }
                Err(fault) => {
                    self.over = true;
                    self.answers.extend_from_slice(&refuse(fault));
                }
            }
        }
    }

    /// True once all is with the kernel.
    fn poll_write(&mut self, transport: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut written = 0;
        let result = loop {
            let rest = self.answers.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break transport.poll_flush(cx).map_ok(|()| true);
            }
            match transport.try_write(&[IoSlice::new(rest)]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match transport.poll_write_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                    Poll::Pending => break Poll::Pending,
                },
                Err(error) => break Poll::Ready(Err(error)),
            }
        };
        self.answers.drain(..written);
        result
    }
}

fn answer(item: &Item<'_>) -> Option<Bytes> {
    match *item {
        Item::Text(text) => Some(frame::text(text.as_bytes())),
        Item::Binary(bytes) => Some(frame::binary(bytes)),
        Item::Ping(payload) => Some(frame::pong(payload)),
        Item::Pong(_) => None,
        Item::Close { code: None, .. } => Some(frame::CLOSE_EMPTY),
        Item::Close { code: Some(code), .. } => Some(frame::close(code, "")),
    }
}

fn refuse(fault: Fault) -> Bytes {
    let close = fault.close();
    frame::close(close.code(), close.reason())
}
