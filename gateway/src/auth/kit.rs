//! Keys made for a test, and tokens signed with them.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value, json};

/// An HMAC secret of the shortest length allowed.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A key that signs.
pub(super) struct Signer {
    key: EncodingKey,
    pub(super) algorithm: Algorithm,
    /// The public key in PEM, where there is one.
    pub(super) pem: String,
}

impl Signer {
    pub(super) fn secret(secret: &str, algorithm: Algorithm) -> Self {
        Self { key: EncodingKey::from_secret(secret.as_bytes()), algorithm, pem: String::new() }
    }

    pub(super) fn new(algorithm: Algorithm) -> Self {
        let generate = |kind| KeyPair::generate_for(kind).unwrap();
        let (pair, key) = match algorithm {
            Algorithm::ES256 => {
                let pair = generate(&PKCS_ECDSA_P256_SHA256);
                let key = EncodingKey::from_ec_der(pair.serialized_der());
                (pair, key)
            }
            Algorithm::ES384 => {
                let pair = generate(&PKCS_ECDSA_P384_SHA384);
                let key = EncodingKey::from_ec_der(pair.serialized_der());
                (pair, key)
            }
            Algorithm::EdDSA => {
                let pair = generate(&PKCS_ED25519);
                let key = EncodingKey::from_ed_der(pair.serialized_der());
                (pair, key)
            }
            _ => {
                let pair = generate(&PKCS_RSA_SHA256);
                let key = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
                (pair, key)
            }
        };
        Self { key, algorithm, pem: pair.public_key_pem() }
    }

    /// A token with these claims, named after `kid`.
    pub(super) fn token_by(&self, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }

    pub(super) fn token(&self, claims: &Value) -> String {
        self.token_by(None, claims)
    }

    /// The public key as a JSON Web Key.
    pub(super) fn jwk(&self, kid: Option<&str>) -> Value {
        let pem = self.pem.as_bytes();
        let key = match self.algorithm {
            Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(pem),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
            _ => DecodingKey::from_rsa_pem(pem),
        };
        let jwk = Jwk::from_decoding_key(&key.unwrap(), Some(self.algorithm)).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        let fields = jwk.as_object_mut().unwrap();
        if let Some(kid) = kid {
            fields.insert("kid".to_owned(), json!(kid));
        }
        jwk
    }
}

/// A key set of these keys.
pub(super) fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}
