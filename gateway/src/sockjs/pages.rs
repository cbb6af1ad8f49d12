//! The pages of SockJS that belong to no session: the greeting, and what the server can do.

use std::time::SystemTime;

use holdfast_daemon::random;
use hyper::header::RETRY_AFTER;
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::answers::{allow_origin, never_cached, not_allowed, preflight, put, text, typed};
use super::sites::Page;
use crate::net::Body;

/// Whether newcomers are welcome: `/info` is where a client asks first, and goes away at once if they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Valve {
    /// They are.
    Open,
    /// Not now: asking costs less than a handshake that comes too late.
    Shut,
}

/// Answers a page; `wall` is the time that caches are told.
pub fn answer(page: Page, head: &Parts, valve: Valve, wall: SystemTime) -> Response<Body> {
    match (page, &head.method) {
        (Page::NotFound, _) => text(StatusCode::NOT_FOUND, "not found\n"),
        (Page::Greeting, &Method::GET) => text(StatusCode::OK, "Welcome to SockJS!\n"),
        (Page::Greeting, _) => not_allowed("GET"),
        (Page::Info, &Method::GET) => info(head, valve),
        (Page::Info, &Method::OPTIONS) => preflight(&head.headers, "OPTIONS, GET", wall),
        (Page::Info, _) => not_allowed("OPTIONS, GET"),
    }
}

fn info(head: &Parts, valve: Valve) -> Response<Body> {
    let mut response = match valve {
        Valve::Open => {
            let entropy = u32::from_le_bytes(random::bytes());
            let body = format!(r#"{{"websocket":true,"cookie_needed":false,"origins":["*:*"],"entropy":{entropy}}}"#);
            typed(Body::whole(body), "application/json; charset=UTF-8")
        }
        Valve::Shut => {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "temporarily unavailable\n");
            put(&mut response, RETRY_AFTER, "2");
            response
        }
    };
    never_cached(&mut response);
    allow_origin(&mut response, &head.headers);
    response
}
