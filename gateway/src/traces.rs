//! Which parts of a message's or a connection's way are spans, and what they say. No user, room, payload or query ever
//! does; a connection is named by its id (`session.id`).
//!
//! A connection's life is not one span held open for hours but two short ones, the second linked to the first.

use holdfast_daemon::spans::{self, Context, Kind, Span};
use holdfast_protocol::id::ConnectionId;
use holdfast_protocol::wire::{Delivery, ReceiptPart, Target};

use crate::link::Sender;
use crate::metrics::Initiator;

const TARGET: &str = "holdfast.target";
const SESSION: &str = "session.id";

/// A delivery on its way through the process, from the bus to its shards.
pub(crate) fn passing(delivery: &Delivery) -> Option<Span> {
    let trace = delivery.trace.as_ref().filter(|_| spans::on())?;
    let parent = Context::sampled(&trace.parent, &trace.state)?;
    let target = target_of(&delivery.targets);
    let mut span = Span::child(&parent, Kind::Consumer, format!("deliver {target}"));
    span.set("messaging.system", "nats");
    span.set("messaging.operation.name", "deliver");
    span.set("messaging.operation.type", "process");
    span.set("messaging.message.id", delivery.id.as_str().to_owned());
    span.set("messaging.message.body.size", count(delivery.payload.len() as u64));
    span.set(TARGET, target);
    Some(span)
}

/// The same on a shard, until the sockets were written.
pub(crate) fn writing(parent: &Context, shard: u16) -> Span {
    let mut span = Span::child(parent, Kind::Internal, "write sockets");
    span.set("holdfast.shard", i64::from(shard));
    span
}

/// What became of a delivery's copies on a shard.
pub(crate) fn counted(span: &mut Span, part: &ReceiptPart) {
    span.set("holdfast.copies.matched", count(part.matched));
    span.set("holdfast.copies.dropped", count(part.dropped));
    span.set("holdfast.copies.filtered", count(part.filtered));
}

/// A client's message or request, as it came in: a trace begins here, whatever the client says.
pub(crate) fn received(what: &'static str, sender: &Sender, bytes: usize, life: Option<&Context>) -> Option<Context> {
    let mut span = Span::root(Kind::Server, what)?;
    span.set(SESSION, sender.id.to_string());
    span.set("holdfast.endpoint", sender.endpoint.name.to_string());
    span.set("messaging.message.body.size", count(bytes as u64));
    if let Some(life) = life {
        span.link(life);
    }
    let context = span.context();
    span.finish();
    Some(context)
}

/// The same on its way to the bus.
pub(crate) fn sending(sender: &Sender, kind: Kind, what: &'static str) -> Option<Span> {
    let parent = sender.trace.as_ref()?;
    let template = format!("{what}.{}.{{path}}", sender.endpoint.name);
    let mut span = Span::child(parent, kind, format!("send {template}"));
    span.set("messaging.system", "nats");
    span.set("messaging.operation.name", "send");
    span.set("messaging.operation.type", "send");
    span.set("messaging.destination.template", template);
    Some(span)
}

/// A handshake, from its request to its answer.
pub(crate) fn handshake(endpoint: &str) -> Option<Span> {
    let mut span = Span::root(Kind::Server, "GET websocket")?;
    span.set("http.request.method", "GET");
    span.set("http.route", endpoint.to_owned());
    span.set("network.protocol.name", "websocket");
    Some(span)
}

/// A handshake that was refused.
pub(crate) fn refused(mut span: Span, status: u16, why: &'static str) {
    span.set("http.response.status_code", i64::from(status));
    span.fail(why);
    span.finish();
}

/// A handshake that became a connection; what comes of that one is linked to it.
pub(crate) fn opened(mut span: Span, id: ConnectionId) -> Context {
    span.set("http.response.status_code", 101);
    span.set(SESSION, id.to_string());
    let context = span.context();
    span.finish();
    context
}

/// The end of a connection whose handshake was traced.
pub(crate) fn closed(life: &Context, id: ConnectionId, code: u16, by: Initiator, lasted_ms: u64) {
    let mut span = Span::follow(life, Kind::Internal, "close websocket");
    span.set(SESSION, id.to_string());
    span.set("holdfast.close.code", i64::from(code));
    span.set("holdfast.close.initiator", by.label());
    span.set("holdfast.connection.duration_ms", count(lasted_ms));
    span.finish();
}

fn target_of(targets: &[Target]) -> &'static str {
    match targets {
        [Target::User(_)] => "user",
        [Target::Room(_)] => "room",
        [Target::Connection(_)] => "connection",
        [Target::All] => "all",
        _ => "many",
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
