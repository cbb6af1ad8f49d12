//! A message's way through this router as a span: from where its sender's trace came in to where its packets go out.
//!
//! The core knows nothing of it: it is shown headers in which `traceparent` names our span, passes that on to the nodes
//! as it would the sender's, and its tally tells whether the message was ours to handle at all.

use async_nats::{HeaderMap, Message};
use holdfast_daemon::spans::{self, Context, Kind as SpanKind, Root, Span};
use holdfast_protocol::send::Headers;

use crate::core::Router;
use crate::core::tally::{Kind, Routed};

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// Spans of one turn. They end when what follows from them has been handed to the bus.
#[derive(Debug, Default)]
pub struct Traces(Vec<Span>);

/// Most spans that one turn ends; a turn takes fewer messages than that.
const SPANS_MAX: usize = 1_024;

impl Traces {
    /// The turn is over.
    pub fn finish(&mut self) {
        self.0.drain(..).for_each(Span::finish);
    }

    /// Keeps a message's span if `router` handled it, which its tally shows.
    pub(crate) fn keep(&mut self, span: Span, before: Handled, router: &Router) {
        let mut span = span;
        let Some((kind, routed)) = before.since(router) else { return };
        span.set("holdfast.target", kind.label());
        span.set("holdfast.result", routed.label());
        if matches!(routed, Routed::Refused | Routed::TooLarge) {
            span.fail(routed.label());
        }
        if self.0.len() < SPANS_MAX {
            self.0.push(span);
        }
    }
}

/// What had been handled at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handled([[u64; 4]; 7]);

impl Handled {
    pub(crate) fn by(router: &Router) -> Self {
        Self(router.tally().routed)
    }

    fn since(self, router: &Router) -> Option<(Kind, Routed)> {
        let now = &router.tally().routed;
        let all = Kind::ALL.into_iter().flat_map(|kind| Routed::ALL.map(|routed| (kind, routed)));
        let mut changed = all.filter(|(kind, routed)| {
            let (kind, routed) = (*kind as usize, *routed as usize);
            now[kind][routed] != self.0[kind][routed]
        });
        changed.next()
    }
}

/// The span of a message that just came; `None` where it is not traced. `subject` is the public one.
pub fn begin(message: &Message, subject: &str) -> Option<Span> {
    if !spans::on() {
        return None;
    }
    let header = |name| message.headers.as_ref().and_then(|headers| find(headers, name));
    // Whether it is traced is known before anything is made for it: most are not.
    let place = match header(PARENT) {
        Some(parent) if !Context::is_asked_for(parent) => return None,
        Some(parent) => Ok(Context::sampled(parent, header(STATE).unwrap_or_default())?),
        None => Err(Root::drawn()?),
    };
    let template = template(subject);
    let name = format!("process {template}");
    let mut span = match &place {
        Ok(parent) => Span::child(parent, SpanKind::Consumer, name),
        Err(root) => Span::of(root, SpanKind::Consumer, name),
    };
    span.set("messaging.system", "nats");
    span.set("messaging.operation.name", "process");
    span.set("messaging.operation.type", "process");
    span.set("messaging.destination.template", template);
    span.set("messaging.message.body.size", i64::try_from(message.payload.len()).unwrap_or(i64::MAX));
    if let Some(id) = header("Hf-Id") {
        span.set("messaging.message.id", id.to_owned());
    }
    Some(span)
}

/// NATS keeps the case of header names; ours are found in any.
fn find<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let (_, values) = headers.iter().find(|(name, _)| AsRef::<str>::as_ref(name).eq_ignore_ascii_case(wanted))?;
    values.first().map(|value| value.as_str().trim())
}

/// The subject without whom it names: `hf.send.user.{user}`. Prefixes may have dots of their own, keys never.
fn template(subject: &str) -> String {
    match subject.rsplit_once('.') {
        Some((rest, _)) if ["user", "room", "connection", "node"].iter().any(|kind| rest.ends_with(kind)) => {
            let kind = rest.rsplit('.').next().unwrap_or_default();
            format!("{rest}.{{{kind}}}")
        }
        _ => subject.to_owned(),
    }
}

/// A message's headers, with the trace going on from our span.
#[derive(Debug)]
pub struct Continued<'a> {
    headers: Option<&'a HeaderMap>,
    parent: Option<String>,
}

impl<'a> Continued<'a> {
    /// These, and where there is a span, that in place of the sender's.
    pub fn new(headers: Option<&'a HeaderMap>, span: Option<&Span>) -> Self {
        Self { headers, parent: span.map(|span| span.context().parent()) }
    }
}

impl Headers for Continued<'_> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a str)) {
        if let Some(parent) = &self.parent {
            visit(PARENT, parent);
        }
        for (name, values) in self.headers.into_iter().flat_map(HeaderMap::iter) {
            // The first one counts; the sender's comes behind ours.
            for value in values {
                visit(name.as_ref(), value.as_str());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::send::SendOptions;

    #[test]
    fn subjects_lose_whom_they_name() {
        assert_eq!(template("hf.send.user.ana"), "hf.send.user.{user}");
        assert_eq!(template("my.fleet.keep.room.chat=2F5"), "my.fleet.keep.room.{room}");
        assert_eq!(template("hf.send.all"), "hf.send.all");
        assert_eq!(template("hf.send.many"), "hf.send.many");
    }

    #[test]
    fn what_is_passed_on_names_our_span_and_keeps_the_senders_state() {
        let mut headers = HeaderMap::new();
        headers.insert("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        headers.insert("tracestate", "a=1");
        let ours = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
        let continued = Continued { headers: Some(&headers), parent: Some(ours.to_owned()) };

        let options = SendOptions::parse(&continued).expect("good headers");

        assert_eq!(options.trace, Some((ours, "a=1")));
    }
}
