//! Signature algorithms, JWKS files and URLs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdfast_harness::http::StaticServer;
use holdfast_harness::{Claims, Cluster, Folder, eventually};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value, json};

/// A key pair, how to sign with it, and its entry in a key set.
struct Signer {
    id: &'static str,
    pair: KeyPair,
    key: EncodingKey,
    jwk: Value,
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The two numbers of a PKCS #1 public key, without leading zeros.
fn rsa_numbers(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    fn value(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, rest) = match der[1] {
            short @ 0..=127 => (usize::from(short), &der[2..]),
            0x81 => (usize::from(der[2]), &der[3..]),
            _ => (usize::from(u16::from_be_bytes([der[2], der[3]])), &der[4..]),
        };
        rest.split_at(length)
    }
    let (sequence, _) = value(der);
    let (modulus, rest) = value(sequence);
    let (exponent, _) = value(rest);
    let trimmed = |number: &[u8]| number.iter().copied().skip_while(|&byte| byte == 0).collect();
    (trimmed(modulus), trimmed(exponent))
}

fn elliptic(id: &'static str, curve: &str, algorithm: &'static rcgen::SignatureAlgorithm) -> Signer {
    let pair = KeyPair::generate_for(algorithm).expect("make a key");
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("read it back");
    let point = &pair.public_key_raw()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({"kid": id, "kty": "EC", "crv": curve, "x": b64(x), "y": b64(y), "use": "sig"});
    Signer { id, pair, key, jwk }
}

fn rsa(id: &'static str) -> Signer {
    let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("make a key");
    let key = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).expect("read it back");
    let (n, e) = rsa_numbers(pair.public_key_raw());
    let jwk = json!({"kid": id, "kty": "RSA", "n": b64(&n), "e": b64(&e), "use": "sig"});
    Signer { id, pair, key, jwk }
}

fn edwards(id: &'static str) -> Signer {
    let pair = KeyPair::generate_for(&PKCS_ED25519).expect("make a key");
    let key = EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).expect("read it back");
    let jwk = json!({"kid": id, "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key_raw()), "use": "sig"});
    Signer { id, pair, key, jwk }
}

impl Signer {
    fn token(&self, algorithm: Algorithm, user: &str) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(algorithm) };
        Claims::of(user).sign_with(&header, &self.key)
    }
}

#[tokio::test]
async fn tokens_of_every_algorithm_are_verified_by_a_key_set() {
    let folder = Folder::new();
    let (rsa, p256, p384, ed) = (
        rsa("rsa"),
        elliptic("p256", "P-256", &PKCS_ECDSA_P256_SHA256),
        elliptic("p384", "P-384", &PKCS_ECDSA_P384_SHA384),
        edwards("ed"),
    );
    let file = folder.path().join("keys.json");
    let set = json!({"keys": [rsa.jwk, p256.jwk, p384.jwk, ed.jwk]});
    std::fs::write(&file, set.to_string()).expect("write the key set");
    let cluster = Cluster::builder()
        .without_secret()
        .gateway_setting("HOLDFAST_AUTH__JWT__JWKS", &file.display().to_string())
        .start()
        .await;
    let good = [
        (&rsa, Algorithm::RS256),
        (&rsa, Algorithm::RS512),
        (&rsa, Algorithm::PS256),
        (&rsa, Algorithm::PS384),
        (&p256, Algorithm::ES256),
        (&p384, Algorithm::ES384),
        (&ed, Algorithm::EdDSA),
    ];

    for (signer, algorithm) in good {
        let user = format!("{algorithm:?}");
        let client = cluster.gateway(0).client().bearer(&signer.token(algorithm, &user)).open().await;
        assert_eq!(client.welcome("user"), user);
    }

    let stranger = elliptic("p256", "P-256", &PKCS_ECDSA_P256_SHA256).token(Algorithm::ES256, "eve");
    // The classic confusion: the public key as if it were a shared secret.
    let public = EncodingKey::from_secret(p256.pair.public_key_pem().as_bytes());
    let confused = Claims::of("eve").sign_with(&Header { kid: Some("p256".into()), ..Header::default() }, &public);
    for token in [stranger, confused, Claims::of("eve").unsigned(), Claims::of("eve").sign()] {
        assert_eq!(cluster.gateway(0).client().bearer(&token).refused().await.status, 401);
    }
}

#[tokio::test]
async fn unknown_key_id_makes_the_gateway_fetch_the_key_set_again() {
    let old = elliptic("old", "P-256", &PKCS_ECDSA_P256_SHA256);
    let new = elliptic("new", "P-256", &PKCS_ECDSA_P256_SHA256);
    let server = StaticServer::start(&json!({"keys": [old.jwk]}).to_string()).await;
    let cluster =
        Cluster::builder().without_secret().gateway_setting("HOLDFAST_AUTH__JWT__JWKS", &server.url()).start().await;
    let client = |signer: &Signer| cluster.gateway(0).client().bearer(&signer.token(Algorithm::ES256, "ana"));
    client(&old).open().await;

    server.set(&json!({"keys": [old.jwk, new.jwk]}).to_string());
    eventually("a token of the new key is accepted", async || match client(&new).try_open().await {
        Ok(_) => Ok(()),
        Err(answer) => Err(format!("{answer:?}")),
    })
    .await;
    drop(server);

    client(&old).open().await;
    client(&new).open().await;
}

#[tokio::test]
async fn tokens_are_verified_by_a_public_key_in_pem() {
    let folder = Folder::new();
    let signer = elliptic("any", "P-256", &PKCS_ECDSA_P256_SHA256);
    let file = folder.path().join("public.pem");
    std::fs::write(&file, signer.pair.public_key_pem()).expect("write the key");
    let cluster = Cluster::builder()
        .without_secret()
        .gateway_setting("HOLDFAST_AUTH__JWT__PEM", &file.display().to_string())
        .start()
        .await;

    let client = cluster.gateway(0).client().bearer(&signer.token(Algorithm::ES256, "ana")).open().await;
    assert_eq!(client.welcome("user"), "ana");

    let public = EncodingKey::from_secret(signer.pair.public_key_pem().as_bytes());
    let confused = Claims::of("eve").sign_with(&Header::default(), &public);
    assert_eq!(cluster.gateway(0).client().bearer(&confused).refused().await.status, 401);
}
