//! Primitive reads and writes of the internal format. Knows no message.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::text::Text;
use crate::id::{ConnectionId, NodeId};
use crate::position::Position;

/// Why bytes from the bus are no message of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Made by a build that speaks another version.
    #[error("version {0} of the internal format is not ours")]
    Version(u8),
    /// The bytes end inside a field.
    #[error("the message is cut short")]
    Short,
    /// A field holds what it cannot mean.
    #[error("{0} is malformed")]
    Malformed(&'static str),
}

/// Appends fields to a buffer.
#[derive(Debug)]
pub(super) struct Writer<'a>(pub(super) &'a mut BytesMut);

impl Writer<'_> {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.put_u8(value);
    }

    pub(super) fn u64(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.put_u8((value & 0x7F) as u8 | 0x80);
            value >>= 7;
        }
        self.0.put_u8((value & 0x7F) as u8);
    }

    pub(super) fn fixed_u64(&mut self, value: u64) {
        self.0.put_u64_le(value);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.put_slice(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(super) fn node(&mut self, node: NodeId) {
        self.0.put_slice(node.as_str().as_bytes());
    }

    pub(super) fn connection(&mut self, id: ConnectionId) {
        self.node(id.node());
        self.0.put_slice(id.random());
    }

    pub(super) fn position(&mut self, position: &Position) {
        self.text(&position.epoch);
        self.u64(position.seq);
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(super) fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.u64(items.len() as u64);
        for item in items {
            write(self, item);
        }
    }
}

/// Takes fields off a received buffer, by reference where it can.
#[derive(Debug)]
pub(super) struct Reader(pub(super) Bytes);

impl Reader {
    /// Starts reading a message after its version byte.
    pub(super) fn versioned(mut bytes: Bytes) -> Result<Self, WireError> {
        if bytes.is_empty() {
            return Err(WireError::Short);
        }
        match bytes.get_u8() {
            super::VERSION => Ok(Self(bytes)),
            other => Err(WireError::Version(other)),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        if self.0.is_empty() { Err(WireError::Short) } else { Ok(self.0.get_u8()) }
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7F);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Malformed("an integer"))
    }

    pub(super) fn fixed_u64(&mut self) -> Result<u64, WireError> {
        self.0.try_get_u64_le().map_err(|_| WireError::Short)
    }

    pub(super) fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Malformed("a flag")),
        }
    }

    fn take(&mut self, count: usize) -> Result<Bytes, WireError> {
        if self.0.len() < count { Err(WireError::Short) } else { Ok(self.0.split_to(count)) }
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, WireError> {
        let count = usize::try_from(self.u64()?).map_err(|_| WireError::Short)?;
        self.take(count)
    }

    pub(super) fn text(&mut self) -> Result<Text, WireError> {
        Text::from_utf8(self.bytes()?).ok_or(WireError::Malformed("text"))
    }

    pub(super) fn node(&mut self) -> Result<NodeId, WireError> {
        let bytes = self.take(crate::id::NODE_ID_BYTES)?;
        std::str::from_utf8(&bytes).ok().and_then(NodeId::parse).ok_or(WireError::Malformed("a node id"))
    }

    pub(super) fn connection(&mut self) -> Result<ConnectionId, WireError> {
        let node = self.node()?;
        let random = self.take(16)?;
        <[u8; 16]>::try_from(&random[..])
            .map(|random| ConnectionId::new(node, random))
            .map_err(|_| WireError::Malformed("a connection id"))
    }

    pub(super) fn position(&mut self) -> Result<Position, WireError> {
        let (epoch, seq) = (self.text()?, self.u64()?);
        Position::new(&epoch, seq).ok_or(WireError::Malformed("a position"))
    }

    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }

    /// Reads a list. The claimed count reserves nothing: each item takes at least a byte, and those must be there.
    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = usize::try_from(self.u64()?).map_err(|_| WireError::Short)?;
        if count > self.0.len() {
            return Err(WireError::Short);
        }
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// Ends a message: nothing may follow the last field.
    pub(super) fn end(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Malformed("the end of the message")) }
    }
}
