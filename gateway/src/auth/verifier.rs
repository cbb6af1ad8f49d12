//! Tokens against keys: synchronous, over an immutable snapshot of the keys, so that each thread can decide alone.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use holdfast_daemon::config::Secret;
use jsonwebtoken::Algorithm;

use super::claims::Claims;
use super::keys::{self, Key, KeyError};
use super::{Identity, Refusal};

/// Longest token that is looked at. Larger ones do not fit into a request's head anyway.
const TOKEN_BYTES_MAX: usize = 32 * 1024;

/// What tokens are verified with, and against.
#[derive(Debug, Clone, Default)]
pub struct JwtSettings {
    /// An HMAC secret: its raw bytes.
    pub secret: Option<Secret>,
    /// Public keys in PEM, or the path of a file with them.
    pub pem: Option<String>,
    /// Whether keys will come from a key set ([`super::Jwks`]).
    pub jwks: bool,
    /// Algorithms allowed besides what each key allows; empty for no further limit. See [`super::algorithm`].
    pub algorithms: Vec<Algorithm>,
    /// A token's `aud` must name one of these; empty: not checked.
    pub audiences: Vec<String>,
    /// A token's `iss` must be one of these; empty: not checked.
    pub issuers: Vec<String>,
}

/// Verifies tokens. One per process, shared by all threads.
#[derive(Debug)]
pub struct Verifier {
    fixed: Vec<Key>,
    /// Keys of the key set. `None` until it was read once, if there is one.
    set: ArcSwapOption<Vec<Key>>,
    has_set: bool,
    algorithms: Vec<Algorithm>,
    audiences: Vec<String>,
    issuers: Vec<String>,
}

impl Verifier {
    /// A verifier with the keys that are there at once.
    ///
    /// # Errors
    /// A key that cannot be used.
    pub fn new(settings: &JwtSettings) -> Result<Self, KeyError> {
        let mut fixed = Vec::new();
        if let Some(secret) = &settings.secret {
            fixed.push(Key::from_secret(secret.expose().as_bytes(), &settings.algorithms)?);
        }
        if let Some(pem) = &settings.pem {
            fixed.extend(Key::from_pem(&keys::text_or_file(pem)?, &settings.algorithms)?);
        }
        Ok(Self {
            fixed,
            set: ArcSwapOption::empty(),
            has_set: settings.jwks,
            algorithms: settings.algorithms.clone(),
            audiences: settings.audiences.clone(),
            issuers: settings.issuers.clone(),
        })
    }

    /// Whether any token could ever be verified.
    pub fn has_keys(&self) -> bool {
        self.has_set || !self.fixed.is_empty()
    }

    /// Takes the keys of a key set in place of those it had; the set's keys stay where it is not usable.
    ///
    /// # Errors
    /// No key set, or none with a usable key.
    pub(super) fn replace_set(&self, json: &[u8]) -> Result<usize, KeyError> {
        let keys = Key::from_set(json, &self.algorithms)?;
        let count = keys.len();
        self.set.store(Some(Arc::new(keys)));
        Ok(count)
    }

    /// Whether keys of the key set are there.
    pub(super) fn has_fetched(&self) -> bool {
        self.set.load().is_some()
    }

    /// Who a token makes at this Unix second.
    ///
    /// # Errors
    /// [`Refusal::UnknownKey`] where newer keys might help, [`Refusal::Unavailable`] where no keys are there yet, else
    /// what is wrong with the token.
    pub fn verify(&self, token: &str, now_unix_s: u64) -> Result<Identity, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Invalid)?;
        // RFC 7515 §4.1.11: extensions that must be understood, and none is.
        if header.crit.is_some() {
            return Err(Refusal::Invalid);
        }
        let set = self.set.load();
        let keys = self.fixed.iter().chain(set.as_deref().into_iter().flatten());
        let mut tried = false;
        for key in keys.filter(|key| key.fits(header.kid.as_deref(), header.alg)) {
            tried = true;
            if let Ok(data) = jsonwebtoken::decode::<Claims>(token, &key.key, &key.validation) {
                data.claims.check_audience(&self.audiences, &self.issuers)?;
                return data.claims.identity(now_unix_s);
            }
        }
        Err(match (self.has_set, set.is_some()) {
            (true, false) => Refusal::Unavailable,
            // Where a key of that name is there and did not sign it, newer ones cannot help.
            (true, true) if !tried && header.kid.is_some() => Refusal::UnknownKey,
            _ => Refusal::Invalid,
        })
    }
}

#[cfg(test)]
mod tests;
