//! Answers over HTTP with the headers that browsers, and the proxies between, need. Shared with the native fallbacks.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CACHE_CONTROL,
    CONTENT_TYPE, EXPIRES, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use hyper::{Response, StatusCode};

use crate::fallback::Transfer;
use crate::net::{Body, Refused};

/// How long a browser may remember what OPTIONS said.
const PREFLIGHT_AGE: Duration = Duration::from_secs(31_536_000);

/// Tells nginx to pass a stream on as it comes.
pub(crate) const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The answer to a browser that asks what it may ask; `wall` is the time that caches are told.
pub(crate) fn preflight(headers: &HeaderMap, methods: &'static str, wall: SystemTime) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    put(&mut response, ACCESS_CONTROL_ALLOW_METHODS, methods);
    put(&mut response, ACCESS_CONTROL_MAX_AGE, "31536000");
    put(&mut response, CACHE_CONTROL, "public, max-age=31536000");
    if let Ok(expires) = HeaderValue::from_str(&httpdate::fmt_http_date(wall + PREFLIGHT_AGE)) {
        response.headers_mut().insert(EXPIRES, expires);
    }
    if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    allow_origin(&mut response, headers);
    response
}

/// 405, and what is allowed.
pub(crate) fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    put(&mut response, ALLOW, methods);
    response
}

/// A line for people.
pub(crate) fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = typed(Body::whole(body), "text/plain; charset=UTF-8");
    *response.status_mut() = status;
    response
}

/// A body of some type.
pub(crate) fn typed(body: Body, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    put(&mut response, CONTENT_TYPE, kind);
    response
}

/// A status alone.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// What a handshake would have been told.
pub(crate) fn refusal(refused: &Refused) -> Response<Body> {
    let mut response = text(refused.status, refused.body);
    for (name, value) in &refused.headers {
        put(&mut response, HeaderName::from_static(name), value);
    }
    response
}

/// A body that begins with `prelude` and goes on with what a session has for its client.
pub(crate) fn streamed(prelude: Option<Bytes>, transfer: Transfer) -> Body {
    Body::stream(stream::unfold((prelude, transfer), |(prelude, mut transfer)| async move {
        match prelude {
            Some(prelude) => Some((prelude, (None, transfer))),
            None => transfer.next().await.map(|bytes| (bytes, (None, transfer))),
        }
    }))
}

/// `no-transform` also keeps proxies from compressing, and hence buffering.
pub(crate) fn never_cached(response: &mut Response<Body>) {
    put(response, CACHE_CONTROL, "no-store, no-cache, no-transform, must-revalidate, max-age=0");
}

/// Clients ask with credentials, for which browsers want the origin by name; `null` is such a name.
pub(crate) fn allow_origin(response: &mut Response<Body>, headers: &HeaderMap) {
    let origin = headers.get(ORIGIN).cloned().unwrap_or(HeaderValue::from_static("*"));
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    put(response, ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
    put(response, VARY, "Origin");
}

/// Sets a header.
pub(crate) fn put(response: &mut Response<Body>, name: HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}
