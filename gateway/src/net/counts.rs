//! Which counter a frame belongs to, and what never left. Knows no socket.

use fastwebsockets::OpCode;

use crate::metrics::{Drop, Opcode, ShardCells};
use crate::outbox::Lost;

/// Which counter a frame from its first byte belongs to.
pub(super) fn opcode(opcode: OpCode) -> Opcode {
    match opcode {
        OpCode::Continuation => Opcode::Continuation,
        OpCode::Text => Opcode::Text,
        OpCode::Binary => Opcode::Binary,
        OpCode::Close => Opcode::Close,
        OpCode::Ping => Opcode::Ping,
        OpCode::Pong => Opcode::Pong,
    }
}

pub(super) fn count_sent(cells: &ShardCells, frame: &[u8]) {
    if let Some(kind) = frame.first().and_then(|first| OpCode::try_from(first & 0x0f).ok()) {
        cells.frames_sent[opcode(kind) as usize].add(1);
    }
}

/// What will never be written.
pub(crate) fn count_lost(cells: &ShardCells, lost: Lost) {
    if lost == Lost::default() {
        return;
    }
    cells.dropped(Drop::Expired).add(lost.expired);
    cells.dropped(Drop::Conflated).add(lost.replaced);
    cells.dropped(Drop::Oldest).add(lost.dropped);
}
