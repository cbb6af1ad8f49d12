//! The head of one frame: what its first 2 to 14 bytes say, refused at the first byte that is wrong.
//!
//! Knows nothing of messages: whether a frame may come now is the decoder's question.

use fastwebsockets::OpCode;

use super::Fault;

/// The longest head of a masked frame: two bytes, a 64-bit length, the mask.
pub(super) const HEAD_BYTES_MAX: usize = 14;
/// The longest payload of a control frame (§5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// A whole head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) fin: bool,
    pub(super) opcode: OpCode,
    pub(super) mask: [u8; 4],
    /// What the client claims; nothing may be sized by it.
    pub(super) payload_bytes: u64,
    /// Bytes of the head itself.
    pub(super) head_bytes: usize,
}

/// What a frame's first bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// Good so far; this many bytes from the start of the frame must be there before more can be said.
    Needs(usize),
    /// All of it.
    Whole(Head),
}

pub(super) fn is_control(opcode: OpCode) -> bool {
    matches!(opcode, OpCode::Close | OpCode::Ping | OpCode::Pong)
}

/// Reads a head from a frame's first bytes.
///
/// # Errors
/// At the first byte that cannot belong to a good head, whatever comes after it.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Fault> {
    let Some(&first) = bytes.first() else { return Ok(Parsed::Needs(2)) };
    if first & RESERVED != 0 {
        return Err(Fault::ReservedBit);
    }
    let opcode = OpCode::try_from(first & 0x0f).map_err(|_| Fault::Opcode(first & 0x0f))?;
    let fin = first & FIN != 0;
    if is_control(opcode) && !fin {
        return Err(Fault::ControlFragmented);
    }

    let Some(&second) = bytes.get(1) else { return Ok(Parsed::Needs(2)) };
    if second & MASKED == 0 {
        return Err(Fault::Unmasked);
    }
    let short = second & !MASKED;
    if is_control(opcode) && usize::from(short) > CONTROL_BYTES_MAX {
        return Err(Fault::ControlTooLong);
    }

    let (payload_bytes, length_end) = match short {
        126 => {
            let Some(&[high, low]) = bytes.get(2..4).and_then(|length| length.first_chunk()) else {
                return Ok(Parsed::Needs(8));
            };
            (u64::from(u16::from_be_bytes([high, low])), 4)
        }
        127 => {
            if bytes.get(2).is_some_and(|byte| byte & 0x80 != 0) {
                return Err(Fault::LengthTopBit);
            }
            let Some(&length) = bytes.get(2..10).and_then(|length| length.first_chunk::<8>()) else {
                return Ok(Parsed::Needs(HEAD_BYTES_MAX));
            };
            (u64::from_be_bytes(length), 10)
        }
        length => (u64::from(length), 2),
    };
    let minimal = match short {
        126 => payload_bytes >= 126,
        127 => payload_bytes > u64::from(u16::MAX),
        _ => true,
    };
    if !minimal {
        return Err(Fault::LengthNotMinimal);
    }

    let head_bytes = length_end + 4;
    match bytes.get(length_end..head_bytes).and_then(|mask| mask.first_chunk()) {
        Some(&mask) => Ok(Parsed::Whole(Head { fin, opcode, mask, payload_bytes, head_bytes })),
        None => Ok(Parsed::Needs(head_bytes)),
    }
}
