//! Tokens that name users: right ones, and wrong ones for those who must refuse them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

/// The secret that every gateway of a test is given.
pub const SECRET: &str = "a secret of the tests: 0123456789abcdef";

/// Seconds since 1970.
pub fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(now.as_secs()).expect("the clock is before the year 292 billion")
}

/// Claims of a token.
#[derive(Debug, Clone)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// Claims of `user`, who may join every room, good for ten minutes.
    pub fn of(user: &str) -> Self {
        Self(Map::new()).with("sub", user).with("rooms", json!(["**"])).expires_in(600)
    }

    /// Sets a claim, whatever its type.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// Sets `exp`; negative seconds are in the past.
    #[must_use]
    pub fn expires_in(self, seconds: i64) -> Self {
        self.with("exp", unix_now() + seconds)
    }

    /// Sets `device`.
    #[must_use]
    pub fn device(self, device: &str) -> Self {
        self.with("device", device)
    }

    /// Sets the patterns of rooms the user may join.
    #[must_use]
    pub fn rooms(self, patterns: &[&str]) -> Self {
        self.with("rooms", json!(patterns))
    }

    /// Sets `attributes`.
    #[must_use]
    pub fn attributes(self, attributes: Value) -> Self {
        self.with("attributes", attributes)
    }

    /// The token, signed with [`SECRET`].
    pub fn sign(&self) -> String {
        self.sign_with(&Header::new(Algorithm::HS256), &EncodingKey::from_secret(SECRET.as_bytes()))
    }

    /// The token, signed with any key.
    ///
    /// # Panics
    /// If key and algorithm do not go together.
    pub fn sign_with(&self, header: &Header, key: &EncodingKey) -> String {
        jsonwebtoken::encode(header, &self.0, key).expect("sign a token")
    }

    /// The token with algorithm `none` and no signature.
    pub fn unsigned(&self) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(&Value::Object(self.0.clone())))
    }
}
