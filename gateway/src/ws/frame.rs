//! Complete server frames: encoded once, shared by all the sockets they go to.
//!
//! Server frames are not masked and not fragmented, so a frame is the same for each client.

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload};
use holdfast_protocol::limits::CLOSE_REASON_BYTES_MAX;

/// The longest head `fmt_head` writes for an unmasked frame.
const HEAD_BYTES_MAX: usize = 10;

/// A text frame. The payload must be UTF-8; the caller knows that.
pub fn text(payload: &[u8]) -> Bytes {
    encode(OpCode::Text, payload)
}

/// A binary frame.
pub fn binary(payload: &[u8]) -> Bytes {
    encode(OpCode::Binary, payload)
}

/// A ping without payload.
pub const PING: Bytes = Bytes::from_static(&[0x89, 0x00]);

/// The answer to a ping; its payload is at most 125 bytes, which the decoder saw to.
pub fn pong(payload: &[u8]) -> Bytes {
    encode(OpCode::Pong, payload)
}

/// A close frame. A reason over 123 bytes is cut between characters.
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(CLOSE_REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes().get(..end).unwrap_or_default());
    encode(OpCode::Close, &payload)
}

/// The close frame that says nothing.
pub const CLOSE_EMPTY: Bytes = Bytes::from_static(&[0x88, 0x00]);

/// The payload of a complete frame made here, and whether it is text.
pub fn payload(frame: &Bytes) -> (bool, Bytes) {
    let (first, second) = (frame.first().copied().unwrap_or_default(), frame.get(1).copied().unwrap_or_default());
    let head_bytes = match second {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    (first & 0x0f == OpCode::Text as u8, frame.slice(head_bytes.min(frame.len())..))
}

/// A frame of any kind.
pub fn encode(opcode: OpCode, payload: &[u8]) -> Bytes {
    let mut head = [0; HEAD_BYTES_MAX];
    let head_bytes = Frame::new(true, opcode, None, Payload::Borrowed(payload)).fmt_head(&mut head);
    let mut frame = Vec::with_capacity(head_bytes + payload.len());
    frame.extend(head.iter().take(head_bytes));
    frame.extend_from_slice(payload);
    Bytes::from(frame)
}
