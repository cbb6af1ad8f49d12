//! Keys as subject tokens, and the partition they fall into.
//!
//! A key is any UTF-8 text of 1–200 bytes; in a subject each byte outside `[A-Za-z0-9_-]` is written `=XX`
//! with upper-case hex. The form is canonical: one key, one token. Knows nothing of subjects.

use crate::limits::{KEY_BYTES_MAX, PARTITIONS};

/// Why a token is not the canonical form of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No bytes at all.
    #[error("the key is empty")]
    Empty,
    /// The key is longer than the limit given.
    #[error("the key is longer than {0} bytes")]
    TooLong(usize),
    /// A raw byte that must be encoded, a bad escape, or an escape that need not be there.
    #[error("the token is not in canonical form")]
    NotCanonical,
    /// The decoded bytes are not text.
    #[error("the key is not UTF-8")]
    NotUtf8,
    /// The key begins like those that nodes and routers use among themselves.
    #[error("the key begins with a reserved character")]
    Reserved,
}

/// The first character of keys that are no user's and no room's: a noncharacter, which text does not contain. Nobody
/// outside can name such a key.
pub const RESERVED: char = '\u{10ffff}';

const fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends the token of `key` to `out`.
pub fn encode_into(key: &str, out: &mut String) {
    out.reserve(key.len());
    for &byte in key.as_bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push('=');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// The token of `key`. Any text is accepted; limits are checked where keys enter ([`check_key`]).
pub fn encode(key: &str) -> String {
    let mut out = String::new();
    encode_into(key, &mut out);
    out
}

/// The key that `token` stands for.
///
/// # Errors
/// Anything but the canonical form of a key of 1–200 bytes.
pub fn decode(token: &str) -> Result<String, TokenError> {
    decode_within(token, KEY_BYTES_MAX)
}

/// The same with another limit on the decoded length.
///
/// # Errors
/// Anything but the canonical form of a key of 1–`bytes_max` bytes.
pub fn decode_within(token: &str, bytes_max: usize) -> Result<String, TokenError> {
    if token.is_empty() {
        return Err(TokenError::Empty);
    }
    let mut key = Vec::with_capacity(token.len());
    let mut bytes = token.bytes();
    while let Some(byte) = bytes.next() {
        let decoded = if byte == b'=' {
            let (Some(high), Some(low)) = (bytes.next().and_then(hex_value), bytes.next().and_then(hex_value)) else {
                return Err(TokenError::NotCanonical);
            };
            let value = high << 4 | low;
            if plain(value) {
                return Err(TokenError::NotCanonical);
            }
            value
        } else if plain(byte) {
            byte
        } else {
            return Err(TokenError::NotCanonical);
        };
        if key.len() == bytes_max {
            return Err(TokenError::TooLong(bytes_max));
        }
        key.push(decoded);
    }
    let key = String::from_utf8(key).map_err(|_| TokenError::NotUtf8)?;
    if is_reserved(&key) { Err(TokenError::Reserved) } else { Ok(key) }
}

/// Whether a key is one of those that begin with [`RESERVED`].
pub const fn is_reserved(key: &str) -> bool {
    matches!(key.as_bytes(), [0xf4, 0x8f, 0xbf, 0xbf, ..])
}

/// Checks a key as it arrives from a client or a token's claims: 1–200 bytes, not reserved.
///
/// # Errors
/// Empty, too long or reserved.
pub const fn check_key(key: &str) -> Result<(), TokenError> {
    if key.is_empty() {
        Err(TokenError::Empty)
    } else if key.len() > KEY_BYTES_MAX {
        Err(TokenError::TooLong(KEY_BYTES_MAX))
    } else if is_reserved(key) {
        Err(TokenError::Reserved)
    } else {
        Ok(())
    }
}

const fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

const FNV_OFFSET: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

const fn fnv_step(hash: u32, byte: u8) -> u32 {
    (hash ^ byte as u32).wrapping_mul(FNV_PRIME)
}

/// FNV-1a, 32 bit: the function behind NATS' own `partition()`.
pub fn fnv1a32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(FNV_OFFSET, |hash, &byte| fnv_step(hash, byte))
}

/// The partition of an *encoded* token.
pub fn partition_of_token(token: &str) -> usize {
    fnv1a32(token.as_bytes()) as usize % PARTITIONS
}

/// The partition of a raw key: the same as of its token, without building it.
pub fn partition_of_key(key: &str) -> usize {
    let hash = key.bytes().fold(FNV_OFFSET, |hash, byte| {
        if plain(byte) {
            fnv_step(hash, byte)
        } else {
            let hash = fnv_step(hash, b'=');
            let hash = fnv_step(hash, HEX[usize::from(byte >> 4)]);
            fnv_step(hash, HEX[usize::from(byte & 15)])
        }
    });
    hash as usize % PARTITIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_encode_to_subject_tokens_and_back() {
        for (key, token) in [
            ("42", "42"),
            ("chat/5", "chat=2F5"),
            ("a.b", "a=2Eb"),
            ("*", "=2A"),
            ("=2F", "=3D2F"),
            ("한", "=ED=95=9C"),
            ("a b\t", "a=20b=09"),
        ] {
            assert_eq!(encode(key), token);
            assert_eq!(decode(token).as_deref(), Ok(key));
        }
    }

    #[test]
    fn only_the_canonical_form_is_a_token() {
        for token in ["=41", "=2f", "=4", "=", "@", "a.b", "a+b", "=ZZ", "=G0", "한", "=2F=", " "] {
            assert_eq!(decode(token), Err(TokenError::NotCanonical), "{token}");
        }
        assert_eq!(decode(""), Err(TokenError::Empty));
        assert_eq!(decode("=FF"), Err(TokenError::NotUtf8));
        assert_eq!(decode(&"x".repeat(201)), Err(TokenError::TooLong(200)));
        assert!(decode(&"x".repeat(200)).is_ok());
        assert!(decode(&"=2F".repeat(200)).is_ok());
    }

    #[test]
    fn a_key_and_its_token_share_a_partition() {
        for key in ["42", "chat/5", "한글", "a b.c", "\u{0}"] {
            assert_eq!(partition_of_key(key), partition_of_token(&encode(key)), "{key}");
        }
    }

    #[test]
    fn fnv_matches_the_published_vectors() {
        // From the FNV reference test suite.
        assert_eq!(fnv1a32(b""), 0x811c_9dc5);
        assert_eq!(fnv1a32(b"a"), 0xe40c_292c);
        assert_eq!(fnv1a32(b"foobar"), 0xbf9c_f968);
    }
}
