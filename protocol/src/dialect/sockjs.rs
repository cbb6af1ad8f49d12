//! SockJS framing: how messages of any dialect travel inside text frames, both ways.
//!
//! A server's frame is `o`, `h`, `a["…"]` or `c[code,"reason"]`; a client sends a JSON array of strings, or one string.
//! Knows no transport, no session and no dialect: those are the gateway's.
//! Source: the protocol page of sockjs-protocol 0.3.3, and what sockjs-client 1.6 does.

use std::borrow::Cow;

/// The session is there.
pub const OPEN: &str = "o";
/// A sign of life.
pub const HEARTBEAT: &str = "h";

/// What a client sent is no JSON array of strings, and no string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("broken JSON encoding")]
pub struct Broken;

/// Appends the frame `a["…"]` of one message.
pub fn message_into(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 5);
    out.extend_from_slice(b"a[");
    quote_into(text, out);
    out.push(b']');
}

/// The frame `c[code,"reason"]`.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut out = format!("c[{code},").into_bytes();
    quote_into(reason, &mut out);
    out.push(b']');
    out
}

/// First bytes of characters some of which are escaped: control characters, `"`, `\`, and the lead bytes of U+2000–2FFF,
/// U+F000–FFFF and of what UTF-16 writes as two surrogates.
const MAY_BE_ESCAPED: [bool; 256] = {
    let mut may = [false; 256];
    let mut byte = 0;
    while byte < may.len() {
        may[byte] = byte < 0x20 || byte == 0x22 || byte == 0x5C || byte == 0xE2 || byte >= 0xEF;
        byte += 1;
    }
    may
};

/// JSON text of a string, in which all that sockjs-client calls escapable is escaped: proxies and old browsers change
/// or drop such characters.
fn quote_into(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let (mut copied, mut at) = (0, 0);
    loop {
        at += bytes.iter().skip(at).take_while(|byte| !MAY_BE_ESCAPED[usize::from(**byte)]).count();
        let Some(char) = text.get(at..).and_then(|rest| rest.chars().next()) else { break };
        let width = char.len_utf8();
        if is_escapable(char) {
            out.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
            match char {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                other => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        escape_into(*unit, out);
                    }
                }
            }
            copied = at + width;
        }
        at += width;
    }
    out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
    out.push(b'"');
}

const fn is_escapable(char: char) -> bool {
    matches!(
        char,
        '"' | '\\'
            | '\0'..='\x1f'
            | '\u{200c}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff0}'..='\u{ffff}'
            | '\u{10000}'..
    )
}

fn escape_into(unit: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u");
    for digit in unit.to_be_bytes() {
        for half in [digit >> 4, digit & 15] {
            out.push(b"0123456789abcdef"[usize::from(half)]);
        }
    }
}

/// The messages in what a client sent: those of an array, or one string. Half a surrogate pair becomes U+FFFD.
///
/// # Errors
/// It is neither.
pub fn read(text: &str) -> Result<Vec<Cow<'_, str>>, Broken> {
    let mut reader = Reader { text, at: 0 };
    let mut messages = Vec::new();
    match reader.next_token()? {
        b'"' => messages.push(reader.string()?),
        b'[' => {
            let mut token = reader.next_token()?;
            while token != b']' {
                if token != b'"' {
                    return Err(Broken);
                }
                messages.push(reader.string()?);
                token = match reader.next_token()? {
                    b',' => Some(reader.next_token()?).filter(|token| *token == b'"').ok_or(Broken)?,
                    b']' => b']',
                    _ => return Err(Broken),
                };
            }
        }
        _ => return Err(Broken),
    }
    reader.skip_space();
    if reader.at == text.len() { Ok(messages) } else { Err(Broken) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte that is not white space.
    fn next_token(&mut self) -> Result<u8, Broken> {
        self.skip_space();
        self.take()
    }

    fn take(&mut self) -> Result<u8, Broken> {
        let byte = self.byte().ok_or(Broken)?;
        self.at += 1;
        Ok(byte)
    }

    /// The rest of a string whose opening quote has been read.
    fn string(&mut self) -> Result<Cow<'a, str>, Broken> {
        let mut decoded: Option<String> = None;
        loop {
            let start = self.at;
            while self.byte().is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            let plain = self.text.get(start..self.at).ok_or(Broken)?;
            match (self.take()?, &mut decoded) {
                (b'"', None) => return Ok(Cow::Borrowed(plain)),
                (b'"', Some(decoded)) => {
                    decoded.push_str(plain);
                    return Ok(Cow::Owned(std::mem::take(decoded)));
                }
                (b'\\', _) => {
                    let decoded = decoded.get_or_insert_default();
                    decoded.push_str(plain);
                    let char = self.escape()?;
                    decoded.push(char);
                }
                _ => return Err(Broken),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Broken> {
        Ok(match self.take()? {
            escaped @ (b'"' | b'\\' | b'/') => char::from(escaped),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.unit()?;
                let pair = self.low_surrogate(unit);
                if pair.is_some() {
                    self.at += 6;
                }
                pair.or_else(|| char::from_u32(u32::from(unit))).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(Broken),
        })
    }

    /// The character that `high` makes with the escape that comes next, if it does.
    fn low_surrogate(&self, high: u16) -> Option<char> {
        let mut ahead = Reader { text: self.text, at: self.at };
        if !(0xd800..0xdc00).contains(&high) || ahead.take() != Ok(b'\\') || ahead.take() != Ok(b'u') {
            return None;
        }
        let low = ahead.unit().ok()?;
        char::decode_utf16([high, low]).next()?.ok()
    }

    fn unit(&mut self) -> Result<u16, Broken> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = char::from(self.take()?).to_digit(16).ok_or(Broken)?;
            unit = unit << 4 | u16::try_from(digit).map_err(|_| Broken)?;
        }
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(text: &str) -> String {
        let mut out = Vec::new();
        message_into(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn frames_escape_what_proxies_and_browsers_change() {
        for (text, expected) in [
            ("", r#"a[""]"#),
            ("hi", r#"a["hi"]"#),
            ("{\"a\":\"\\\"}", r#"a["{\"a\":\"\\\"}"]"#),
            ("\0\u{1f}\n\r\t\u{8}", r#"a["\u0000\u001f\n\r\t\u0008"]"#),
            ("\u{200b}\u{200c}\u{200f}\u{2010}", "a[\"\u{200b}\\u200c\\u200f\u{2010}\"]"),
            ("\u{2027}\u{2028}\u{202f}\u{2030}", "a[\"\u{2027}\\u2028\\u202f\u{2030}\"]"),
            ("\u{205f}\u{2060}\u{206f}\u{2070}", "a[\"\u{205f}\\u2060\\u206f\u{2070}\"]"),
            ("\u{ffef}\u{fff0}\u{ffff}", "a[\"\u{ffef}\\ufff0\\uffff\"]"),
            ("한국어 é", "a[\"한국어 é\"]"),
            ("😀", r#"a["\ud83d\ude00"]"#),
        ] {
            assert_eq!(framed(text), expected);
        }
        assert_eq!(close(3000, "Go \"away\"!"), br#"c[3000,"Go \"away\"!"]"#);
    }

    #[test]
    fn what_is_framed_is_read_back() {
        let every: String = ('\0'..='\u{2fff}').chain('\u{f000}'..='\u{10fff}').chain(['\u{10ffff}']).collect();

        let frame = framed(&every);

        assert_eq!(read(frame.strip_prefix('a').unwrap()).unwrap(), [every]);
    }

    #[test]
    fn clients_send_arrays_or_one_string() {
        for (text, expected) in [
            ("[]", &[][..]),
            (" [ ] ", &[]),
            ("[\"a\"]", &["a"]),
            ("\"a\"", &["a"]),
            ("\n[\"a\" ,\t\"b\"]\r", &["a", "b"]),
            (r#"["\"\\\/\b\f\n\r\t\u0041"]"#, &["\"\\/\u{8}\u{c}\n\r\tA"]),
            (r#"["\ud83d\ude00\uD83D\uDE00"]"#, &["😀😀"]),
            (
                r#"["\ud83d","x\ude00","\ud83dA","\ud83d\u0041","\ud83d\ud83d\ude00"]"#,
                &["\u{fffd}", "x\u{fffd}", "\u{fffd}A", "\u{fffd}A", "\u{fffd}😀"],
            ),
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn all_else_is_broken() {
        for text in [
            "",
            " ",
            "[",
            "]",
            "[\"a\"",
            "[\"a\",",
            "[\"a\",]",
            "[,]",
            "[\"a\" \"b\"]",
            "[\"a\"]]",
            "[\"a\"] x",
            "\"a",
            "\"",
            "[1]",
            "[null]",
            "[[\"a\"]]",
            "{}",
            "x",
            "[\"\\x\"]",
            "[\"\\u12\"]",
            "[\"\\u12g4\"]",
            "[\"\\",
            "[\"\n\"]",
            "[\"\\u+123\"]",
        ] {
            assert_eq!(read(text), Err(Broken), "{text}");
        }
    }
}
