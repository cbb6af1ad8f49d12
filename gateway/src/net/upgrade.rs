//! Whether a request is a WebSocket handshake as RFC 6455 §4.2.1 wants it. Pure; knows no path and no credential.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TRANSFER_ENCODING, UPGRADE};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

/// Why a request is not one, as the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// A header that goes with it.
    pub header: Option<(&'static str, &'static str)>,
    /// A line for people.
    pub body: &'static str,
}

const fn bad(body: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, header: None, body }
}

/// Checks a request's head. The first rule that is broken decides: method, body, upgrade, version, key.
///
/// # Errors
/// What to answer.
pub fn check(head: &Parts) -> Result<(), Refusal> {
    let headers = &head.headers;
    if head.method != Method::GET {
        return Err(Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            header: Some(("allow", "GET")),
            body: "a WebSocket handshake is a GET request",
        });
    }
    // An HTTP/1.0 request cannot upgrade (RFC 9110 §7.8).
    if head.version != Version::HTTP_11 {
        return Err(bad("a WebSocket handshake needs HTTP/1.1"));
    }
    if headers.get_all(HOST).iter().count() != 1 {
        return Err(bad("exactly one Host header is needed"));
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0");
    if has_body {
        return Err(bad("a WebSocket handshake has no body"));
    }
    if !lists(headers, UPGRADE, "websocket") {
        return Err(bad("this is a WebSocket endpoint: the Upgrade header must list websocket"));
    }
    if !lists(headers, CONNECTION, "upgrade") {
        return Err(bad("the Connection header must list Upgrade"));
    }
    if only(headers, "sec-websocket-version") != Some(b"13") {
        return Err(Refusal {
            status: StatusCode::UPGRADE_REQUIRED,
            header: Some(("sec-websocket-version", "13")),
            body: "only version 13 of the WebSocket protocol is spoken here",
        });
    }
    // 16 bytes are 24 characters; longer input need not be decoded to be wrong.
    let key = only(headers, "sec-websocket-key").filter(|key| key.len() == 24);
    if key.and_then(|key| STANDARD.decode(key).ok()).is_none_or(|nonce| nonce.len() != 16) {
        return Err(bad("Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    Ok(())
}

/// The value of a header that must come once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    Some(value.as_bytes())
}

/// Whether a comma-separated list, which may be spread over several headers, has this token. Case-insensitive.
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let items = headers.get_all(name).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    items.into_iter().any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    const GOOD: [(&str, &str); 5] = [
        ("host", "localhost"),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method("GET").uri("/ws");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    /// The good request with one header replaced (or left out, or added to).
    fn with(name: &str, values: &[&str]) -> Parts {
        let mut headers: Vec<_> = GOOD.into_iter().filter(|(other, _)| *other != name).collect();
        headers.extend(values.iter().map(|value| (name, *value)));
        head(&headers)
    }

    fn status(head: &Parts) -> u16 {
        check(head).map_or_else(|refusal| refusal.status.as_u16(), |()| 101)
    }

    #[test]
    fn lists_are_read_over_repeated_headers_in_any_case() {
        assert_eq!(status(&head(&GOOD)), 101);
        assert_eq!(status(&with("connection", &["keep-alive, UPGRADE"])), 101);
        assert_eq!(status(&with("connection", &["keep-alive", " foo ,upgrade\t"])), 101);
        assert_eq!(status(&with("upgrade", &["h2c, WebSocket"])), 101);
        assert_eq!(status(&with("content-length", &["0"])), 101);
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        for (name, values) in [
            ("host", &[][..]),
            ("host", &["one", "two"]),
            ("upgrade", &[]),
            ("upgrade", &["web socket"]),
            ("upgrade", &["websockets"]),
            ("connection", &[]),
            ("connection", &["keep-alive"]),
            ("connection", &["upgraded"]),
            ("sec-websocket-key", &[]),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="]),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25j"]),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZTEyMw=="]),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZTEy"]),
            ("sec-websocket-key", &["!!hlIHNhbXBsZSBub25jZQ=="]),
            ("content-length", &["5"]),
            ("transfer-encoding", &["chunked"]),
        ] {
            assert_eq!(status(&with(name, values)), 400, "{name}: {values:?}");
        }
    }

    #[test]
    fn other_versions_are_told_ours() {
        for values in [&["12"][..], &[], &["13", "13"], &["13, 8"]] {
            let refusal = check(&with("sec-websocket-version", values)).unwrap_err();

            assert_eq!(refusal.status, 426);
            assert_eq!(refusal.header, Some(("sec-websocket-version", "13")));
        }
    }

    #[test]
    fn other_methods_are_told_ours() {
        let mut post = head(&GOOD);
        post.method = Method::POST;

        let refusal = check(&post).unwrap_err();

        assert_eq!((refusal.status.as_u16(), refusal.header), (405, Some(("allow", "GET"))));
    }

    #[test]
    fn http_1_0_cannot_upgrade() {
        let mut old = head(&GOOD);
        old.version = Version::HTTP_10;

        assert_eq!(status(&old), 400);
    }
}
