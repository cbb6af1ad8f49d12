//! Tokens: which are believed, what they say, and why others are refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::auth::kit::{SECRET, Signer, set};

const NOW: u64 = 1_000_000;

fn by_secret() -> JwtSettings {
    JwtSettings { secret: Some(Secret::new(SECRET)), ..JwtSettings::default() }
}

fn verifier() -> Verifier {
    Verifier::new(&by_secret()).unwrap()
}

fn hs256() -> Signer {
    Signer::secret(SECRET, Algorithm::HS256)
}

#[track_caller]
fn check(claims: &Value, expected: Result<&str, Refusal>) {
    let user = verifier().verify(&hs256().token(claims), NOW).map(|identity| identity.user);
    assert_eq!(user.as_deref(), expected.as_ref().copied(), "{claims}");
}

#[test]
fn each_algorithm_verifies_with_its_own_key_alone() {
    let rsa = Signer::new(Algorithm::RS256);
    let others = [Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES384), Signer::new(Algorithm::EdDSA)];
    let claims = json!({"sub": "ana", "exp": NOW + 1});
    for signer in others.iter().chain([&rsa]) {
        let settings = JwtSettings { pem: Some(signer.pem.clone()), ..JwtSettings::default() };
        let verifier = Verifier::new(&settings).unwrap();

        assert!(verifier.verify(&signer.token(&claims), NOW).is_ok(), "{:?}", signer.algorithm);
        for stranger in others.iter().chain([&rsa]).filter(|other| other.algorithm != signer.algorithm) {
            assert_eq!(verifier.verify(&stranger.token(&claims), NOW), Err(Refusal::Invalid));
        }
        let same_kind = Signer::new(signer.algorithm);
        assert_eq!(verifier.verify(&same_kind.token(&claims), NOW), Err(Refusal::Invalid), "another key");
        // The old confusion: a public key, which everybody has, used as an HMAC secret.
        let confused = Signer::secret(&signer.pem, Algorithm::HS256);
        assert_eq!(verifier.verify(&confused.token(&claims), NOW), Err(Refusal::Invalid));
    }
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        assert!(verifier().verify(&Signer::secret(SECRET, algorithm).token(&claims), NOW).is_ok(), "{algorithm:?}");
    }
}

#[test]
fn one_rsa_key_verifies_pkcs1_and_pss() {
    let mut rsa = Signer::new(Algorithm::RS256);
    let settings = JwtSettings { pem: Some(rsa.pem.clone()), ..JwtSettings::default() };
    let verifier = Verifier::new(&settings).unwrap();
    let only_pss = Verifier::new(&JwtSettings { algorithms: vec![Algorithm::PS256], ..settings }).unwrap();
    for algorithm in
        [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512]
    {
        rsa.algorithm = algorithm;
        let token = rsa.token(&json!({"sub": "ana"}));

        assert!(verifier.verify(&token, NOW).is_ok(), "{algorithm:?}");
        assert_eq!(only_pss.verify(&token, NOW).is_ok(), algorithm == Algorithm::PS256, "{algorithm:?}");
    }
}

#[test]
fn several_keys_in_one_pem_are_all_good() {
    let (old, new) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::EdDSA));
    let pem = format!("# old\n{}\n# new\n{}", old.pem, new.pem);
    let verifier = Verifier::new(&JwtSettings { pem: Some(pem), ..JwtSettings::default() }).unwrap();

    for signer in [old, new] {
        assert!(verifier.verify(&signer.token(&json!({"sub": "ana"})), NOW).is_ok());
    }
}

#[test]
fn what_is_no_token_of_ours_is_invalid() {
    let good = hs256().token(&json!({"sub": "ana"}));
    let (unsigned, signature) = good.rsplit_once('.').unwrap();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", part(json!({"alg": "none"})), part(json!({"sub": "ana"})));
    let huge = format!("{good}{}", "A".repeat(TOKEN_BYTES_MAX));
    for token in [
        "",
        "abc",
        "a.b.c",
        "..",
        &none,
        &none.replace("none", "None"),
        &format!("{unsigned}."),
        unsigned,
        &format!("{good}.x"),
        &format!(" {good}"),
        &format!("{unsigned}.{signature}="),
        &Signer::secret("another secret of thirty-two byte", Algorithm::HS256).token(&json!({"sub": "ana"})),
        &"x".repeat(6000),
        &huge,
    ] {
        let shown: String = token.chars().take(40).collect();
        assert_eq!(verifier().verify(token, NOW), Err(Refusal::Invalid), "{shown}");
    }
    assert!(verifier().verify(&good, NOW).is_ok());
}

#[test]
fn extensions_that_must_be_understood_are_not() {
    let header =
        jsonwebtoken::Header { crit: Some(vec!["b64".to_owned()]), ..jsonwebtoken::Header::new(Algorithm::HS256) };
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&header, &json!({"sub": "ana"}), &key).unwrap();

    assert_eq!(verifier().verify(&token, NOW), Err(Refusal::Invalid));
}

#[test]
fn a_subject_is_a_string_or_a_number() {
    let longest = "x".repeat(200);
    let too_long = "x".repeat(201);
    for (sub, user) in [
        (json!("42"), Ok("42")),
        (json!(4711), Ok("4711")),
        (json!(-1), Ok("-1")),
        (json!("ü.*> 42/한"), Ok("ü.*> 42/한")),
        (json!(longest), Ok(longest.as_str())),
        (json!(too_long), Err(Refusal::Invalid)),
        (json!(""), Err(Refusal::Invalid)),
        (json!(" ana"), Err(Refusal::Invalid)),
        (json!("ana\u{3000}"), Err(Refusal::Invalid)),
        (json!("a\r\nb"), Err(Refusal::Invalid)),
        (json!("a\u{85}b"), Err(Refusal::Invalid)),
        (json!(true), Err(Refusal::Invalid)),
        (json!({"a": 1}), Err(Refusal::Invalid)),
        (json!(["a"]), Err(Refusal::Invalid)),
        (Value::Null, Err(Refusal::Invalid)),
    ] {
        check(&json!({"sub": sub}), user);
    }
    check(&json!({}), Err(Refusal::Invalid));
}

#[test]
fn times_are_exact() {
    for (claims, user) in [
        (json!({"exp": NOW + 1}), Ok("a")),
        (json!({"exp": NOW}), Err(Refusal::Expired)),
        (json!({"exp": NOW - 3600}), Err(Refusal::Expired)),
        (json!({"exp": -5}), Err(Refusal::Expired)),
        (json!({"exp": 1_000_000.5}), Err(Refusal::Expired)),
        (json!({"exp": 1e300}), Ok("a")),
        (json!({"exp": "1000001"}), Err(Refusal::Invalid)),
        (json!({"exp": null}), Ok("a")),
        (json!({"nbf": NOW}), Ok("a")),
        (json!({"nbf": NOW + 1}), Err(Refusal::Invalid)),
        (json!({"nbf": "soon"}), Err(Refusal::Invalid)),
        (json!({"iat": NOW + 1000}), Ok("a")),
    ] {
        let mut claims = claims;
        claims["sub"] = json!("a");
        check(&claims, user);
    }
}

#[test]
fn claims_that_travel_in_headers_are_clean() {
    let long_device = "x".repeat(65);
    for (name, value) in [
        ("device", json!("")),
        ("device", json!("a\nb")),
        ("device", json!(" a")),
        ("device", json!(long_device)),
        ("device", json!(7)),
        ("jti", json!(7)),
        ("jti", json!("a\u{0}")),
        ("jti", json!("x".repeat(201))),
        ("rooms", json!("chat/*")),
        ("rooms", json!([1])),
        ("roles", json!("a,b")),
        ("roles", json!(["a", "b,c"])),
        ("roles", json!(["a", 7])),
        ("roles", json!(["a\r\n"])),
        ("roles", json!([""])),
        ("roles", json!({"a": 1})),
        ("attributes", json!("admin")),
        ("attributes", json!([])),
        ("attributes", json!({"role": "a,b"})),
        ("attributes", json!({"a": {"b": ["c\u{7}"]}})),
        ("attributes", json!({"a\n": 1})),
    ] {
        let mut claims = json!({"sub": "a"});
        claims[name] = value;
        check(&claims, Err(Refusal::Invalid));
    }
}

#[test]
fn claims_become_an_identity() {
    let claims = json!({
        "sub": "ana", "exp": NOW + 60, "jti": "j1", "device": "ios", "rooms": ["chat/*", "news"],
        "attributes": {"role": "admin", "plan": "pro"}, "aud": "whoever", "more": {"deep": [1]},
    });

    let identity = verifier().verify(&hs256().token(&claims), NOW).unwrap();

    assert_eq!((identity.device.as_deref(), identity.jti.as_deref()), (Some("ios"), Some("j1")));
    assert_eq!((identity.expires, identity.roles.as_deref()), (Some(NOW + 60), Some("admin")));
    assert_eq!(identity.attributes.map(|map| Value::Object((*map).clone())), Some(claims["attributes"].clone()));
    assert!(identity.rooms.allow("chat/5") && identity.rooms.allow("news") && !identity.rooms.allow("x"));
}

#[test]
fn roles_are_the_claim_else_the_attribute() {
    for (claims, roles) in [
        (json!({"roles": ["a", "b"]}), Some("a,b")),
        (json!({"roles": "a"}), Some("a")),
        (json!({"roles": [], "attributes": {"role": "x"}}), None),
        (json!({"attributes": {"role": "x"}}), Some("x")),
        (json!({"attributes": {"role": ["x", "y"]}}), Some("x,y")),
        (json!({"attributes": {"role": 7}}), None),
        (json!({"attributes": {}}), None),
        (json!({}), None),
    ] {
        let mut claims = claims;
        claims["sub"] = json!("a");
        let identity = verifier().verify(&hs256().token(&claims), NOW).unwrap();
        assert_eq!(identity.roles.as_deref(), roles, "{claims}");
    }
}

#[test]
fn without_rooms_there_is_nothing_to_join() {
    for rooms in [Value::Null, json!([])] {
        let identity = verifier().verify(&hs256().token(&json!({"sub": "a", "rooms": rooms})), NOW).unwrap();
        assert!(!identity.rooms.allow("x"));
    }
}

#[test]
fn a_claim_that_is_there_twice_is_refused() {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let head = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(r#"{"sub":"ana","sub":"root"}"#));
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(head.as_bytes(), &key, Algorithm::HS256).unwrap();

    assert_eq!(verifier().verify(&format!("{head}.{signature}"), NOW), Err(Refusal::Invalid));
}

#[test]
fn audience_and_issuer_count_where_configured() {
    let verifier = Verifier::new(&JwtSettings {
        audiences: vec!["chat".to_owned(), "feed".to_owned()],
        issuers: vec!["https://id.example".to_owned()],
        ..by_secret()
    })
    .unwrap();
    for (aud, iss, good) in [
        (json!("chat"), json!("https://id.example"), true),
        (json!(["x", "feed"]), json!("https://id.example"), true),
        (json!("x"), json!("https://id.example"), false),
        (json!([]), json!("https://id.example"), false),
        (Value::Null, json!("https://id.example"), false),
        (json!("chat"), json!("https://id.example/"), false),
        (json!("chat"), Value::Null, false),
        (json!(7), json!("https://id.example"), false),
    ] {
        let token = hs256().token(&json!({"sub": "a", "aud": aud, "iss": iss}));
        assert_eq!(verifier.verify(&token, NOW).is_ok(), good, "{aud} {iss}");
    }
}

#[test]
fn keys_of_a_set_are_found_by_name() {
    let (one, two) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::EdDSA));
    let verifier = Verifier::new(&JwtSettings { jwks: true, ..JwtSettings::default() }).unwrap();
    let claims = json!({"sub": "ana"});
    assert_eq!(verifier.verify(&one.token_by(Some("k1"), &claims), NOW), Err(Refusal::Unavailable), "no keys yet");

    assert_eq!(verifier.replace_set(&set(&[one.jwk(Some("k1")), two.jwk(Some("k2"))])).unwrap(), 2);

    assert!(verifier.verify(&one.token_by(Some("k1"), &claims), NOW).is_ok());
    assert!(verifier.verify(&two.token_by(Some("k2"), &claims), NOW).is_ok());
    assert!(verifier.verify(&two.token_by(None, &claims), NOW).is_ok(), "a token without a name: each key is tried");
    assert_eq!(
        verifier.verify(&one.token_by(Some("k2"), &claims), NOW),
        Err(Refusal::UnknownKey),
        "not an Ed25519 key"
    );
    assert_eq!(verifier.verify(&one.token_by(Some("k3"), &claims), NOW), Err(Refusal::UnknownKey));
    let stranger = Signer::new(Algorithm::ES256);
    assert_eq!(verifier.verify(&stranger.token_by(Some("k1"), &claims), NOW), Err(Refusal::Invalid));
}

#[test]
fn only_public_signature_keys_of_a_set_count() {
    let signer = Signer::new(Algorithm::ES256);
    let verifier = || Verifier::new(&JwtSettings { jwks: true, ..JwtSettings::default() }).unwrap();
    let with = |name: &str, value: Value| {
        let mut jwk = signer.jwk(None);
        jwk[name] = value;
        jwk
    };
    let secret = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "alg": "HS256"});
    let unknown = json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "x"});
    for bad in [
        secret.clone(),
        unknown.clone(),
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("RS256")),
        with("alg", json!("RSA-OAEP")),
        with("x", json!("!")),
        json!(7),
    ] {
        assert!(matches!(verifier().replace_set(&set(std::slice::from_ref(&bad))), Err(KeyError::EmptySet)), "{bad}");
    }
    let verifier = verifier();
    assert_eq!(verifier.replace_set(&set(&[secret, unknown, signer.jwk(None)])).unwrap(), 1);
    assert!(verifier.verify(&signer.token(&json!({"sub": "a"})), NOW).is_ok());
    assert!(matches!(verifier.replace_set(b"{}"), Err(KeyError::Set(_))));
    assert!(verifier.verify(&signer.token(&json!({"sub": "a"})), NOW).is_ok(), "the last good keys stay");
}

#[test]
fn unusable_keys_are_refused_at_the_start() {
    let private = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let path = || "/nonexistent/key.pem".to_owned();
    for (settings, error) in [
        (
            JwtSettings { secret: Some(Secret::new("short")), ..JwtSettings::default() },
            "the secret is shorter than 32 bytes",
        ),
        (
            JwtSettings { pem: Some(private), ..JwtSettings::default() },
            "not a PEM public key (RSA, P-256, P-384 or Ed25519)",
        ),
        (
            JwtSettings { pem: Some("-----BEGIN".into()), ..JwtSettings::default() },
            "not a PEM public key (RSA, P-256, P-384 or Ed25519)",
        ),
        (JwtSettings { pem: Some(path()), ..JwtSettings::default() }, "cannot read /nonexistent/key.pem"),
        (
            JwtSettings { algorithms: vec![Algorithm::ES256], ..by_secret() },
            "the key is good for none of the allowed algorithms",
        ),
    ] {
        assert_eq!(Verifier::new(&settings).unwrap_err().to_string(), error);
    }
    assert!(!Verifier::new(&JwtSettings::default()).unwrap().has_keys());
    assert!(verifier().has_keys());
    assert!(keys::algorithm("none").is_err() && keys::algorithm("ES512").is_err());
    assert!(matches!(keys::algorithm("EdDSA"), Ok(Algorithm::EdDSA)));
}

#[test]
fn nothing_secret_is_ever_shown() {
    let verifier = verifier();
    let settings = by_secret();
    let claims = json!({"sub": "ana", "attributes": {"salary": "7777"}, "jti": "j-1234"});
    let identity = verifier.verify(&hs256().token(&claims), NOW).unwrap();

    let shown = format!("{verifier:?} {settings:?} {identity:?}");

    assert!(!shown.contains(SECRET) && !shown.contains("7777") && !shown.contains("j-1234"), "{shown}");
}
