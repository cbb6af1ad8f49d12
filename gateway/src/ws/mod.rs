//! RFC 6455 frames, server side: bytes from a client become messages, messages become frames.
//!
//! Knows no socket, session or dialect, and never waits. Decoding is strict and works in place over a buffer that the
//! caller lends; encoding makes complete frames that many sockets share. No extension is understood.

mod decoder;
pub mod frame;
mod head;

pub use decoder::{Decoder, Item, Limits};
use holdfast_protocol::close::Close;

/// How a client broke the protocol, or a limit of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A reserved bit is set although no extension was agreed on (§5.2).
    #[error("a reserved bit is set")]
    ReservedBit,
    /// An opcode that RFC 6455 does not define (§5.2).
    #[error("unknown opcode {0}")]
    Opcode(u8),
    /// A client must mask each frame (§5.1).
    #[error("frame is not masked")]
    Unmasked,
    /// A control frame carries at most 125 bytes (§5.5).
    #[error("control frame over 125 bytes")]
    ControlTooLong,
    /// A control frame must not be fragmented (§5.5).
    #[error("fragmented control frame")]
    ControlFragmented,
    /// The length has a shorter form, which must be used (§5.2).
    #[error("length is not in its shortest form")]
    LengthNotMinimal,
    /// The most significant bit of a 64-bit length must be 0 (§5.2).
    #[error("length has its top bit set")]
    LengthTopBit,
    /// A continuation of nothing (§5.4).
    #[error("continuation frame outside a message")]
    StrayContinuation,
    /// A new message before the last one's final frame (§5.4).
    #[error("new message inside a fragmented one")]
    Interleaved,
    /// A close frame's body is empty or begins with a code of two bytes (§5.5.1).
    #[error("close frame with half a code")]
    CloseTooShort,
    /// A close code that must not be sent (§7.4).
    #[error("close code {0} must not be sent")]
    CloseCode(u16),
    /// Text, or a close reason, that is not UTF-8 (§8.1).
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// The message is, or says it will be, over the limit.
    #[error("message over the limit")]
    MessageTooBig,
    /// The message comes in more fragments than allowed.
    #[error("message in too many fragments")]
    TooManyFragments,
}

impl Fault {
    /// The entry of the close catalogue a client is shown.
    pub const fn close(self) -> Close {
        match self {
            Self::ReservedBit
            | Self::Opcode(_)
            | Self::Unmasked
            | Self::ControlTooLong
            | Self::ControlFragmented
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::StrayContinuation
            | Self::Interleaved
            | Self::CloseTooShort
            | Self::CloseCode(_) => Close::Protocol,
            Self::InvalidUtf8 => Close::InvalidUtf8,
            Self::MessageTooBig | Self::TooManyFragments => Close::TooBig,
        }
    }
}

#[cfg(test)]
mod tests;
