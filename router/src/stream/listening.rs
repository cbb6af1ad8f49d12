//! The routing's end of the stream: says when it listens, and hands on what was found and what was read back. Knows not how the
//! stream is made or looked at.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use holdfast_daemon::shutdown::Tasks;
use tokio::sync::watch;

use super::setback::Heard;
use super::{Asked, Found, Keeper, Look};
use crate::core::Router;
use crate::core::event::{Event, Now};
use crate::pump::follow;
use crate::read_back::ReadBack;

/// What there is for the routing besides the copies of kept messages.
#[derive(Debug)]
pub struct KeptShell {
    /// Looks at the stream.
    pub listening: Listening,
    /// Reads of copies that did not come.
    pub read_back: ReadBack,
}

impl KeptShell {
    /// Tells the core what was read back, and of the stream, once the copies that came before have been read: not while
    /// there is `more` of them. True where there was anything.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Now, router: &mut Router, more: bool) -> bool {
        let (copies, last) = router.copies_heard();
        self.listening.note_heard(copies, last);
        let has_read = self.read_back.poll(cx, now, router);
        let Some(look) = self.listening.poll(cx, more) else { return has_read };
        if let Some(Found { epoch, last, created_ms }) = &look.found {
            let heard = self.listening.is_of(&look);
            router.apply(now, Event::Stream { epoch, last: *last, created_ms: *created_ms, heard });
        }
        true
    }
}

/// The routing's end: tells that it listens, and hears what was found.
pub struct Listening {
    asked: watch::Sender<Asked>,
    looks: BoxStream<'static, Look>,
    /// The listening of the last look.
    looked: Option<u64>,
    /// A look that nobody was told of yet.
    fresh: Option<Look>,
    heard: Arc<Heard>,
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").field("asked", &*self.asked.borrow()).finish_non_exhaustive()
    }
}

impl Listening {
    /// Starts what sees to the stream.
    pub fn start(keeper: Keeper, tasks: &Tasks) -> Self {
        let ((asked, asks), (found, looks)) = (watch::channel(Asked::default()), watch::channel(Look::default()));
        let (stopped, heard) = (tasks.stopped(), Arc::clone(&keeper.heard));
        tasks.spawn("kept", async move {
            tokio::select! {
                () = keeper.run(asks, found) => {}
                () = stopped => {}
            }
        });
        Self { asked, looks: follow(looks), looked: None, fresh: None, heard }
    }

    /// So many copies of stored messages were heard, the last with this sequence.
    pub fn note_heard(&self, copies: u64, last: u64) {
        self.heard.note(copies, last);
    }

    /// We have begun to listen: what is found from now on holds for it.
    pub fn begin(&self) {
        self.asked.send_modify(|asked| asked.listening += 1);
    }

    /// Looks at once.
    pub fn look_again(&self) {
        self.asked.send_modify(|asked| asked.again += 1);
    }

    /// Whether this was found after we began to listen, and after we last asked for a look.
    pub fn is_of(&self, look: &Look) -> bool {
        look.asked == *self.asked.borrow()
    }

    /// Whether the stream was looked at since we began to listen.
    pub fn has_looked(&self) -> bool {
        self.looked == Some(self.asked.borrow().listening)
    }

    /// What was found last, once; not while there is `more` to read of what came before.
    pub fn poll(&mut self, cx: &mut Context<'_>, more: bool) -> Option<Look> {
        while let Poll::Ready(Some(look)) = self.looks.poll_next_unpin(cx) {
            self.fresh = Some(look);
        }
        let look = self.fresh.take_if(|_| !more)?;
        self.looked = Some(look.asked.listening);
        Some(look)
    }
}
