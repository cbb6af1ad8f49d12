//! From claims to an identity. The same rules hold for the claims of a token and for the answer of a callout.

use std::sync::Arc;

use holdfast_protocol::dialect::{is_device, is_user};
use serde::Deserialize;
use serde_json::{Map, Number, Value};

use super::{Identity, Refusal, RoomPatterns};

/// Longest `jti`: it is compared on each `expire`, and shown nowhere.
const JTI_BYTES_MAX: usize = 200;

/// The claims that mean something here, not judged yet. Others are ignored; one that is there twice is an error.
#[derive(Deserialize, Default)]
pub(super) struct Claims {
    pub(super) sub: Option<Value>,
    pub(super) exp: Option<Value>,
    pub(super) nbf: Option<Value>,
    pub(super) aud: Option<Value>,
    pub(super) iss: Option<Value>,
    pub(super) jti: Option<Value>,
    pub(super) device: Option<Value>,
    pub(super) rooms: Option<Value>,
    pub(super) attributes: Option<Value>,
    pub(super) roles: Option<Value>,
}

impl Claims {
    /// Checks `aud` and `iss` against what is expected, where anything is.
    pub(super) fn check_audience(&self, audiences: &[String], issuers: &[String]) -> Result<(), Refusal> {
        let names = |claim: &Option<Value>, expected: &[String]| {
            let is_expected = |name: &Value| name.as_str().is_some_and(|name| expected.iter().any(|e| e == name));
            expected.is_empty()
                || match claim {
                    Some(Value::Array(names)) => names.iter().any(is_expected),
                    Some(name) => is_expected(name),
                    None => false,
                }
        };
        if names(&self.aud, audiences) && names(&self.iss, issuers) { Ok(()) } else { Err(Refusal::Invalid) }
    }

    /// Who it is, at this Unix second.
    pub(super) fn identity(self, now_unix_s: u64) -> Result<Identity, Refusal> {
        let expires = seconds(self.exp)?;
        if expires.is_some_and(|expires| now_unix_s >= expires) {
            return Err(Refusal::Expired);
        }
        if seconds(self.nbf)?.is_some_and(|not_before| now_unix_s < not_before) {
            return Err(Refusal::Invalid);
        }
        let attributes = attributes(self.attributes)?;
        let roles = match self.roles {
            Some(roles) => joined(&roles)?,
            None => match attributes.as_ref().and_then(|attributes| attributes.get("role")) {
                Some(role @ (Value::String(_) | Value::Array(_))) => joined(role)?,
                _ => None,
            },
        };
        Ok(Identity {
            user: user(self.sub)?,
            device: device(self.device)?,
            attributes: attributes.map(Arc::new),
            roles,
            rooms: RoomPatterns::new(patterns(self.rooms)?),
            expires,
            jti: jti(self.jti)?,
        })
    }
}

fn user(claim: Option<Value>) -> Result<Arc<str>, Refusal> {
    let user = match claim {
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) => number.to_string(),
        _ => return Err(Refusal::Invalid),
    };
    if is_user(&user) { Ok(user.into()) } else { Err(Refusal::Invalid) }
}

fn device(claim: Option<Value>) -> Result<Option<Arc<str>>, Refusal> {
    match claim {
        None => Ok(None),
        Some(Value::String(device)) if is_device(&device) => Ok(Some(device.into())),
        Some(_) => Err(Refusal::Invalid),
    }
}

fn jti(claim: Option<Value>) -> Result<Option<Arc<str>>, Refusal> {
    match claim {
        None => Ok(None),
        Some(Value::String(jti)) if jti.len() <= JTI_BYTES_MAX && is_clean(&jti) => Ok(Some(jti.into())),
        Some(_) => Err(Refusal::Invalid),
    }
}

/// A time as RFC 7519 has it: seconds, perhaps with a fraction. One before 1970 is long past.
fn seconds(claim: Option<Value>) -> Result<Option<u64>, Refusal> {
    let number = match claim {
        None => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(Refusal::Invalid),
    };
    Ok(Some(number.as_u64().unwrap_or_else(|| whole(&number))))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates: negative is 0, huge is the end of time"
)]
fn whole(number: &Number) -> u64 {
    number.as_f64().unwrap_or(0.0) as u64
}

fn patterns(claim: Option<Value>) -> Result<Vec<String>, Refusal> {
    let Some(claim) = claim else { return Ok(Vec::new()) };
    let Value::Array(patterns) = claim else { return Err(Refusal::Invalid) };
    patterns
        .into_iter()
        .map(|pattern| match pattern {
            Value::String(pattern) => Ok(pattern),
            _ => Err(Refusal::Invalid),
        })
        .collect()
}

fn attributes(claim: Option<Value>) -> Result<Option<Map<String, Value>>, Refusal> {
    match claim {
        None => Ok(None),
        Some(value @ Value::Object(_)) if !all_clean(&value) => Err(Refusal::Invalid),
        Some(Value::Object(map)) => Ok((!map.is_empty()).then_some(map)),
        Some(_) => Err(Refusal::Invalid),
    }
}

/// Roles travel in one header, joined by commas.
fn joined(roles: &Value) -> Result<Option<Arc<str>>, Refusal> {
    let one = [roles.clone()];
    let list = roles.as_array().map_or(&one[..], Vec::as_slice);
    let mut text = String::new();
    for role in list {
        let role = role.as_str().ok_or(Refusal::Invalid)?;
        if role.is_empty() || role.contains(',') || role.trim() != role || !is_clean(role) {
            return Err(Refusal::Invalid);
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(role);
    }
    Ok((!text.is_empty()).then(|| text.into()))
}

fn is_clean(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Depth is bounded by the parser's own limit.
fn all_clean(value: &Value) -> bool {
    match value {
        Value::String(text) => is_clean(text),
        Value::Array(items) => items.iter().all(all_clean),
        Value::Object(map) => map.iter().all(|(name, value)| is_clean(name) && all_clean(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}
