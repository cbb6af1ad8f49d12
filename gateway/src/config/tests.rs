//! Settings and the rules between them, as an operator meets them.

use holdfast_daemon::config::load;

use super::*;

const SECRET: (&str, &str) = ("HOLDFAST_AUTH__JWT__SECRET", "12345678901234567890123456789012");

fn problems(environment: &[(&str, &str)]) -> String {
    let environment = environment.iter().map(|(key, value)| ((*key).into(), (*value).into()));
    load(&SERVICE, None, environment, &[]).err().map(|problems| problems.to_string()).unwrap_or_default()
}

#[test]
fn a_key_is_all_that_must_be_set() {
    assert_eq!(problems(&[SECRET]), "");
    assert!(problems(&[]).contains("auth.jwt"), "{}", problems(&[]));
}

#[test]
fn dev_is_for_loopback_and_needs_no_key() {
    let dev = ("HOLDFAST_PROFILE", "dev");

    assert_eq!(problems(&[dev]), "");
    let refused = problems(&[dev, ("HOLDFAST_LISTEN__ADDRESS", "0.0.0.0:0")]);
    assert!(refused.contains("profile dev"), "{refused}");
    assert_ne!(problems(&[SECRET, ("HOLDFAST_PROFILE", "nonsense")]), "");
}

#[test]
fn plaintext_in_public_must_be_asked_for() {
    let public = ("HOLDFAST_LISTEN__ADDRESS", "0.0.0.0:8080");

    assert!(problems(&[SECRET, public]).contains("plaintext"));
    assert_eq!(problems(&[SECRET, public, ("HOLDFAST_LISTEN__PLAINTEXT", "true")]), "");
    let tls = [("HOLDFAST_TLS__CERTIFICATE", "/c"), ("HOLDFAST_TLS__KEY", "/k")];
    assert_eq!(problems(&[SECRET, public, tls[0], tls[1]]), "");
    assert!(problems(&[SECRET, tls[0]]).contains("both"));
}

#[test]
fn endpoints_inherit_what_they_do_not_set() {
    let environment = [
        SECRET,
        ("HOLDFAST_ENDPOINTS__NOTIFY__PATH", "/notifications"),
        ("HOLDFAST_ENDPOINTS__NOTIFY__JOIN_CALLOUT", "true"),
        ("HOLDFAST_SESSION__DEVICES", "newest"),
        ("HOLDFAST_OUTBOX_BYTES_MAX", "2MiB"),
    ];
    let environment = environment.iter().map(|(key, value)| ((*key).into(), (*value).into()));
    let settings = load(&SERVICE, None, environment, &[]).expect("good settings").settings;

    let gate = settings.gate();

    let rules = &gate.paths.configured[0].endpoint;
    assert_eq!((&*rules.name, rules.devices, rules.outbox.bytes_max), ("notify", Devices::Newest, 2 << 20));
    assert!(rules.join_callout && !rules.connect_callout && !rules.unsigned_users);
    assert_eq!(rules.dialects, [Dialect::Bare, Dialect::Json, Dialect::Stomp]);
    assert!(gate.paths.others.is_none());
}
