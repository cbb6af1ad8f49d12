//! Who may use the admin listener for more than its health and its numbers.
//!
//! With a token: who has it. Without one: programs on the same machine, and only where the listener is on loopback. Never
//! a page in somebody's browser. Knows no HTTP but the heads of requests.

use super::{AdminApi, AdminSettings, plain};
use crate::config::Secret;
use crate::reload::Reloads;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Shorter ones can be guessed.
pub(super) const TOKEN_BYTES_MIN: usize = 16;

/// Decides about requests to the API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Guard {
    served: bool,
    token: Arc<Mutex<Option<Secret>>>,
}

impl Guard {
    /// As the settings say; a token in a file is read anew when that changes.
    pub fn of(settings: &AdminSettings, reloads: &Reloads) -> Self {
        let guard = Self::fixed(settings);
        if let Some(file) = settings.token_file.clone() {
            let token = Arc::clone(&guard.token);
            reloads.keep("admin_token", vec![file.clone()], move || {
                let fresh = read(&file)?;
                *token.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
                Ok(())
            });
        }
        guard
    }

    /// The same, with the token as it is now.
    pub(super) fn fixed(settings: &AdminSettings) -> Self {
        let safe = settings.token.is_some() || settings.address.ip().is_loopback();
        let served = settings.api != AdminApi::Off && safe;
        Self { served, token: Arc::new(Mutex::new(settings.token.clone())) }
    }

    /// Why a request is refused, if it is.
    pub(super) fn refusal(&self, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
        if !self.served {
            let why = "the admin API is off: it wants admin.token where the listener is not on loopback\n";
            return Some(plain(StatusCode::FORBIDDEN, why));
        }
        if headers.contains_key(ORIGIN) {
            return Some(plain(StatusCode::FORBIDDEN, "not for web pages\n"));
        }
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        match &*token {
            Some(token) if bearer(headers).is_some_and(|given| token.is(given)) => None,
            Some(_) => {
                tracing::warn!("Admin request without the token");
                let mut response = plain(StatusCode::UNAUTHORIZED, "wants the token: Authorization: Bearer …\n");
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                Some(response)
            }
            // A name that was made to resolve to this machine is how web pages get here.
            None if !is_this_machine(headers) => Some(plain(StatusCode::FORBIDDEN, "call it by its address\n")),
            None => None,
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn is_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn read(file: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let token = text.trim_end_matches(['\r', '\n']);
    if token.len() < TOKEN_BYTES_MIN {
        return Err(format!("the token is shorter than {TOKEN_BYTES_MIN} bytes"));
    }
    Ok(Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn guard(address: &str, api: AdminApi, token: Option<&str>) -> Guard {
        let address = address.parse().expect("an address");
        Guard::fixed(&AdminSettings { address, api, token: token.map(Secret::new), token_file: None })
    }

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    fn status(guard: &Guard, of: &[(&'static str, &'static str)]) -> u16 {
        guard.refusal(&headers(of)).map_or(200, |refusal| refusal.status().as_u16())
    }

    #[test]
    fn a_token_is_wanted_whole_wherever_there_is_one() {
        for address in ["127.0.0.1:9090", "0.0.0.0:9090"] {
            let guard = guard(address, AdminApi::Auto, Some(TOKEN));

            assert_eq!(status(&guard, &[("host", "gw:9090"), ("authorization", "Bearer 0123456789abcdef")]), 200);
            assert_eq!(status(&guard, &[("host", "gw:9090"), ("authorization", "bearer 0123456789abcdef")]), 200);
            for wrong in ["Bearer 0123456789abcde", "Bearer 0123456789abcdefg", "Bearer ", "Basic 0123456789abcdef", ""]
            {
                assert_eq!(status(&guard, &[("host", "127.0.0.1"), ("authorization", wrong)]), 401, "{wrong}");
            }
            assert_eq!(status(&guard, &[("host", "127.0.0.1")]), 401);
        }
    }

    #[test]
    fn without_a_token_it_is_for_programs_on_the_machine_itself() {
        let local = guard("127.0.0.1:9090", AdminApi::Auto, None);
        for host in ["127.0.0.1:9090", "localhost:9090", "[::1]:9090"] {
            assert_eq!(status(&local, &[("host", host)]), 200, "{host}");
        }
        assert_eq!(status(&local, &[("host", "evil.example:9090")]), 403);
        assert_eq!(status(&local, &[]), 403);

        let open = guard("0.0.0.0:9090", AdminApi::Auto, None);
        assert_eq!(status(&open, &[("host", "127.0.0.1:9090")]), 403);
        let off = guard("127.0.0.1:9090", AdminApi::Off, Some(TOKEN));
        assert_eq!(status(&off, &[("host", "a"), ("authorization", "Bearer 0123456789abcdef")]), 403);
    }

    #[test]
    fn web_pages_are_refused_with_the_token_and_without() {
        let origin = ("origin", "http://127.0.0.1:9090");
        let local = guard("127.0.0.1:9090", AdminApi::Auto, None);
        assert_eq!(status(&local, &[("host", "127.0.0.1:9090"), origin]), 403);
        let guarded = guard("127.0.0.1:9090", AdminApi::Auto, Some(TOKEN));
        assert_eq!(status(&guarded, &[("authorization", "Bearer 0123456789abcdef"), origin]), 403);
    }

    #[test]
    fn a_token_in_a_file_is_read_without_its_line_end_and_not_if_short() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, format!("{TOKEN}\n")).expect("written");
        assert!(read(&file).expect("long enough").is(TOKEN.as_bytes()));

        std::fs::write(&file, "short\n").expect("written");
        assert_eq!(read(&file).expect_err("short"), "the token is shorter than 16 bytes");
    }
}
