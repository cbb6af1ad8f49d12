//! Spans of messages: what happened to one message in this process, as part of the trace its sender began.
//!
//! Made by hand rather than with `tracing`'s spans, because a message's stay in a process is no scope: it is taken up in
//! one turn of a loop, and its end is seen in another place, perhaps on another thread. Off, or for a trace that is not
//! sampled, all that is done is to look at one flag: no span is made and nothing is allocated.
//!
//! Knows nothing of what is traced; [`telemetry`](crate::telemetry) installs where finished spans go.

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

/// Attributes of one span; more are left out.
const ATTRIBUTES_MAX: usize = 32;

static ON: AtomicBool = AtomicBool::new(false);
/// Of 2^63: roots whose trace id's low bits are below it are kept.
static ROOTS_BELOW: AtomicU64 = AtomicU64::new(0);
static SINK: OnceLock<Box<dyn Sink>> = OnceLock::new();

/// Where finished spans go. Never waits.
pub(crate) trait Sink: Send + Sync + fmt::Debug {
    /// Takes a span, or drops and counts it.
    fn take(&self, span: SpanData);
}

/// Sets where spans go, and the share of roots that are kept. The first call counts.
pub(crate) fn install(sink: Box<dyn Sink>, share: f64) {
    if SINK.set(sink).is_ok() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is from 0 to 1")]
        ROOTS_BELOW.store((share * (1_u64 << 63) as f64) as u64, Ordering::Relaxed);
        ON.store(true, Ordering::Release);
    }
}

/// Whether spans are made in this process at all.
pub fn on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// A trace that begins here and is kept.
#[derive(Debug)]
pub struct Root(TraceId);

impl Root {
    /// One that the ratio keeps: asked before anything is made for its span. `None` where spans are off.
    pub fn drawn() -> Option<Self> {
        if !on() {
            return None;
        }
        let low = random() >> 1;
        let kept = low < ROOTS_BELOW.load(Ordering::Relaxed);
        kept.then(|| Self(TraceId::from((u128::from(random()) << 64) | u128::from(low) | 1)))
    }
}

/// A place in a trace that is sampled: what the next hop continues. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Context(SpanContext);

impl Context {
    /// What somebody sent as `traceparent` and `tracestate`. `None` where spans are off, where it is malformed (W3C
    /// Trace Context level 1), or where the sender does not sample: then neither do we.
    pub fn sampled(parent: &str, state: &str) -> Option<Self> {
        if !on() || !Self::is_asked_for(parent) {
            return None;
        }
        let mut fields = parent.split('-');
        let (version, trace, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let flags = u8::from_str_radix(flags, 16).ok()?;
        if version == "ff" || trace.len() != 32 || span.len() != 16 || flags & TraceFlags::SAMPLED.to_u8() == 0 {
            return None;
        }
        let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
        let state = state.parse().unwrap_or_default();
        let context = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, state);
        context.is_valid().then_some(Self(context))
    }

    /// Whether a `traceparent` has the flag of being sampled where each version has it: all that is looked at of most.
    pub fn is_asked_for(parent: &str) -> bool {
        let flags = parent.as_bytes().get(54).and_then(|digit| char::from(*digit).to_digit(16));
        flags.is_some_and(|flags| flags & 1 == 1)
    }

    /// The place as `traceparent` says it.
    pub fn parent(&self) -> String {
        format!("00-{}-{}-01", self.0.trace_id(), self.0.span_id())
    }

    /// The trace's id in hex, as logs name it.
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }
}

/// Something that takes time. Exported by [`Span::finish`]; one that is dropped without it never was.
pub struct Span(Box<Inner>);

struct Inner {
    context: SpanContext,
    parent: SpanId,
    remote: bool,
    kind: SpanKind,
    name: Cow<'static, str>,
    start: SystemTime,
    attributes: Vec<KeyValue>,
    links: Vec<Link>,
    status: Status,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span").field("name", &self.0.name).field("context", &self.0.context).finish_non_exhaustive()
    }
}

/// Which part of a conversation a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Handles what another process sent.
    Consumer,
    /// Sends to another process without waiting.
    Producer,
    /// Asks and waits for the answer.
    Client,
    /// Serves a client's request.
    Server,
    /// Within the process.
    Internal,
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Consumer => Self::Consumer,
            Kind::Producer => Self::Producer,
            Kind::Client => Self::Client,
            Kind::Server => Self::Server,
            Kind::Internal => Self::Internal,
        }
    }
}

impl Span {
    /// Begins a trace, if the ratio says so. `None` where spans are off.
    pub fn root(kind: Kind, name: impl Into<Cow<'static, str>>) -> Option<Self> {
        Some(Self::of(&Root::drawn()?, kind, name))
    }

    /// Begins a trace that is kept.
    pub fn of(root: &Root, kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(root.0, SpanId::INVALID, false, TraceState::default(), kind, name.into())
    }

    /// Goes on with a trace.
    pub fn child(parent: &Context, kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        let Context(parent) = parent;
        let (trace, state) = (parent.trace_id(), parent.trace_state().clone());
        Self::new(trace, parent.span_id(), parent.is_remote(), state, kind, name.into())
    }

    /// Begins a trace that is tied to another one, and kept because that is.
    pub fn follow(other: &Context, kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        let trace = TraceId::from((u128::from(random()) << 64) | u128::from(random()) | 1);
        let mut span = Self::new(trace, SpanId::INVALID, false, TraceState::default(), kind, name.into());
        span.link(other);
        span
    }

    fn new(
        trace: TraceId,
        parent: SpanId,
        remote: bool,
        state: TraceState,
        kind: Kind,
        name: Cow<'static, str>,
    ) -> Self {
        let context = SpanContext::new(trace, SpanId::from(random() | 1), TraceFlags::SAMPLED, false, state);
        Self(Box::new(Inner {
            context,
            parent,
            remote,
            kind: kind.into(),
            name,
            start: wall_clock(),
            attributes: Vec::new(),
            links: Vec::new(),
            status: Status::Unset,
        }))
    }

    /// What comes after this goes on from here.
    pub fn context(&self) -> Context {
        Context(self.0.context.clone())
    }

    /// Says something about it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if self.0.attributes.len() < ATTRIBUTES_MAX {
            self.0.attributes.push(KeyValue::new(key, value));
        }
    }

    /// Ties it to a place in another trace, or elsewhere in this one.
    pub fn link(&mut self, to: &Context) {
        self.0.links.push(Link::new(to.0.clone(), Vec::new(), 0));
    }

    /// It failed; `what` names the kind of failure (`error.type`), not the case.
    pub fn fail(&mut self, what: impl Into<Cow<'static, str>>) {
        let what = what.into();
        self.set("error.type", what.clone().into_owned());
        self.0.status = Status::error(what);
    }

    /// It ends now.
    pub fn finish(self) {
        let Some(sink) = SINK.get() else { return };
        let Inner { context, parent, remote, kind, name, start, attributes, links, status } = *self.0;
        let mut tied = SpanLinks::default();
        tied.links = links;
        sink.take(SpanData {
            span_context: context,
            parent_span_id: parent,
            parent_span_is_remote: remote,
            span_kind: kind,
            name,
            start_time: start,
            end_time: wall_clock().max(start),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: tied,
            status,
            instrumentation_scope: scope(),
        });
    }
}

fn scope() -> InstrumentationScope {
    static SCOPE: OnceLock<InstrumentationScope> = OnceLock::new();
    SCOPE
        .get_or_init(|| InstrumentationScope::builder("holdfast").with_version(crate::build_info::VERSION).build())
        .clone()
}

/// Not zero, spread evenly, guessable: ids of spans are no secrets (`SplitMix64`, seeded for each thread).
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(crate::random::number());
    }
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    })
}

#[expect(clippy::disallowed_methods, reason = "a span tells when it was, and nothing is decided by it")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Every span of this process is kept in memory, where a test finds those of its own trace.
#[cfg(test)]
mod testing {
    use super::{Sink, install};
    use opentelemetry_sdk::trace::SpanData;
    use std::sync::{Mutex, PoisonError};

    static FINISHED: Mutex<Vec<SpanData>> = Mutex::new(Vec::new());

    #[derive(Debug)]
    struct Memory;

    impl Sink for Memory {
        fn take(&self, span: SpanData) {
            FINISHED.lock().unwrap_or_else(PoisonError::into_inner).push(span);
        }
    }

    /// Turns spans on, without roots of our own.
    pub(super) fn capture() {
        install(Box::new(Memory), 0.0);
    }

    /// Name, id, parent and attributes (as `key=value`) of the finished spans of a trace, in the order of their end.
    pub(super) fn finished(trace: &str) -> Vec<(String, String, String, Vec<String>)> {
        let finished = FINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = finished.iter().filter(|span| span.span_context.trace_id().to_string() == trace);
        ours.map(|span| {
            let attributes = span.attributes.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
            let (id, parent) = (span.span_context.span_id().to_string(), span.parent_span_id.to_string());
            (span.name.to_string(), id, parent, attributes)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_trace_is_continued_only_where_its_sender_samples_it() {
        testing::capture();
        let good = format!("00-{TRACE}-b7ad6b7169203331-01");
        let context = Context::sampled(&good, "a=1").expect("sampled");

        assert_eq!(context.parent(), good);
        for other in [
            format!("00-{TRACE}-b7ad6b7169203331-00"),
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-b7ad6b71-01"),
            "00-zz-b7ad6b7169203331-01".to_owned(),
            String::new(),
        ] {
            assert_eq!(Context::sampled(&other, ""), None, "{other}");
        }
    }

    #[test]
    fn a_finished_span_is_its_parents_child_and_a_dropped_one_never_was() {
        testing::capture();
        let trace = "1af7651916cd43dd8448eb211c80319c";
        let parent = Context::sampled(&format!("00-{trace}-b7ad6b7169203331-01"), "").expect("sampled");

        drop(Span::child(&parent, Kind::Consumer, "not ours"));
        let mut span = Span::child(&parent, Kind::Consumer, "process");
        span.set("messaging.system", "nats");
        let next = span.context();
        span.finish();

        let finished = testing::finished(trace);
        let [(name, id, parent, attributes)] = &finished[..] else { panic!("{finished:?}") };
        assert_eq!((name.as_str(), parent.as_str()), ("process", "b7ad6b7169203331"));
        assert_eq!(next.parent(), format!("00-{trace}-{id}-01"));
        assert_eq!(attributes[..], ["messaging.system=nats"]);
    }

    #[test]
    fn no_root_is_kept_where_the_share_is_none() {
        testing::capture();

        assert!((0..1000).all(|_| Span::root(Kind::Server, "receive").is_none()));
    }
}
