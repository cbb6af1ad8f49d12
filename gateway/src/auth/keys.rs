//! Keys that credentials may be signed with, each with the algorithms it is good for.
//!
//! The allow-list follows from the key, never from the token: a public key verifies no HMAC, and nothing verifies
//! `none`.

use std::path::Path;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};

/// RFC 7518 §3.2: an HMAC key is at least as long as the hash.
const SECRET_BYTES_MIN: usize = 32;
/// More keys than any issuer rotates through.
const KEYS_MAX: usize = 100;

/// Why a key cannot be used. Says nothing of the key itself.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// An HMAC secret that can be guessed.
    #[error("the secret is shorter than {SECRET_BYTES_MIN} bytes")]
    ShortSecret,
    /// No PEM, or none of a public key of a known type.
    #[error("not a PEM public key (RSA, P-256, P-384 or Ed25519)")]
    Pem,
    /// A file that cannot be read.
    #[error("cannot read {path}")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// No JSON of that form.
    #[error("not a JSON Web Key Set")]
    Set(#[source] serde_json::Error),
    /// A set without a key that could verify anything.
    #[error("no usable key in the JSON Web Key Set")]
    EmptySet,
    /// A name that is no algorithm of ours.
    #[error("unknown algorithm {0}")]
    Algorithm(String),
    /// None of the allowed algorithms is one of the key's.
    #[error("the key is good for none of the allowed algorithms")]
    NoAlgorithm,
    /// The address of a key set.
    #[error("not an http:// or https:// URL")]
    Url,
}

/// A key, ready to verify.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) key: DecodingKey,
    /// Signature alone: times and names are checked by `claims`, against the caller's clock.
    pub(super) validation: Validation,
}

/// The algorithm of this name: HS, RS and PS with 256, 384 or 512, ES256, ES384, EdDSA.
///
/// # Errors
/// Any other name, `none` above all.
pub fn algorithm(name: &str) -> Result<Algorithm, KeyError> {
    name.parse().map_err(|_| KeyError::Algorithm(name.to_owned()))
}

impl Key {
    fn new(kid: Option<String>, key: DecodingKey, algorithms: &[Algorithm], allowed: &[Algorithm]) -> Option<Self> {
        let algorithms: Vec<_> =
            algorithms.iter().copied().filter(|one| allowed.is_empty() || allowed.contains(one)).collect();
        let mut validation = Validation::new(*algorithms.first()?);
        validation.algorithms = algorithms;
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        Some(Self { kid, key, validation })
    }

    /// An HMAC key.
    pub(super) fn from_secret(secret: &[u8], allowed: &[Algorithm]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret);
        }
        let key = DecodingKey::from_secret(secret);
        Self::new(None, key, AlgorithmFamily::Hmac.algorithms(), allowed).ok_or(KeyError::NoAlgorithm)
    }

    /// A public key, or several in one text.
    pub(super) fn from_pem(pem: &str, allowed: &[Algorithm]) -> Result<Vec<Self>, KeyError> {
        let mut keys = Vec::new();
        let mut rest = pem;
        while let Some(start) = rest.find("-----BEGIN") {
            let (_, block) = rest.split_at(start);
            let end_line = block.find("-----END").ok_or(KeyError::Pem)?;
            let end =
                block.bytes().skip(end_line).position(|byte| byte == b'\n').map_or(block.len(), |at| end_line + at);
            let (block, after) = block.split_at(end);
            if block.contains("PRIVATE KEY") {
                return Err(KeyError::Pem);
            }
            let (key, algorithms) = public_key(block.as_bytes()).ok_or(KeyError::Pem)?;
            keys.push(Self::new(None, key, algorithms, allowed).ok_or(KeyError::NoAlgorithm)?);
            rest = after;
        }
        if keys.is_empty() || keys.len() > KEYS_MAX { Err(KeyError::Pem) } else { Ok(keys) }
    }

    /// The usable keys of a key set: public ones for signatures. Others (encryption, symmetric, unknown types) are
    /// skipped, as RFC 7517 §5 asks.
    pub(super) fn from_set(json: &[u8], allowed: &[Algorithm]) -> Result<Vec<Self>, KeyError> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(KeyError::Set)?;
        let usable = set.keys.into_iter().filter_map(|value| serde_json::from_value::<Jwk>(value).ok());
        let keys: Vec<_> = usable.filter_map(|jwk| Self::from_jwk(&jwk, allowed)).take(KEYS_MAX).collect();
        if keys.is_empty() { Err(KeyError::EmptySet) } else { Ok(keys) }
    }

    fn from_jwk(jwk: &Jwk, allowed: &[Algorithm]) -> Option<Self> {
        let signs = jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let verifies =
            jwk.common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !(signs && verifies) {
            return None;
        }
        let family: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms(),
            AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(parameters) => match parameters.curve {
                EllipticCurve::Ed25519 => AlgorithmFamily::Ed.algorithms(),
                _ => return None,
            },
            // A symmetric key in a document made for publishing is a leak, not a key.
            _ => return None,
        };
        let own: Vec<_> = match jwk.common.key_algorithm {
            None => family.to_vec(),
            Some(name) => Algorithm::try_from(name).ok().filter(|one| family.contains(one)).into_iter().collect(),
        };
        Self::new(jwk.common.key_id.clone(), DecodingKey::from_jwk(jwk).ok()?, &own, allowed)
    }

    /// Whether a token with this header may be signed with this key.
    pub(super) fn fits(&self, kid: Option<&str>, algorithm: Algorithm) -> bool {
        let named = match (kid, self.kid.as_deref()) {
            (Some(wanted), Some(own)) => wanted == own,
            _ => true,
        };
        named && self.validation.algorithms.contains(&algorithm)
    }
}

fn public_key(pem: &[u8]) -> Option<(DecodingKey, &'static [Algorithm])> {
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        // The curve shows in the length of the point: one byte, then two coordinates.
        return match key.try_get_as_bytes().map(<[u8]>::len) {
            Ok(65) => Some((key, &[Algorithm::ES256])),
            Ok(97) => Some((key, &[Algorithm::ES384])),
            _ => None,
        };
    }
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        return Some((key, &[Algorithm::EdDSA]));
    }
    let key = DecodingKey::from_rsa_pem(pem).ok()?;
    Some((
        key,
        &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512],
    ))
}

/// Text that is given itself or by the path of a file.
pub(super) fn text_or_file(setting: &str) -> Result<String, KeyError> {
    if setting.contains("-----BEGIN") { Ok(setting.to_owned()) } else { read(Path::new(setting)) }
}

/// A file as text.
pub(super) fn read(path: &Path) -> Result<String, KeyError> {
    std::fs::read_to_string(path).map_err(|error| KeyError::File { path: path.display().to_string(), error })
}
