//! STOMP 1.0, 1.1 and 1.2, server side: client frames in, server frames out, as bytes.
//!
//! Sources: the three specifications at stomp.github.io, and what the clients people use really send. Knows nothing of
//! destinations' meaning, sessions or sockets.

mod encode;
mod escape;
mod frame;
mod message;
mod parser;
mod version;

pub use encode::{Connected, MessageTail, connected, error, message_frame, receipt, unknown_version};
pub use frame::{Command, Frame};
pub use message::{Body, Message, message};
pub use parser::{Limits, ParseError, Parser};
pub use version::{UnknownVersion, Version};
