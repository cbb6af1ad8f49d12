//! SockJS without WebSocket: how requests of a session are answered. The session is `fallback`'s.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use holdfast_protocol::dialect::sockjs;
use holdfast_protocol::token;
use holdfast_protocol::wire::Exchanged;
use hyper::body::Incoming as RequestBody;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use super::answers::{
    ACCEL_BUFFERING, allow_origin, never_cached, not_allowed, preflight, put, refusal, streamed, text, typed,
};
use super::sites::Transport;
use crate::fallback::{BadBody, Form, Front, Missing, Opening, read_body};
use crate::handshake::Endpoint;
use crate::net::{Body, Guest};

/// What an `xhr_streaming` answer begins with: old browsers show nothing of an answer before so many bytes.
const PRELUDE_BYTES: usize = 2048;

/// The name of a session among the nodes: one that no room can have.
pub fn session_name(base: &str, session: &str) -> Arc<str> {
    format!("{}sockjs{base}/{session}", token::RESERVED).into()
}

/// Answers a request of a session.
pub(crate) async fn respond(
    front: &Rc<Front>,
    endpoint: &Arc<Endpoint>,
    guest: &Guest,
    session: Arc<str>,
    transport: Transport,
    request: Request<RequestBody>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let (method, methods) = match transport {
        Transport::EventSource => (Method::GET, "OPTIONS, GET"),
        Transport::Xhr | Transport::XhrStreaming | Transport::XhrSend => (Method::POST, "OPTIONS, POST"),
    };
    if head.method == Method::OPTIONS {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(front.unix_ms());
        return preflight(&head.headers, methods, wall);
    }
    if head.method != method {
        return not_allowed(methods);
    }
    let opening = Opening { session, caller: front.caller(endpoint, &head), node: None };
    let mut response = match transport {
        Transport::Xhr => receive(front, (endpoint, guest), &head, &opening, Form::Xhr).await,
        Transport::XhrStreaming => receive(front, (endpoint, guest), &head, &opening, Form::XhrStreaming).await,
        Transport::EventSource => receive(front, (endpoint, guest), &head, &opening, Form::EventSource).await,
        Transport::XhrSend => send(front, &opening, body).await,
    };
    never_cached(&mut response);
    allow_origin(&mut response, &head.headers);
    response
}

async fn receive(
    front: &Rc<Front>,
    (endpoint, guest): (&Arc<Endpoint>, &Guest),
    head: &Parts,
    opening: &Opening,
    form: Form,
) -> Response<Body> {
    let kind = if form == Form::EventSource {
        "text/event-stream; charset=UTF-8"
    } else {
        "application/javascript; charset=UTF-8"
    };
    let last_words = |code, reason| {
        let mut body = prelude(form).map(Vec::from).unwrap_or_default();
        body.extend_from_slice(&form.farewell(code, reason));
        typed(Body::whole(body), kind)
    };
    match front.receive(endpoint, guest, head, opening, form).await {
        Err(refused) => refusal(&refused),
        Ok(Ok(transfer)) if form.is_once() => typed(Body::whole(transfer.whole().await), kind),
        Ok(Ok(transfer)) => {
            let mut response = typed(streamed(prelude(form), transfer), kind);
            put(&mut response, ACCEL_BUFFERING, "no");
            response
        }
        Ok(Err(Missing::Taken)) => last_words(2010, "Another connection still open"),
        Ok(Err(Missing::Node)) => last_words(1012, "Service restart"),
        Ok(Err(Missing::Unknown)) => text(StatusCode::NOT_FOUND, "no such session\n"),
        Ok(Err(Missing::Unavailable)) => text(StatusCode::SERVICE_UNAVAILABLE, "temporarily unavailable\n"),
    }
}

fn prelude(form: Form) -> Option<Bytes> {
    match form {
        Form::XhrStreaming => {
            let mut prelude = sockjs::HEARTBEAT.repeat(PRELUDE_BYTES);
            prelude.push('\n');
            Some(prelude.into())
        }
        Form::EventSource => Some(Bytes::from_static(b"\r\n")),
        Form::Xhr | Form::Poll | Form::Stream | Form::Events => None,
    }
}

async fn send(front: &Rc<Front>, opening: &Opening, body: RequestBody) -> Response<Body> {
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(BadBody::Empty) => return text(StatusCode::INTERNAL_SERVER_ERROR, "Payload expected."),
        Err(BadBody::TooBig) => return text(StatusCode::PAYLOAD_TOO_LARGE, "too large\n"),
        Err(BadBody::Broken) => return text(StatusCode::BAD_REQUEST, "the body ended early\n"),
    };
    match front.send(opening, body).await {
        Ok(Exchanged::Accepted) => {
            let mut response = typed(Body::empty(), "text/plain; charset=UTF-8");
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Ok(Exchanged::Malformed) => text(StatusCode::INTERNAL_SERVER_ERROR, "Broken JSON encoding."),
        Ok(Exchanged::TooBig) => text(StatusCode::PAYLOAD_TOO_LARGE, "too large\n"),
        Ok(Exchanged::Busy) => text(StatusCode::SERVICE_UNAVAILABLE, "temporarily unavailable\n"),
        Ok(Exchanged::Unknown | Exchanged::Taken | Exchanged::Piece { .. })
        | Err(Missing::Unknown | Missing::Taken | Missing::Node) => text(StatusCode::NOT_FOUND, "no such session\n"),
        Err(Missing::Unavailable) => text(StatusCode::INTERNAL_SERVER_ERROR, "temporarily unavailable\n"),
    }
}
