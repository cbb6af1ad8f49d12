//! A client whose frames are made by hand: unmasked, reserved, oversized, lying about their length, or never read.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::Upgraded;
use super::socket::shut_down;
use crate::stream::Stream;
use crate::wait::bounded;

/// Opcodes of RFC 6455 §5.2.
pub mod opcode {
    /// A further piece of a message.
    pub const CONTINUATION: u8 = 0;
    /// Text.
    pub const TEXT: u8 = 1;
    /// Binary.
    pub const BINARY: u8 = 2;
    /// Close.
    pub const CLOSE: u8 = 8;
    /// Ping.
    pub const PING: u8 = 9;
    /// Pong.
    pub const PONG: u8 = 10;
}

/// A frame to be sent, right or wrong.
#[derive(Debug, Clone)]
pub struct RawFrame {
    first: u8,
    payload: Vec<u8>,
    masked: bool,
    claimed: Option<u64>,
}

impl RawFrame {
    /// A whole, masked frame.
    pub fn new(opcode: u8, payload: &[u8]) -> Self {
        Self { first: 0x80 | opcode, payload: payload.to_vec(), masked: true, claimed: None }
    }

    /// Not the last of its message.
    #[must_use]
    pub const fn unfinished(mut self) -> Self {
        self.first &= 0x7f;
        self
    }

    /// Without a mask, which clients must not do (RFC 6455 §5.1).
    #[must_use]
    pub const fn unmasked(mut self) -> Self {
        self.masked = false;
        self
    }

    /// With the reserved bit RSV1.
    #[must_use]
    pub const fn reserved(mut self) -> Self {
        self.first |= 0x40;
        self
    }

    /// Claiming another length than it has.
    #[must_use]
    pub const fn claiming(mut self, bytes: u64) -> Self {
        self.claimed = Some(bytes);
        self
    }

    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let length = self.claimed.unwrap_or(self.payload.len() as u64);
        let mask_bit = if self.masked { 0x80 } else { 0 };
        let mut bytes = vec![self.first];
        if let Some(short) = u8::try_from(length).ok().filter(|short| *short < 126) {
            bytes.push(mask_bit | short);
        } else if let Ok(medium) = u16::try_from(length) {
            bytes.push(mask_bit | 126);
            bytes.extend(medium.to_be_bytes());
        } else {
            bytes.push(mask_bit | 127);
            bytes.extend(length.to_be_bytes());
        }
        if self.masked {
            let mask = [0x5a, 0xa5, 0x0f, 0xf0];
            bytes.extend(mask);
            bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }
}

/// A connection after the upgrade, with nothing on top. It reads only when told to.
pub struct RawClient {
    stream: BufReader<Box<dyn Stream>>,
}

impl std::fmt::Debug for RawClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawClient").finish_non_exhaustive()
    }
}

impl RawClient {
    pub(crate) fn new(upgraded: Upgraded) -> Self {
        Self { stream: upgraded.stream }
    }

    /// Sends a frame. The other side may have closed already: what it answers tells.
    pub async fn send(&mut self, frame: RawFrame) {
        let _closed = self.stream.write_all(&frame.bytes()).await;
    }

    /// Sends bytes.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes).await;
    }

    /// The next frame: opcode and payload. `None` at the end of the bytes.
    ///
    /// # Panics
    /// If the frame is masked or unfinished: this server does neither.
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        match bounded("a frame", read_frame(&mut self.stream)).await {
            Ok(frame) => Some(frame),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => panic!("{error}"),
            Err(_) => None,
        }
    }

    /// The next JSON message of this type; others are passed over.
    pub async fn json(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.frame().await;
            let Some((opcode::TEXT, payload)) = frame else { panic!("{frame:?} before a {kind}") };
            let value: Value = serde_json::from_slice(&payload).expect("a text message is JSON");
            if value["type"] == kind {
                return value;
            }
        }
    }

    /// Reads until the server's close frame and returns its code; 1006 if the bytes end without one.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            match self.frame().await {
                None => return 1006,
                Some((opcode::CLOSE, payload)) => {
                    return payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                }
                Some(_) => {}
            }
        }
    }

    /// Whether the server ends the TCP connection, after whatever it still sends.
    pub async fn stream_ends(&mut self) {
        while self.frame().await.is_some() {}
    }

    /// Ends our half.
    pub async fn shut_down(&mut self) {
        shut_down(&mut self.stream).await;
    }
}

async fn read_frame(stream: &mut BufReader<Box<dyn Stream>>) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {head:02x?}"));
    if head[0] & 0xf0 != 0x80 || head[1] & 0x80 != 0 {
        return Err(wrong("a server frame is whole, unmasked and without reserved bits"));
    }
    let length = match head[1] {
        127 => stream.read_u64().await?,
        126 => u64::from(stream.read_u16().await?),
        short => u64::from(short),
    };
    let shortest = matches!((head[1], length), (127, 65_536..) | (126, 126..) | (0..126, _));
    if !shortest {
        return Err(wrong("lengths are written in the shortest form"));
    }
    let length = usize::try_from(length).map_err(|_| wrong("too long"))?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Ok((head[0] & 0x0f, payload))
}
