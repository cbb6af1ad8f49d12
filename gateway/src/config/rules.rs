//! Rules between settings: what is refused at the start, and in which words.

use std::time::Duration;

use holdfast_daemon::config::Problems;

use super::{GatewaySettings, Profile, SHARDS_MAX};
use crate::auth::algorithm;

/// HMAC keys shorter than this can be guessed (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;

/// All that is wrong between settings that are each right by themselves.
pub(super) fn check(settings: &GatewaySettings, problems: &mut Problems) {
    check_addresses(settings, problems);
    check_keys(settings, problems);
    settings.bus.check(problems);
    settings.admin.check(problems);
    settings.stomp.check("stomp", problems);
    settings.stomp_relay.check(settings.tls.certificate.is_some(), problems);
    settings.drain.check(problems);
    settings.limits.check(problems);
    settings.upstream.check(problems);
    if settings.listen.shards > SHARDS_MAX {
        problems.add("listen.shards", format!("must be at most {SHARDS_MAX}"));
    }
    for (key, duration) in [
        ("session.heartbeat", settings.session.heartbeat),
        ("session.auth_timeout", settings.session.auth_timeout),
        ("session.request_timeout", settings.session.request_timeout),
        ("outbox_age_max", settings.outbox_age_max),
    ] {
        if duration < Duration::from_millis(100) {
            problems.add(key, "must be at least 100ms");
        }
    }
    if settings.auth.sources.is_empty() {
        problems.add("auth.sources", "names no source");
    }
    for (name, endpoint) in &settings.endpoints {
        let key = format!("endpoints.{name}");
        endpoint.stomp.check(&format!("{key}.stomp"), problems);
        if !endpoint.path.starts_with('/') {
            problems.add(&format!("{key}.path"), "must begin with /");
        }
        if endpoint.dialects.is_empty() {
            problems.add(&format!("{key}.dialects"), "names no dialect");
        }
        if holdfast_protocol::token::check_key(name).is_err() {
            problems.add(&key, "is no endpoint name: 1 to 200 bytes");
        }
    }
    if settings.sockjs.paths.iter().any(|path| !path.starts_with('/')) {
        problems.add("sockjs.paths", "must each begin with /");
    }
    if settings.fallback.paths.iter().any(|path| !path.starts_with('/')) {
        problems.add("fallback.paths", "must each begin with /");
    }
    if settings.echo.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        problems.add("echo.path", "must begin with /");
    }
}

fn check_addresses(settings: &GatewaySettings, problems: &mut Problems) {
    let listen = &settings.listen;
    let has_tls = settings.tls.certificate.is_some();
    if has_tls != settings.tls.key.is_some() {
        problems.add("tls", "needs both certificate and key");
    }
    if listen.tls_address.is_some() && !has_tls {
        problems.add("listen.tls_address", "needs tls.certificate and tls.key");
    }
    match settings.profile {
        Profile::Dev => {
            let addresses = [("listen.address", Some(listen.address)), ("listen.tls_address", listen.tls_address)];
            for (key, address) in addresses {
                if address.is_some_and(|address| !address.ip().is_loopback()) {
                    problems.add(key, "must be a loopback address in profile dev, which lets anybody in");
                }
            }
        }
        Profile::Production => {
            let plaintext = !has_tls || listen.tls_address.is_some();
            if plaintext && !listen.plaintext && !listen.address.ip().is_loopback() {
                problems.add(
                    "listen.address",
                    "is not on loopback and would speak plaintext; set tls.certificate and tls.key, or \
                     listen.plaintext = true where TLS ends in front of the gateway",
                );
            }
        }
    }
}

fn check_keys(settings: &GatewaySettings, problems: &mut Problems) {
    let jwt = &settings.auth.jwt;
    if jwt.secret.as_ref().is_some_and(|secret| secret.expose().len() < SECRET_BYTES_MIN) {
        problems.add("auth.jwt.secret", format!("is shorter than {SECRET_BYTES_MIN} bytes"));
    }
    for name in &jwt.algorithms {
        if let Err(error) = algorithm(name) {
            problems.add("auth.jwt.algorithms", error.to_string());
        }
    }
    let has_key = jwt.secret.is_some() || jwt.pem.is_some() || jwt.jwks.is_some();
    let has_callout = settings.endpoints.values().any(|endpoint| endpoint.connect_callout);
    if !has_key && !has_callout && settings.profile == Profile::Production {
        problems.add(
            "auth.jwt",
            "has no key, so that nobody could connect; set auth.jwt.secret, auth.jwt.pem or auth.jwt.jwks, or an \
             endpoint with connect_callout",
        );
    }
}
