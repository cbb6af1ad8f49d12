//! Spans to an OpenTelemetry collector: off unless an address is set, and never in the way.
//!
//! The exporter works on a thread of its own behind a bounded queue; where the collector is slow or away, spans are
//! dropped and counted, messages are not. Two sources share it: [`crate::spans`], made by hand for messages,
//! and `tracing`'s own spans of level `info` for what is rare.

use crate::config::{Raw, Value};
use crate::spans::{self, Sink};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData, SpanExporter as Export,
    SpanProcessor,
};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::registry::LookupSpan;

/// Spans that wait for the exporter; more are dropped.
const QUEUE_MAX: usize = 8_192;
/// Spans in one request to the collector.
const BATCH_MAX: usize = 512;
/// How long a span waits for others at most.
const DELAY_MAX: Duration = Duration::from_secs(1);
/// For one request to the collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// For the last spans, at the end of the process.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

crate::choices! {
    /// How the collector is spoken to.
    pub enum TraceProtocol {
        /// OTLP over HTTP with protobuf, usually on port 4318.
        Http = "http",
        /// OTLP over gRPC, usually on port 4317.
        Grpc = "grpc",
    }
}

crate::settings! {
    /// Spans to an OpenTelemetry collector; off unless an endpoint is set. Headers for it are taken from
    /// `OTEL_EXPORTER_OTLP_HEADERS`, further attributes of the process from `OTEL_RESOURCE_ATTRIBUTES`.
    pub struct TraceSettings {
        /// Base address of an OTLP collector, such as `http://127.0.0.1:4318`; unset means off.
        pub endpoint: Option<String>,
        /// How it is spoken to.
        pub protocol: TraceProtocol = "http",
        /// Share of traces begun here that are kept, 0 to 1; a trace begun elsewhere keeps its own decision.
        pub sample: Share = "0.01",
    }
}

/// A number from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Value for Share {
    const KIND: &'static str = "number from 0 to 1";

    fn parse(raw: &Raw) -> Result<Self, String> {
        let number = f64::parse(raw)?;
        if (0.0..=1.0).contains(&number) { Ok(Self(number)) } else { Err(format!("{number} is not from 0 to 1")) }
    }
}

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The address is unusable.
    #[error("cannot set up the span exporter")]
    Exporter(#[from] ExporterBuildError),
    /// No thread for it.
    #[error("cannot start the span exporter's runtime")]
    Runtime(#[from] io::Error),
}

/// Keeps the exporter alive; dropping it sends what waits. Blocks meanwhile: drop it outside of any runtime.
#[derive(Debug)]
#[must_use = "spans are exported only while this is kept"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    /// What speaks gRPC needs one; ends after the provider.
    runtime: Option<Runtime>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT)
        {
            tracing::warn!(%error, "The last spans were not exported");
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What became of spans, in this process.
static ACCOUNT: Account = Account {
    exported: AtomicU64::new(0),
    failed: AtomicU64::new(0),
    dropped: AtomicU64::new(0),
    waiting: AtomicUsize::new(0),
};

#[derive(Debug)]
struct Account {
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    waiting: AtomicUsize,
}

/// The way to the collector, with an account of what goes it.
#[derive(Debug)]
struct Counted {
    route: Route,
}

#[derive(Debug)]
enum Route {
    /// Blocks the exporter's thread.
    Http(Box<SpanExporter>),
    /// Needs a runtime.
    Grpc(Arc<SpanExporter>, tokio::runtime::Handle),
}

impl Export for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let done = match &self.route {
            Route::Http(exporter) => exporter.export(batch).await,
            Route::Grpc(exporter, runtime) => {
                let exporter = Arc::clone(exporter);
                let sent = runtime.spawn(async move { exporter.export(batch).await });
                sent.await.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())))
            }
        };
        let result = if done.is_ok() { &ACCOUNT.exported } else { &ACCOUNT.failed };
        result.fetch_add(count as u64, Ordering::Relaxed);
        ACCOUNT.waiting.fetch_sub(count, Ordering::Relaxed);
        done
    }
}

/// The queue before the exporter's thread, shared by both sources of spans.
#[derive(Debug, Clone)]
struct Queue(Arc<BatchSpanProcessor>);

impl Sink for Queue {
    fn take(&self, span: SpanData) {
        if ACCOUNT.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE_MAX {
            ACCOUNT.waiting.fetch_sub(1, Ordering::Relaxed);
            ACCOUNT.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            self.0.on_end(span);
        }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.take(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

/// The layer that turns spans of level `info` and above into exported ones, where configured.
pub(crate) fn layer<S>(
    service: &str,
    node: &str,
    settings: &TraceSettings,
) -> Result<(Option<impl Layer<S> + use<S>>, Telemetry), TelemetryError>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let Some(endpoint) = &settings.endpoint else {
        return Ok((None, Telemetry { provider: None, runtime: None }));
    };
    let resource = Resource::builder()
        .with_service_name(format!("holdfast-{service}"))
        .with_attribute(KeyValue::new("service.namespace", "holdfast"))
        .with_attribute(KeyValue::new("service.instance.id", node.to_owned()))
        .with_attribute(KeyValue::new("service.version", crate::build_info::VERSION))
        .build();
    let (route, runtime) = route(endpoint.trim_end_matches('/'), settings.protocol, &resource)?;
    let batches = BatchConfigBuilder::default()
        // One more batch than is ever taken: the queue itself never overflows unseen.
        .with_max_queue_size(QUEUE_MAX + BATCH_MAX)
        .with_max_export_batch_size(BATCH_MAX)
        .with_scheduled_delay(DELAY_MAX)
        .build();
    let queue = Queue(Arc::new(BatchSpanProcessor::new(Counted { route }, batches)));
    spans::install(Box::new(queue.clone()), settings.sample.0);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(queue)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample.0))))
        .with_resource(resource)
        .build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    let tracer = provider.tracer("holdfast");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_filter(LevelFilter::INFO);
    Ok((Some(layer), Telemetry { provider: Some(provider), runtime }))
}

fn route(
    endpoint: &str,
    protocol: TraceProtocol,
    resource: &Resource,
) -> Result<(Route, Option<Runtime>), TelemetryError> {
    match protocol {
        TraceProtocol::Http => {
            let address = format!("{endpoint}/v1/traces");
            let builder = SpanExporter::builder().with_http().with_endpoint(address).with_timeout(EXPORT_TIMEOUT);
            let mut exporter = builder.build()?;
            exporter.set_resource(resource);
            Ok((Route::Http(Box::new(exporter)), None))
        }
        TraceProtocol::Grpc => {
            let runtime =
                Builder::new_multi_thread().worker_threads(1).thread_name("span exporter").enable_all().build()?;
            let entered = runtime.enter();
            let builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT);
            let mut exporter = builder.build()?;
            exporter.set_resource(resource);
            drop(entered);
            Ok((Route::Grpc(Arc::new(exporter), runtime.handle().clone()), Some(runtime)))
        }
    }
}

/// Registers the account of spans: `holdfast_trace_*`, at zero where spans are off.
///
/// # Errors
/// Where it is registered already.
pub fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    let spans = Opts::new("holdfast_trace_spans_total", "Spans that were made, by what became of them.");
    let waiting = IntGauge::new("holdfast_trace_queue_spans", "Spans that wait for the exporter.")?;
    registry.register(Box::new(SpanMetrics { spans: IntCounterVec::new(spans, &["result"])?, waiting }))
}

struct SpanMetrics {
    spans: IntCounterVec,
    waiting: IntGauge,
}

impl Collector for SpanMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.spans.desc().into_iter().chain(self.waiting.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Account { exported, failed, dropped, waiting } = &ACCOUNT;
        for (result, count) in [("exported", exported), ("failed", failed), ("dropped", dropped)] {
            let counter = self.spans.with_label_values(&[result]);
            counter.inc_by(count.load(Ordering::Relaxed).saturating_sub(counter.get()));
        }
        self.waiting.set(i64::try_from(waiting.load(Ordering::Relaxed)).unwrap_or(i64::MAX));
        self.spans.collect().into_iter().chain(self.waiting.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread;
    use tracing_subscriber::layer::SubscriberExt;

    fn settings(endpoint: &str) -> TraceSettings {
        TraceSettings { endpoint: Some(endpoint.to_owned()), protocol: TraceProtocol::Http, sample: Share(1.0) }
    }

    /// Emits one span and ends the exporter, as the end of `main` does.
    fn emit(settings: &TraceSettings) {
        let (layer, telemetry) = layer("sample", "n1", settings).expect("a good address");
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || tracing::info_span!("handshake").in_scope(|| ()));
        drop(telemetry);
    }

    #[test]
    fn a_span_reaches_the_collector_before_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        let collector = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("asked");
            let mut reader = BufReader::new(&stream);
            let head: Vec<String> =
                reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let length =
                head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.expect("a length")];
            reader.read_exact(&mut body).expect("a body");
            (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("answered");
            (head[0].clone(), String::from_utf8_lossy(&body).into_owned())
        });

        emit(&settings(&format!("http://{address}/")));

        let (request, body) = collector.join().expect("heard");
        assert_eq!(request, "POST /v1/traces HTTP/1.1");
        assert!(body.contains("handshake") && body.contains("holdfast-sample"), "{body}");
    }

    #[test]
    fn without_an_endpoint_nothing_is_set_up_and_a_dead_collector_stops_nobody() {
        let off = TraceSettings { endpoint: None, protocol: TraceProtocol::Http, sample: Share(1.0) };
        let (none, _telemetry) = layer::<tracing_subscriber::Registry>("sample", "n1", &off).expect("nothing to fail");
        assert!(none.is_none());

        emit(&settings("http://127.0.0.1:1"));
    }

    #[test]
    fn a_share_is_from_zero_to_one() {
        assert_eq!(Share::parse(&Raw::Text("0.25".into())), Ok(Share(0.25)));
        for wrong in ["1.5", "-0.1", "NaN", "all"] {
            assert!(Share::parse(&Raw::Text(wrong.into())).is_err(), "{wrong}");
        }
    }
}
