//! Dialect `bare` (sub-protocol `holdfast.v1.bare`): the payload and nothing else, both ways.
//!
//! Two things are read out of upstream payloads where the endpoint asks for it: the first message `INIT`, and the field
//! that names the path.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{is_device, is_user, split_to};
use crate::wire::{Content, Delivery};

/// A delivery's payload, and whether it goes into a text frame.
pub fn delivery(delivery: &Delivery) -> (bool, Bytes) {
    let text = match delivery.content {
        Content::Json | Content::Text => simdutf8::basic::from_utf8(&delivery.payload).is_ok(),
        Content::Binary => false,
    };
    (text, delivery.payload.clone())
}

/// The first message `{"type":"INIT","userId":…,"device":…}`, with an optional `token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init<'a> {
    /// The user it claims to be; a number became its text.
    pub user: Option<Cow<'a, str>>,
    /// What the client calls itself.
    pub device: Option<Cow<'a, str>>,
    /// A credential.
    pub token: Option<Cow<'a, str>>,
}

/// An INIT message whose fields are missing, of the wrong type or out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the INIT message is malformed")]
pub struct BadInit;

#[derive(Deserialize)]
struct InitFields<'a> {
    #[serde(borrow, default, rename = "userId")]
    user: Option<&'a RawValue>,
    #[serde(borrow, default)]
    device: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    token: Option<Cow<'a, str>>,
}

/// Reads an INIT message; `None` if the text is anything else.
///
/// # Errors
/// It is an INIT message, but not a good one.
pub fn init(text: &str) -> Result<Option<Init<'_>>, BadInit> {
    if field(text, "type").as_deref() != Some("INIT") {
        return Ok(None);
    }
    let fields: InitFields<'_> = serde_json::from_str(text).map_err(|_| BadInit)?;
    let user = match fields.user {
        None => None,
        Some(raw) => Some(user_of(raw.get()).ok_or(BadInit)?),
    };
    if fields.device.as_deref().is_some_and(|device| !is_device(device)) {
        return Err(BadInit);
    }
    Ok(Some(Init { user, device: fields.device, token: fields.token }))
}

/// A user id as a string or an integer.
fn user_of(raw: &str) -> Option<Cow<'_, str>> {
    let user = if raw.starts_with('"') {
        Cow::Owned(serde_json::from_str::<String>(raw).ok()?)
    } else {
        let digits = raw.strip_prefix('-').unwrap_or(raw);
        digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(Cow::Borrowed(raw))?
    };
    is_user(&user).then_some(user)
}

/// The path that a payload names in the string field `name`, split like `to`; `None` where it names none.
pub fn path_of(text: &str, name: &str) -> Option<Vec<String>> {
    split_to(&field(text, name)?)
}

/// The string in a top-level field of a JSON object; the rest of it is skipped without being built.
fn field<'a>(text: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let found = Field { name }.deserialize(&mut json).ok()?;
    json.end().ok()?;
    serde_json::from_str::<String>(found?.get()).ok().map(Cow::Owned)
}

struct Field<'n> {
    name: &'n str,
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == self.name {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_names_user_device_and_token() {
        for (text, user, device, token) in [
            (r#"{"type":"INIT","userId":123,"device":"android"}"#, Some("123"), Some("android"), None),
            (r#"{ "userId":"ana", "x":[[]], "type":"INIT" }"#, Some("ana"), None, None),
            (r#"{"type":"INIT","userId":-7,"device":null}"#, Some("-7"), None, None),
            (r#"{"type":"\u0049NIT","token":"a.b.c"}"#, None, None, Some("a.b.c")),
            (r#"{"type":"INIT"}"#, None, None, None),
        ] {
            let init = init(text).unwrap().unwrap();

            assert_eq!(init.user.as_deref(), user, "{text}");
            assert_eq!(init.device.as_deref(), device, "{text}");
            assert_eq!(init.token.as_deref(), token, "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_init() {
        for text in
            ["", "INIT", "{", "[]", "7", r#"{"type":"init"}"#, r#"{"type":7}"#, r#"["INIT"]"#, r#"{"type":"INIT"} x"#]
        {
            assert_eq!(init(text), Ok(None), "{text}");
        }
        assert_eq!(init(&"[".repeat(20_000)), Ok(None));
        assert_eq!(init(&format!(r#"{{"a":{}"#, "[".repeat(20_000))), Ok(None));
    }

    #[test]
    fn an_init_with_bad_fields_is_an_error() {
        for fields in [
            r#""userId":1.5"#,
            r#""userId":1e3"#,
            r#""userId":true"#,
            r#""userId":{}"#,
            r#""userId":"""#,
            r#""userId":" ana""#,
            r#""userId":"a\nb""#,
            r#""userId":1,"userId":2"#,
            r#""userId":1,"device":7"#,
            r#""userId":1,"device":"""#,
            r#""userId":1,"token":{}"#,
        ] {
            assert_eq!(init(&format!(r#"{{"type":"INIT",{fields}}}"#)), Err(BadInit), "{fields}");
        }
        let long = "x".repeat(201);
        assert_eq!(init(&format!(r#"{{"type":"INIT","userId":"{long}"}}"#)), Err(BadInit));
    }

    #[test]
    fn a_configured_field_names_the_path() {
        for (text, path) in [
            (r#"{"kind":"order.new","x":1}"#, Some(vec!["order".to_owned(), "new".to_owned()])),
            (r#"{"x":{"kind":"deep"}}"#, None),
            (r#"{"kind":7}"#, None),
            (r#"{"kind":""}"#, None),
            ("plain words", None),
            ("[]", None),
        ] {
            assert_eq!(path_of(text, "kind"), path, "{text}");
        }
    }
}
