//! One receiving request, as its session sees it: what it was given, and what it waits for.

use bytes::Bytes;
use holdfast_protocol::wire::Exchanged;

use super::form::Form;
use crate::clock::Now;
use crate::link::Asker;

/// Bytes of one piece: well within what the bus carries.
pub(super) const PIECE_BYTES_MAX: usize = 48 * 1024;
/// A question is answered after this, if only with "nothing yet": so a node that is gone is found out soon.
pub(super) const REFRESH_MS: u64 = 5_000;
/// A receiver that does not ask for more is gone, or so slow that it might as well be.
pub(super) const SILENT_MS: u64 = 15_000;

/// A receiving request.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) id: u64,
    pub(super) form: Form,
    /// Its question, and since when it waits.
    pub(super) waiting: Option<(Asker, u64)>,
    /// The last piece it was given.
    pub(super) number: u64,
    pub(super) piece: Bytes,
    /// What comes after that.
    pub(super) rest: Bytes,
    /// Nothing comes after `rest`.
    pub(super) ending: bool,
    /// How much it may still be given.
    pub(super) room: usize,
    pub(super) asked_ms: u64,
    /// When it was last given something to write.
    pub(super) said_ms: u64,
}

impl Receiver {
    /// One that asks for the first time.
    pub(super) fn new(now: Now, asker: Asker, id: u64, form: Form) -> Self {
        Self {
            id,
            form,
            waiting: Some((asker, now.ms)),
            number: 0,
            piece: Bytes::new(),
            rest: Bytes::new(),
            ending: false,
            room: form.bytes_max(),
            asked_ms: now.ms,
            said_ms: now.ms,
        }
    }

    /// Notes what comes next; the request ends with it if that is all it may have.
    pub(super) fn give(&mut self, bytes: Vec<u8>) {
        self.room = self.room.saturating_sub(bytes.len());
        self.ending |= self.room == 0 || (self.form.is_once() && !bytes.is_empty());
        self.rest = bytes.into();
    }

    /// The next piece, perhaps an empty one; whether it is the last, and how many bytes it has.
    pub(super) fn next_piece(&mut self, now: Now) -> (Exchanged, bool, usize) {
        let bytes = self.rest.split_to(self.rest.len().min(PIECE_BYTES_MAX));
        let (end, length) = (self.ending && self.rest.is_empty(), bytes.len());
        self.number += 1;
        self.piece = bytes.clone();
        self.asked_ms = now.ms;
        if length > 0 {
            self.said_ms = now.ms;
        }
        (Exchanged::Piece { number: self.number, bytes, end }, end, length)
    }

    /// The last piece again: its answer was lost on the way.
    pub(super) fn last_piece(&self, end: bool) -> Exchanged {
        Exchanged::Piece { number: self.number, bytes: self.piece.clone(), end }
    }
}
