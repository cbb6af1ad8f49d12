//! A client's socket in the simulation: the gateway pushes frames in, the client reads them off the other end.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use holdfast_gateway::clock::Now;
use holdfast_gateway::socket::{Outgoing, Pushed, Socket};
use holdfast_protocol::close::Close;

/// What is on the wire between a gateway and one client.
#[derive(Debug, Default)]
pub struct Wire {
    /// Frames handed to the kernel, oldest first.
    pub frames: VecDeque<Bytes>,
    /// The gateway's close frame.
    pub closed: Option<u16>,
    /// The client does not read: what is pushed waits in the gateway.
    pub stalled: bool,
}

/// The gateway's end.
#[derive(Debug)]
pub struct SimSocket {
    wire: Rc<RefCell<Wire>>,
    waiting: VecDeque<Bytes>,
    pushed: u64,
}

impl SimSocket {
    /// The gateway's end of `wire`.
    pub const fn new(wire: Rc<RefCell<Wire>>) -> Self {
        Self { wire, waiting: VecDeque::new(), pushed: 0 }
    }
}

impl Socket for SimSocket {
    fn push(&mut self, _now: Now, outgoing: Outgoing) -> Pushed {
        if self.wire.borrow().closed.is_some() {
            return Pushed::Dropped;
        }
        self.pushed += 1;
        self.waiting.push_back(outgoing.frame);
        Pushed::Queued(self.pushed)
    }

    fn flush(&mut self, _now: Now) -> u64 {
        let mut wire = self.wire.borrow_mut();
        if !wire.stalled {
            wire.frames.append(&mut self.waiting);
        }
        self.pushed - self.waiting.len() as u64
    }

    fn take_gaps(&mut self) -> Vec<u32> {
        Vec::new()
    }

    fn close(&mut self, _now: Now, code: u16, _reason: &str) {
        let mut wire = self.wire.borrow_mut();
        wire.frames.append(&mut self.waiting);
        wire.closed.get_or_insert(code);
    }

    fn tick(&mut self, _now: Now) -> Option<Close> {
        None
    }

    fn queued_bytes(&self) -> usize {
        self.waiting.iter().map(Bytes::len).sum()
    }
}

/// The text of an unmasked, unfragmented server frame; `None` for control frames.
pub fn text_of(frame: &[u8]) -> Option<&str> {
    let head = match (*frame.first()?, *frame.get(1)?) {
        (0x81, 126) => 4,
        (0x81, 127) => 10,
        (0x81, length) if length < 126 => 2,
        _ => return None,
    };
    std::str::from_utf8(frame.get(head..)?).ok()
}
