//! Names of processes and connections. Made from random bytes the caller brings; nothing here knows where from.
//!
//! A connection id starts with the id of its node, so any router can route to it without a table.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Length of a node id.
pub const NODE_ID_BYTES: usize = 12;
/// Length of the random part of a connection id: 128 bits in URL-safe base64.
pub const CONNECTION_RANDOM_BYTES: usize = 22;

/// Digits of process ids: no vowels, so that no word appears by accident, and no case to lose.
const DIGITS: &[u8; 30] = b"0123456789bcdfghjkmnpqrstvwxyz";

/// One process in one incarnation: a gateway node or a router. A restart is a new one.
///
/// Twelve characters, the first `g` or `r`, the others 55 random bits, all of them plain in a subject token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; NODE_ID_BYTES]);

impl NodeId {
    /// A gateway's id from random bytes.
    pub fn gateway(random: [u8; 8]) -> Self {
        Self::from_random(b'g', random)
    }

    /// A router's id from random bytes.
    pub fn router(random: [u8; 8]) -> Self {
        Self::from_random(b'r', random)
    }

    fn from_random(kind: u8, random: [u8; 8]) -> Self {
        let mut bits = u64::from_be_bytes(random);
        let mut id = [kind; NODE_ID_BYTES];
        for digit in &mut id[1..] {
            *digit = DIGITS[usize::try_from(bits % 30).unwrap_or(0)];
            bits /= 30;
        }
        Self(id)
    }

    /// Parses an id as it appears in subjects and on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; NODE_ID_BYTES] = text.as_bytes().try_into().ok()?;
        let kind = bytes[0] == b'g' || bytes[0] == b'r';
        let digits = bytes[1..].iter().all(|b| DIGITS.contains(b));
        (kind && digits).then_some(Self(bytes))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Built from ASCII only, in both constructors.
        std::str::from_utf8(&self.0).unwrap_or("")
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One client connection: its node's id and 128 unguessable bits, as 34 characters that are plain in a subject token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    node: NodeId,
    random: [u8; 16],
}

impl ConnectionId {
    /// An id on `node` from 128 random bits.
    pub const fn new(node: NodeId, random: [u8; 16]) -> Self {
        Self { node, random }
    }

    /// The node that holds the connection.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The random part.
    pub const fn random(&self) -> &[u8; 16] {
        &self.random
    }

    /// Parses the canonical text form; anything else is no id of ours.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != NODE_ID_BYTES + CONNECTION_RANDOM_BYTES || !text.is_ascii() {
            return None;
        }
        let (node, random) = text.split_at(NODE_ID_BYTES);
        let random = URL_SAFE_NO_PAD.decode(random).ok()?.try_into().ok()?;
        Some(Self { node: NodeId::parse(node)?, random })
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; CONNECTION_RANDOM_BYTES];
        // The slice has exactly the length that 16 bytes take.
        let length = URL_SAFE_NO_PAD.encode_slice(self.random, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(self.node.as_str())?;
        f.write_str(std::str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for ConnectionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_text_form() {
        let node = NodeId::gateway([7; 8]);
        let id = ConnectionId::new(node, [0xA5; 16]);

        let text = id.to_string();

        assert_eq!(text.len(), 34);
        assert_eq!(crate::token::encode(&text), text, "plain in a subject token");
        assert_eq!(ConnectionId::parse(&text), Some(id));
        assert_eq!(ConnectionId::parse(&text).map(|id| id.node()), Some(node));
    }

    #[test]
    fn strangers_are_no_ids() {
        for text in ["", "nobody", "g00000000000", "g00000000000AAAAAAAAAAAAAAAAAAAAAB", "한글한글한글한글한글한글"]
        {
            assert_eq!(ConnectionId::parse(text), None, "{text}");
        }
    }
}
