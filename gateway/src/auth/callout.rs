//! Callouts: a domain service says who somebody is, or whether they may join. Requests and answers as JSON; who asks
//! adds the subject and waits [`TIMEOUT`]. An answer that is missing or makes no sense never allows anything.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::claims::Claims;
use super::{Identity, Refusal};
use crate::session::{Failure, Outcome};

/// How long a callout may take.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// Headers that only concern the upgrade, or carry the token in another dress.
const HEADERS_LEFT_OUT: [&str; 7] = [
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "transfer-encoding",
];

#[derive(Serialize)]
struct Request<'a> {
    endpoint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<&'a str, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

impl Request<'_> {
    fn to_bytes(&self) -> Bytes {
        // Strings alone: there is nothing in it that could fail.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The request "who is this?".
pub fn connect_request(endpoint: &str, token: Option<&str>, head: Option<&Parts>) -> Bytes {
    let headers = head.map(|head| {
        let mut headers = BTreeMap::<&str, String>::new();
        for (name, value) in &head.headers {
            if HEADERS_LEFT_OUT.contains(&name.as_str()) {
                continue;
            }
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str())
                .and_modify(|values| {
                    values.push_str(", ");
                    values.push_str(&value);
                })
                .or_insert_with(|| value.into_owned());
        }
        headers
    });
    let query = head.and_then(|head| head.uri.query());
    Request { endpoint, token, headers, query, room: None, user: None }.to_bytes()
}

/// The request "may they join?".
pub fn join_request(endpoint: &str, room: &str, user: &str) -> Bytes {
    Request { endpoint, token: None, headers: None, query: None, room: Some(room), user: Some(user) }.to_bytes()
}

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    user: Option<Value>,
    device: Option<Value>,
    attributes: Option<Value>,
    roles: Option<Value>,
    rooms: Option<Value>,
    expires: Option<Value>,
    code: Option<Value>,
    reason: Option<String>,
}

/// What the answer to [`connect_request`] means at this Unix second.
///
/// # Errors
/// A refusal: the service's, or ours where the answer makes nobody.
pub fn connect_answer(payload: &[u8], now_unix_s: u64) -> Result<Identity, Refusal> {
    let answer: Answer = serde_json::from_slice(payload).map_err(|_| Refusal::Unavailable)?;
    if !answer.ok {
        return Err(match answer.code {
            Some(Value::String(code)) if code == "expired" => Refusal::Expired,
            Some(Value::String(code)) if code == "forbidden" => Refusal::Forbidden,
            Some(Value::Number(code)) if code.as_u64() == Some(403) => Refusal::Forbidden,
            _ => Refusal::Invalid,
        });
    }
    Claims {
        sub: answer.user,
        exp: answer.expires,
        device: answer.device,
        rooms: answer.rooms,
        attributes: answer.attributes,
        roles: answer.roles,
        ..Claims::default()
    }
    .identity(now_unix_s)
}

/// What the answer to [`join_request`] means.
///
/// # Errors
/// `Forbidden` with the service's reason, or `Unavailable` for an answer that makes no sense.
pub fn join_answer(payload: &[u8]) -> Outcome<()> {
    match serde_json::from_slice::<Answer>(payload) {
        Ok(answer) if answer.ok => Ok(()),
        Ok(answer) => Err(Failure::Forbidden { reason: answer.reason.unwrap_or_default() }),
        Err(_) => Err(Failure::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_connect_request_shows_the_handshake() {
        let (head, ()) = hyper::Request::builder()
            .uri("/ws/chat?a=1&token=t")
            .header("Cookie", "sid=7")
            .header("Cookie", "x=y")
            .header("Sec-WebSocket-Key", "k")
            .header("Sec-WebSocket-Protocol", "base64url.bearer.holdfast.t")
            .body(())
            .unwrap()
            .into_parts();

        let request: Value = serde_json::from_slice(&connect_request("chat", Some("t"), Some(&head))).unwrap();

        assert_eq!(
            request,
            json!({"endpoint":"chat","token":"t","headers":{"cookie":"sid=7, x=y"},"query":"a=1&token=t"})
        );
        let in_band: Value = serde_json::from_slice(&connect_request("chat", Some("t"), None)).unwrap();
        assert_eq!(in_band, json!({"endpoint":"chat","token":"t"}));
    }

    #[test]
    fn an_answer_makes_somebody_or_nobody() {
        let good =
            br#"{"ok":true,"user":42,"device":"ios","attributes":{"role":"admin"},"rooms":["chat/*"],"expires":1000}"#;

        let identity = connect_answer(good, 999).unwrap();

        assert_eq!((&*identity.user, identity.device.as_deref()), ("42", Some("ios")));
        assert_eq!((identity.roles.as_deref(), identity.expires), (Some("admin"), Some(1000)));
        assert!(identity.rooms.allow("chat/5") && !identity.rooms.allow("x"));
        for (answer, refusal) in [
            (&good[..], Refusal::Expired),
            (br#"{"ok":false}"#, Refusal::Invalid),
            (br#"{"ok":false,"code":"expired"}"#, Refusal::Expired),
            (br#"{"ok":false,"code":"forbidden","reason":"no"}"#, Refusal::Forbidden),
            (br#"{"ok":false,"code":403}"#, Refusal::Forbidden),
            (br#"{"ok":true}"#, Refusal::Invalid),
            (br#"{"ok":true,"user":"a\nb"}"#, Refusal::Invalid),
            (br#"{"ok":"yes","user":"a"}"#, Refusal::Unavailable),
            (br#"{"user":"a"}"#, Refusal::Unavailable),
            (b"", Refusal::Unavailable),
        ] {
            assert_eq!(connect_answer(answer, 1000), Err(refusal), "{}", String::from_utf8_lossy(answer));
        }
    }

    #[test]
    fn a_join_is_allowed_by_a_clear_yes_alone() {
        let request: Value = serde_json::from_slice(&join_request("chat", "r", "ana")).unwrap();
        assert_eq!(request, json!({"endpoint":"chat","room":"r","user":"ana"}));

        assert_eq!(join_answer(br#"{"ok":true}"#), Ok(()));
        assert_eq!(join_answer(br#"{"ok":false,"reason":"full"}"#), Err(Failure::Forbidden { reason: "full".into() }));
        assert_eq!(join_answer(br#"{"ok":1}"#), Err(Failure::Unavailable));
        assert_eq!(join_answer(b""), Err(Failure::Unavailable));
    }
}
