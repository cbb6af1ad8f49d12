//! Dialect `json` over plain HTTP: which URLs there are below an endpoint's path, and how they are answered.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use holdfast_daemon::random;
use holdfast_protocol::dialect::Dialect;
use holdfast_protocol::id::ConnectionId;
use holdfast_protocol::wire::{Caller, Exchanged};
use hyper::body::Incoming as RequestBody;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use super::form::Form;
use super::front::{BadBody, Front, read_body};
use super::transfer::{Missing, Opening};
use crate::handshake::Endpoint;
use crate::net::{Body, Guest};
use crate::socket::Framing;
use crate::sockjs::answers;

/// The segment that keeps these URLs apart from endpoints.
const MARK: &str = "/_http/";

/// Base paths at which the fallbacks are on.
#[derive(Debug, Clone, Default)]
pub struct NativePaths {
    bases: Vec<String>,
}

/// What one of these URLs stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NativePage {
    /// A new session.
    Open,
    /// Bytes for the client.
    Receive(String, Form),
    /// The client sends.
    Send(String),
    /// Nothing.
    NotFound,
}

impl NativePaths {
    /// At these paths; `/**` at the end of one stands for all below it.
    pub fn new(paths: Vec<String>) -> Self {
        Self { bases: paths.into_iter().map(|path| path.trim_end_matches('/').to_owned()).collect() }
    }

    /// What a path, as it came, stands for, and the endpoint's path.
    pub fn find<'a>(&self, path: &'a str) -> Option<(&'a str, NativePage)> {
        let (base, rest) = path.split_once(MARK)?;
        let fits = |pattern: &String| match pattern.strip_suffix("/**") {
            Some(above) => base.strip_prefix(above).is_some_and(|below| below.is_empty() || below.starts_with('/')),
            None => pattern == base,
        };
        if !self.bases.iter().any(fits) {
            return None;
        }
        let page = match rest.split_once('/') {
            None if rest == "open" => NativePage::Open,
            Some((session, "send")) => NativePage::Send(session.to_owned()),
            Some((session, "events")) => NativePage::Receive(session.to_owned(), Form::Events),
            Some((session, "stream")) => NativePage::Receive(session.to_owned(), Form::Stream),
            Some((session, "poll")) => NativePage::Receive(session.to_owned(), Form::Poll),
            _ => NativePage::NotFound,
        };
        Some((base, page))
    }
}

/// Answers a request.
pub(crate) async fn respond(
    front: &Rc<Front>,
    endpoint: &Arc<Endpoint>,
    guest: &Guest,
    page: NativePage,
    request: Request<RequestBody>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let methods = match &page {
        NativePage::Open | NativePage::Send(_) => "OPTIONS, POST",
        NativePage::Receive(..) => "OPTIONS, GET",
        NativePage::NotFound => return answers::text(StatusCode::NOT_FOUND, "not found\n"),
    };
    let mut response = match (page, &head.method) {
        (_, &Method::OPTIONS) => {
            let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(front.unix_ms());
            return answers::preflight(&head.headers, methods, wall);
        }
        (NativePage::Open, &Method::POST) => open(front, endpoint, guest, &head).await,
        (NativePage::Receive(session, form), &Method::GET) => receive(front, &session, form).await,
        (NativePage::Send(session), &Method::POST) => {
            let sent = match (opening(&session), read_body(body).await) {
                (None, _) => Err(StatusCode::NOT_FOUND),
                (_, Err(BadBody::TooBig)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
                (_, Err(BadBody::Empty | BadBody::Broken)) => Err(StatusCode::BAD_REQUEST),
                (Some(opening), Ok(body)) => front.send(&opening, body).await.map_err(status_of),
            };
            match sent {
                Ok(Exchanged::Accepted) => answers::empty(StatusCode::NO_CONTENT),
                Ok(Exchanged::TooBig) => answers::text(StatusCode::PAYLOAD_TOO_LARGE, "too large\n"),
                Ok(Exchanged::Malformed) => answers::text(StatusCode::BAD_REQUEST, "not JSON\n"),
                Ok(Exchanged::Busy) => answers::text(StatusCode::SERVICE_UNAVAILABLE, "try again\n"),
                Ok(Exchanged::Unknown | Exchanged::Piece { .. } | Exchanged::Taken) => gone(),
                Err(status) => answers::text(status, "not accepted\n"),
            }
        }
        _ => return answers::not_allowed(methods),
    };
    answers::never_cached(&mut response);
    answers::allow_origin(&mut response, &head.headers);
    response
}

async fn open(front: &Rc<Front>, endpoint: &Arc<Endpoint>, guest: &Guest, head: &Parts) -> Response<Body> {
    if !endpoint.dialects.contains(&Dialect::Json) {
        return answers::text(StatusCode::NOT_FOUND, "not found\n");
    }
    // Made like a connection's id, but no connection's: whoever knows it is the client.
    let id = ConnectionId::new(front.node(), random::bytes()).to_string();
    let opening = Opening { session: id.as_str().into(), caller: Caller::default(), node: Some(front.node()) };
    match front.open(endpoint, guest, head, &opening, Framing::Plain).await {
        Ok(()) => {
            let mut response = Response::new(Body::whole(format!("{{\"session\":\"{id}\"}}\n")));
            answers::put(&mut response, hyper::header::CONTENT_TYPE, "application/json");
            response
        }
        Err(refusal) => answers::refusal(&refusal),
    }
}

async fn receive(front: &Rc<Front>, session: &str, form: Form) -> Response<Body> {
    let Some(opening) = opening(session) else { return gone() };
    match front.attach(&opening, form).await {
        Err(Missing::Taken) => answers::text(StatusCode::CONFLICT, "another request receives already\n"),
        Err(missing) => answers::text(status_of(missing), "no such session\n"),
        Ok(transfer) if form.is_once() => {
            let bytes = transfer.whole().await;
            answers::typed(Body::whole(bytes), "application/x-ndjson")
        }
        Ok(transfer) => {
            let kind = if form == Form::Events { "text/event-stream" } else { "application/x-ndjson" };
            let mut response = answers::typed(answers::streamed(None, transfer), kind);
            answers::put(&mut response, answers::ACCEL_BUFFERING, "no");
            response
        }
    }
}

/// The session that a URL names. What it has been opened with need not be shown again: its name is the secret.
fn opening(session: &str) -> Option<Opening> {
    let node = ConnectionId::parse(session)?.node();
    Some(Opening { session: session.into(), caller: Caller::default(), node: Some(node) })
}

fn gone() -> Response<Body> {
    answers::text(StatusCode::NOT_FOUND, "no such session\n")
}

const fn status_of(missing: Missing) -> StatusCode {
    match missing {
        Missing::Unknown | Missing::Node => StatusCode::NOT_FOUND,
        Missing::Taken => StatusCode::CONFLICT,
        Missing::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_endpoints() {
        let paths = NativePaths::new(vec!["/ws/chat/".into(), "/games/**".into()]);
        for (path, expected) in [
            ("/ws/chat/_http/open", Some(("/ws/chat", NativePage::Open))),
            ("/ws/chat/_http/s/events", Some(("/ws/chat", NativePage::Receive("s".into(), Form::Events)))),
            ("/ws/chat/_http/s/stream", Some(("/ws/chat", NativePage::Receive("s".into(), Form::Stream)))),
            ("/ws/chat/_http/s/poll", Some(("/ws/chat", NativePage::Receive("s".into(), Form::Poll)))),
            ("/ws/chat/_http/s/send", Some(("/ws/chat", NativePage::Send("s".into())))),
            ("/games/a/b/_http/open", Some(("/games/a/b", NativePage::Open))),
            ("/games/_http/open", Some(("/games", NativePage::Open))),
            ("/ws/chat/_http/s/other", Some(("/ws/chat", NativePage::NotFound))),
            ("/ws/chat/_http/", Some(("/ws/chat", NativePage::NotFound))),
            ("/ws/_http/open", None),
            ("/ws/chat/x/_http/open", None),
            ("/ws/chat", None),
            ("/gamesx/_http/open", None),
        ] {
            assert_eq!(paths.find(path), expected, "{path}");
        }
    }
}
