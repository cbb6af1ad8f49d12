//! One client's socket as both ends see it: the gateway pushes frames into a bounded queue, the client reads them, or does
//! not for a while.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::num::NonZeroU64;
use std::rc::Rc;

use bytes::Bytes;
use holdfast_gateway::clock::Now;
use holdfast_gateway::outbox::{Bounds, Lost, Outbox};
use holdfast_gateway::socket::{Outgoing, Pushed, Run, Socket, Taken, Written};
use holdfast_protocol::close::Close;

use crate::slow::Pace;

/// What is on the wire between a gateway and one client.
#[derive(Debug, Default)]
pub struct Wire {
    /// Frames handed to the kernel, oldest first.
    pub frames: VecDeque<Bytes>,
    /// The gateway's close frame.
    pub closed: Option<u16>,
    /// The client does not read: what is pushed waits in the gateway.
    pub stalled: bool,
    /// The client reads slowly.
    pub pace: Option<Pace>,
    /// Messages that left together, in one write past the queue, and in how many such writes.
    pub in_rows: u64,
    /// See there.
    pub rows: u64,
    /// A planted defect: of the next row, the last message is taken and never leaves.
    pub tears_row: bool,
}

/// Bytes that the kernel still takes of a client that has stopped reading: a frame may be written in part.
const STALLED_BYTES: usize = 90;
/// Frames written at once.
const SLICES: usize = 16;

/// The gateway's end.
#[derive(Debug)]
pub struct SimSocket {
    wire: Rc<RefCell<Wire>>,
    outbox: Outbox,
    bounds: Bounds,
    /// What the kernel has taken since the client stopped reading.
    taken: usize,
}

impl SimSocket {
    /// The gateway's end of `wire`.
    pub fn new(wire: Rc<RefCell<Wire>>, bounds: Bounds) -> Self {
        Self { wire, outbox: Outbox::default(), bounds, taken: 0 }
    }

    fn write(&mut self, now: Now) {
        let mut wire = self.wire.borrow_mut();
        if !wire.stalled {
            self.taken = 0;
        }
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.outbox.fill(now, &mut slices, &mut Lost::default());
            let ready: usize = slices.iter().take(filled).map(|slice| slice.len()).sum();
            let bytes = take(&mut wire, &mut self.taken, ready);
            if bytes == 0 {
                return;
            }
            self.outbox.advance(bytes, |frame| wire.frames.push_back(frame.clone()));
        }
    }

    /// How many of so many bytes the kernel takes past the queue; `None` where something waits, or it takes none.
    fn send_past(&mut self, bytes: usize) -> Option<usize> {
        if !self.takes_runs() {
            return None;
        }
        if !self.wire.borrow().stalled {
            self.taken = 0;
        }
        Some(take(&mut self.wire.borrow_mut(), &mut self.taken, bytes)).filter(|taken| *taken > 0)
    }

    /// Takes note of a frame of which so many bytes were sent past the queue.
    fn sent_past(&mut self, now: Now, outgoing: &Outgoing, bytes: usize) -> u64 {
        if bytes == outgoing.frame.len() {
            self.wire.borrow_mut().frames.push_back(outgoing.frame.clone());
        }
        self.outbox.written_past(now, outgoing, bytes)
    }
}

/// How many of so many bytes the kernel takes now.
fn take(wire: &mut Wire, taken: &mut usize, bytes: usize) -> usize {
    let pace = wire.pace.as_mut().filter(|_| !wire.stalled);
    let room = if wire.stalled { STALLED_BYTES.saturating_sub(*taken) } else { usize::MAX };
    let bytes = bytes.min(pace.as_ref().map_or(room, |pace| pace.room));
    if let Some(pace) = pace {
        pace.room -= bytes;
    }
    *taken += bytes;
    bytes
}

impl Socket for SimSocket {
    fn write_now(&mut self, now: Now, outgoing: &Outgoing) -> Written {
        let Some(bytes) = self.send_past(outgoing.frame.len()) else { return Written::Not };
        let number = self.sent_past(now, outgoing, bytes);
        if self.outbox.is_empty() { Written::Whole } else { Written::Begun(number) }
    }

    fn takes_runs(&self) -> bool {
        self.outbox.is_empty() && self.wire.borrow().closed.is_none()
    }

    fn write_run(&mut self, now: Now, run: &Run) -> Taken {
        let Some(mut bytes) = self.send_past(run.joined().len()) else { return Taken::default() };
        let mut taken = Taken::default();
        for outgoing in run.frames() {
            if bytes == 0 {
                break;
            }
            let part = bytes.min(outgoing.frame.len());
            self.sent_past(now, outgoing, part);
            bytes -= part;
            taken.frames += 1;
        }
        taken.waits = !self.outbox.is_empty();
        let mut wire = self.wire.borrow_mut();
        if taken.frames > 1 {
            wire.rows += 1;
            wire.in_rows += taken.frames as u64;
            if std::mem::take(&mut wire.tears_row) {
                wire.frames.pop_back();
            }
        }
        taken
    }

    fn push(&mut self, now: Now, outgoing: Outgoing) -> Pushed {
        if self.wire.borrow().closed.is_some() {
            return Pushed::Dropped;
        }
        if !self.outbox.fits(outgoing.frame.len(), &self.bounds) {
            self.write(now);
        }
        self.outbox.push(now, outgoing, &self.bounds, &mut Lost::default())
    }

    fn flush(&mut self, now: Now) -> u64 {
        self.write(now);
        self.outbox.passed()
    }

    fn take_gaps(&mut self) -> Vec<u32> {
        self.outbox.take_gaps()
    }

    fn take_behind(&mut self) -> Vec<(u32, NonZeroU64)> {
        self.outbox.take_behind()
    }

    fn take_withdrawn(&mut self) -> Vec<u64> {
        self.outbox.take_withdrawn()
    }

    fn forget(&mut self, scope: u32) {
        self.outbox.forget(scope);
    }

    fn has_room(&mut self, now: Now, frame_bytes: usize) -> bool {
        if !self.outbox.fits(frame_bytes, &self.bounds) {
            self.write(now);
        }
        self.outbox.fits(frame_bytes, &self.bounds)
    }

    fn close(&mut self, now: Now, code: u16, _reason: &str) {
        if code == Close::SlowConsumer.code() {
            self.outbox.clear();
        }
        self.write(now);
        self.wire.borrow_mut().closed.get_or_insert(code);
    }

    fn tick(&mut self, now: Now) -> Option<Close> {
        let is_late = self.outbox.is_too_old(now, &self.bounds, &mut Lost::default());
        is_late.then_some(Close::SlowConsumer)
    }

    fn queued_bytes(&self) -> usize {
        self.outbox.bytes()
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

/// A server frame with this text, for planted defects.
pub fn frame_of(text: &str) -> Bytes {
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(length) if length < 126 => frame.push(length),
        _ => {
            frame.push(126);
            frame.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend(text.as_bytes());
    frame.into()
}
