//! What a payload is: JSON, text or binary, decided once by the router from the declared type and the bytes.
//!
//! Has its own JSON check, strict by RFC 8259 and without recursion: a payload is judged, never built. Knows no header
//! but the value of `Content-Type`.

use crate::wire::Content;

/// Deepest nesting that counts as JSON. Common parsers (Python's, several in Java and Go) give up near 1,000 or before,
/// and the payload ends up inside an object of ours.
pub const JSON_DEPTH_MAX: usize = 512;

/// Decides what `payload` is. A declared type decides where the bytes agree with it; without one, or where they do not:
/// JSON if it parses, text if it is UTF-8, else binary. An empty payload is the empty text.
pub fn detect(declared: Option<&str>, payload: &[u8]) -> Content {
    if payload.is_empty() {
        return Content::Text;
    }
    match declared.map_or(Declared::Nothing, Declared::of) {
        Declared::Binary => Content::Binary,
        Declared::Text if is_utf8(payload) => Content::Text,
        Declared::Text | Declared::Json | Declared::Nothing => {
            if !is_utf8(payload) {
                Content::Binary
            } else if is_json(payload) {
                Content::Json
            } else {
                Content::Text
            }
        }
    }
}

enum Declared {
    Nothing,
    Json,
    Text,
    Binary,
}

impl Declared {
    fn of(value: &str) -> Self {
        let kind = value.split(';').next().unwrap_or("").trim().as_bytes();
        if kind.is_empty() {
            Self::Nothing
        } else if kind.eq_ignore_ascii_case(b"application/json") || ends_with(kind, b"+json") {
            Self::Json
        } else if kind.get(..5).is_some_and(|head| head.eq_ignore_ascii_case(b"text/")) {
            Self::Text
        } else {
            Self::Binary
        }
    }
}

fn ends_with(text: &[u8], suffix: &[u8]) -> bool {
    text.len().checked_sub(suffix.len()).is_some_and(|at| text[at..].eq_ignore_ascii_case(suffix))
}

fn is_utf8(bytes: &[u8]) -> bool {
    simdutf8::basic::from_utf8(bytes).is_ok()
}

/// Whether UTF-8 `text` is one JSON value by RFC 8259, nested no deeper than [`JSON_DEPTH_MAX`].
///
/// Escapes are checked for form alone, as the grammar has it: a lone surrogate escape passes.
pub fn is_json(text: &[u8]) -> bool {
    Scanner { text, at: 0 }.document().is_some()
}

/// Walks over the text; each step is `None` where the grammar is broken.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

/// The open brackets, one bit each: set for an object.
struct Nesting {
    bits: [u64; JSON_DEPTH_MAX / 64],
    depth: usize,
}

impl Nesting {
    fn open(&mut self, object: bool) -> Option<()> {
        let word = self.bits.get_mut(self.depth / 64)?;
        let bit = 1 << (self.depth % 64);
        if object {
            *word |= bit;
        } else {
            *word &= !bit;
        }
        self.depth += 1;
        Some(())
    }

    fn in_object(&self) -> bool {
        self.depth.checked_sub(1).is_some_and(|at| self.bits[at / 64] >> (at % 64) & 1 == 1)
    }
}

impl Scanner<'_> {
    fn document(mut self) -> Option<()> {
        let mut nesting = Nesting { bits: [0; JSON_DEPTH_MAX / 64], depth: 0 };
        loop {
            // Here a value begins.
            self.space();
            match self.next()? {
                b'{' => {
                    nesting.open(true)?;
                    self.space();
                    if self.peek() != Some(b'}') {
                        self.name()?;
                        continue;
                    }
                }
                b'[' => {
                    nesting.open(false)?;
                    self.space();
                    if self.peek() != Some(b']') {
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                b'-' => {
                    let digit = self.next()?;
                    self.number(digit)?;
                }
                digit => self.number(digit)?,
            }
            // Here a value has ended, or an empty bracket is about to.
            loop {
                self.space();
                if nesting.depth == 0 {
                    return self.peek().is_none().then_some(());
                }
                let object = nesting.in_object();
                match self.next()? {
                    b',' => {
                        if object {
                            self.space();
                            self.name()?;
                        }
                        break;
                    }
                    b'}' if object => nesting.depth -= 1,
                    b']' if !object => nesting.depth -= 1,
                    _ => return None,
                }
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn word(&mut self, rest: &[u8]) -> Option<()> {
        self.text.get(self.at..)?.starts_with(rest).then(|| self.at += rest.len())
    }

    /// A member's name and its colon.
    fn name(&mut self) -> Option<()> {
        (self.next()? == b'"').then_some(())?;
        self.string()?;
        self.space();
        (self.next()? == b':').then_some(())
    }

    /// A string after its opening quote.
    fn string(&mut self) -> Option<()> {
        loop {
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        let digits = self.text.get(self.at..self.at + 4)?;
                        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                        self.at += 4;
                    }
                    _ => return None,
                },
                0..=0x1F => return None,
                _ => {}
            }
        }
    }

    /// A number after its sign, given its first digit.
    fn number(&mut self, first: u8) -> Option<()> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.next()?.is_ascii_digit().then_some(())?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.next()?.is_ascii_digit().then_some(())?;
            self.digits();
        }
        Some(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_declared_type_the_bytes_decide() {
        for (payload, content) in [
            (&b"{\"a\":1}"[..], Content::Json),
            (b" 7 ", Content::Json),
            (b"\"x\"", Content::Json),
            (b"hello", Content::Text),
            (b"NaN", Content::Text),
            (b"1 2", Content::Text),
            ("한글".as_bytes(), Content::Text),
            (b"\xEF\xBB\xBF{}", Content::Text),
            (b"", Content::Text),
            (b"\"\xff\"", Content::Binary),
        ] {
            assert_eq!(detect(None, payload), content, "{payload:?}");
        }
    }

    #[test]
    fn a_declared_type_decides_where_the_bytes_agree() {
        for (declared, payload, content) in [
            ("application/json; charset=utf-8", &b"[1]"[..], Content::Json),
            ("Application/JSON", b"[1]", Content::Json),
            ("application/vnd.api+json", b"[1]", Content::Json),
            ("application/json", b"{", Content::Text),
            ("application/json", b"\xff", Content::Binary),
            ("text/plain", b"{}", Content::Text),
            ("TEXT/html;x=y", b"{}", Content::Text),
            ("text/plain", b"\xff", Content::Binary),
            ("application/octet-stream", b"{}", Content::Binary),
            ("nonsense", b"{}", Content::Binary),
            ("", b"{}", Content::Json),
            ("application/octet-stream", b"", Content::Text),
        ] {
            assert_eq!(detect(Some(declared), payload), content, "{declared} {payload:?}");
        }
    }

    /// serde_json is the judge, up to the depth where it gives up.
    #[test]
    fn the_scanner_agrees_with_serde_json() {
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"\\u00e9\\/\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\u{1}\"",
            "0",
            "01",
            "-",
            "-1",
            "1.",
            "1.5",
            "1e",
            "1e+5",
            "1E-5",
            ".5",
            "+1",
            "true",
            "nul",
            "null",
            "false",
            " ",
            "\n",
            "\u{b}",
            "\"",
            "\\",
            "한",
        ];
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut valid = 0;
        for _ in 0..200_000 {
            let mut text = String::new();
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            for shift in 0..(state >> 61) + 1 {
                let pick = (state >> (shift * 5)) & 31;
                text.push_str(pieces[usize::try_from(pick).expect("five bits") % pieces.len()]);
            }
            let judged = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            valid += u32::from(judged);
            assert_eq!(is_json(text.as_bytes()), judged, "{text:?}");
        }
        assert!(valid > 1000, "the sample has valid documents too: {valid}");
    }

    #[test]
    fn documents_of_some_size_pass() {
        for text in [
            r#"{"n":12345678901234567890.1200, "d":1,"d":2, "u":"\u00e9\/", "e":[], "o":{}, "l":[[],{},[{"x":[1,2,{"y":null}]}]]}"#,
            "[ ]",
            "{ }",
            "[1 , 2]",
            r#"{"a" : {"b" : [ true , false ] } }"#,
        ] {
            assert!(is_json(text.as_bytes()), "{text}");
        }
        for text in ["[1,]", "{\"a\":1,}", "{\"a\"}", "{1:2}", "[1}", "{\"a\":1]", "[]]", "", " ", "[", "{", "{\"a\":"]
        {
            assert!(!is_json(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_json(nested(JSON_DEPTH_MAX).as_bytes()));
        assert!(!is_json(nested(JSON_DEPTH_MAX + 1).as_bytes()));
        assert_eq!(detect(Some("application/json"), "[".repeat(5000).as_bytes()), Content::Text);
        assert_eq!(detect(None, nested(100_000).as_bytes()), Content::Text);
    }
}
