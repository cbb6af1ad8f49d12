//! What a SEND says besides its body, made safe for domain services: bounded, in ASCII, without what is the gateway's
//! or secret.

use std::fmt::Write as _;

use holdfast_protocol::dialect::stomp::Frame;

use crate::session::action::Said;

/// Longest list of a client's own headers, as written.
const HEADERS_BYTES_MAX: usize = 8 << 10;
/// Longest content type.
const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// Headers that mean something to us, or that are nobody's business.
const OURS: [&str; 11] = [
    "destination",
    "content-type",
    "content-length",
    "receipt",
    "transaction",
    "heart-beat",
    "login",
    "passcode",
    "authorization",
    "x-auth-token",
    "token",
];

/// What a frame says of its message; `Err` if that is too long.
pub(super) fn said(frame: &Frame) -> Result<Option<Box<Said>>, &'static str> {
    let printable =
        |kind: &&str| kind.len() <= CONTENT_TYPE_BYTES_MAX && kind.bytes().all(|b| (b' '..0x7f).contains(&b));
    let kind = frame.header("content-type").map(str::trim).filter(|kind| !kind.is_empty());
    let content_type = kind.filter(printable).map(str::to_owned);
    let own = frame.headers.iter().filter(|(name, _)| !OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)));
    let own: Vec<_> = own.map(|(name, value)| [name, value]).collect();
    let headers = if own.is_empty() { None } else { Some(in_ascii(&own)) };
    if headers.as_ref().is_some_and(|headers| headers.len() > HEADERS_BYTES_MAX) {
        return Err("the headers are too long");
    }
    let said = Said { content_type, headers };
    Ok((said != Said::default()).then(|| Box::new(said)))
}

/// JSON whose characters outside of ASCII are escaped: header values on the bus hold no line ends, and not every client
/// library there reads UTF-8.
fn in_ascii(pairs: &[[&String; 2]]) -> String {
    // Strings alone: nothing in it can fail to serialise.
    let json = serde_json::to_string(pairs).unwrap_or_default();
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if (' '..='~').contains(&character) {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                write!(out, "\\u{unit:04x}").unwrap_or_default();
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::dialect::stomp::Command;

    use super::*;

    fn of(headers: &[(&str, &str)]) -> Result<Option<Said>, &'static str> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        said(&Frame { command: Command::Send, headers, body: "x".into() }).map(|said| said.map(|said| *said))
    }

    #[test]
    fn a_client_s_own_headers_are_a_list_in_ascii() {
        let said = of(&[
            ("destination", "/app/x"),
            ("content-type", "application/json;charset=utf-8"),
            ("Authorization", "Bearer t"),
            ("passcode", "p"),
            ("Hf-User", "admin"),
            ("이름", "a\r\nb\u{7f}👋"),
        ]);

        let expected = Said {
            content_type: Some("application/json;charset=utf-8".to_owned()),
            headers: Some(r#"[["Hf-User","admin"],["\uc774\ub984","a\r\nb\u007f\ud83d\udc4b"]]"#.to_owned()),
        };
        assert_eq!(said, Ok(Some(expected)));
    }

    #[test]
    fn what_says_nothing_or_too_much_is_nothing_or_refused() {
        assert_eq!(of(&[("destination", "/app/x"), ("receipt", "1")]), Ok(None));
        assert_eq!(of(&[("content-type", "text/plain\r\nHf-User: admin")]), Ok(None));
        assert!(of(&[("x", &"a".repeat(HEADERS_BYTES_MAX))]).is_err());
    }
}
