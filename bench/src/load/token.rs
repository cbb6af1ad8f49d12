//! What a benchmark sends: a JSON string that names its stream, its number and when it was meant to be sent. Whatever
//! a server puts around it, a receiver finds it again, and can tell a wrong delivery from a right one.
//!
//! `"@` stream (1 hex digit) number (12) `"`; with room for it, `:` time (14, microseconds of the bench's own clock)
//! behind the number; then `x` up to the size.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::{memchr, memmem};

/// The smallest payload.
pub(crate) const BYTES_MIN: usize = 16;
/// The largest.
pub(crate) const BYTES_MAX: usize = 64 * 1024;
/// Streams that one client can tell apart.
pub(crate) const STREAMS: usize = 16;

const NUMBER: Range<usize> = 1..13;
const TIME: Range<usize> = 14..28;
/// What a payload with a time has at least.
const BYTES_WITH_TIME: usize = 2 + TIME.end + 1;
static FILLER: [u8; BYTES_MAX] = [b'x'; BYTES_MAX];

/// One delivery, as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) stream: u8,
    pub(crate) number: u64,
    pub(crate) sent_us: Option<u64>,
    /// Of the payload, quotes included.
    pub(crate) bytes: usize,
}

/// The variable which makes the first message of each stream say that it is the second: what every scenario must notice.
pub(crate) const PLANTED: &str = "HOLDFAST_BENCH_PLANTED";

fn is_planted() -> bool {
    static IS_PLANTED: LazyLock<bool> = LazyLock::new(|| std::env::var_os(PLANTED).is_some());
    *IS_PLANTED
}

/// The payload of this token.
///
/// Sizes below [`BYTES_MIN`] become that; streams are hexadecimal digits.
pub(crate) fn payload(stream: u8, number: u64, sent_us: u64, bytes: usize) -> Vec<u8> {
    let bytes = bytes.clamp(BYTES_MIN, BYTES_MAX);
    let number = number + u64::from(number == 1 && is_planted());
    let mut out = Vec::with_capacity(bytes);
    let head = if bytes < BYTES_WITH_TIME {
        format!("\"@{stream:x}{number:012x}")
    } else {
        format!("\"@{stream:x}{number:012x}:{sent_us:014x}")
    };
    out.extend(head.as_bytes());
    out.resize(bytes - 1, b'x');
    out.push(b'"');
    out
}

/// Calls `found` for each token in `text`, whatever is around it; `Err` for what looks like one and is damaged.
pub(crate) fn scan(text: &[u8], mut found: impl FnMut(Result<Token, String>)) {
    let mut rest = text;
    while let Some(at) = memmem::find(rest, b"\"@") {
        let body = rest.get(at + 2..).unwrap_or_default();
        let Some(end) = memchr(b'"', body) else {
            found(Err(format!("a payload without an end: {}", shown(body))));
            return;
        };
        let token = body.get(..end).unwrap_or_default();
        // A dialect may carry the string inside a string.
        let token = token.strip_suffix(b"\\").unwrap_or(token);
        found(parse(token).ok_or_else(|| format!("a damaged payload: {}", shown(token))));
        rest = body.get(end + 1..).unwrap_or_default();
    }
}

fn parse(token: &[u8]) -> Option<Token> {
    let stream = hex(token.get(..1)?)?;
    let number = hex(token.get(NUMBER)?)?;
    let (sent_us, filler) = match token.get(NUMBER.end) {
        Some(b':') => (Some(hex(token.get(TIME)?)?), token.get(TIME.end..)?),
        _ => (None, token.get(NUMBER.end..)?),
    };
    if FILLER.get(..filler.len())? != filler {
        return None;
    }
    Some(Token { stream: u8::try_from(stream).ok()?, number, sent_us, bytes: token.len() + 3 })
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| Some(value << 4 | u64::from(char::from(*digit).to_digit(16)?)))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..bytes.len().min(80)).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &[u8]) -> Vec<Result<Token, String>> {
        let mut all = Vec::new();
        scan(text, |token| all.push(token));
        all
    }

    #[test]
    fn payloads_have_their_size_and_are_found_again() {
        for bytes in [16, 17, 30, 31, 32, 64, 16_384] {
            let payload = payload(3, 77, 0x1234, bytes);
            assert_eq!(payload.len(), bytes);
            let text = [b"{\"data\":".as_slice(), &payload, b"}"].concat();
            let sent_us = (bytes >= 31).then_some(0x1234);
            assert_eq!(found(&text), vec![Ok(Token { stream: 3, number: 77, sent_us, bytes })]);
        }
    }

    #[test]
    fn several_are_found_and_strings_in_strings_too() {
        let one = String::from_utf8(payload(0, 1, 9, 64)).unwrap();
        let two = String::from_utf8(payload(0, 2, 9, 16)).unwrap();
        let text = format!("a[{one},{}]", two.replace('"', "\\\""));

        let numbers: Vec<_> = found(text.as_bytes()).into_iter().map(|token| token.unwrap().number).collect();

        assert_eq!(numbers, [1, 2]);
    }

    #[test]
    fn damage_is_told() {
        let mut payload = payload(0, 1, 9, 64);
        payload[40] = b'y';
        assert!(found(&payload)[0].is_err());
        payload[40] = b'"';
        // Shorter than it was sent: a token of another size, for the receiver to refuse.
        assert_eq!(found(&payload)[0].as_ref().map(|token| token.bytes), Ok(41));
        assert!(found(&payload[..20])[0].is_err());
    }
}
