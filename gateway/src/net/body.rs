//! What an answer carries: bytes that are there, or a stream of which the next piece is made when the last one left.
//!
//! Knows no protocol. A stream is dropped when nobody reads any more.

use std::any::Any;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Frame, SizeHint};

/// The body of an answer.
#[derive(Debug)]
pub struct Body {
    content: Content,
    /// Whatever must live as long as the body.
    held: Option<Box<dyn Any>>,
}

enum Content {
    Whole(Option<Bytes>),
    Stream(Pin<Box<dyn Stream<Item = Bytes>>>),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(bytes) => f.debug_tuple("Whole").field(bytes).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Body {
    /// All of it.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::of(Content::Whole(Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty())))
    }

    /// Nothing.
    pub const fn empty() -> Self {
        Self::of(Content::Whole(None))
    }

    /// A stream: asked for the next piece when the last was taken for the socket, dropped when the client is gone.
    pub fn stream(pieces: impl Stream<Item = Bytes> + 'static) -> Self {
        Self::of(Content::Stream(Box::pin(pieces)))
    }

    const fn of(content: Content) -> Self {
        Self { content, held: None }
    }

    /// Keeps something until the body has been sent, or is given up.
    pub(super) fn hold(&mut self, what: impl Any) {
        self.held = Some(Box::new(what));
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Stream(pieces) => {
                pieces.as_mut().poll_next(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}
