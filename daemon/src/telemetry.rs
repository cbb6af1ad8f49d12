//! Spans to an OpenTelemetry collector: off unless an address is set, and never in the way.
//!
//! The exporter works on a thread of its own behind a bounded queue; where the collector is slow or away, spans are
//! dropped, messages are not.

use crate::config::{Raw, Value};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::registry::LookupSpan;

crate::settings! {
    /// Spans to an OpenTelemetry collector; off unless an endpoint is set.
    pub struct TraceSettings {
        /// Base address of an OTLP/HTTP collector, such as `http://127.0.0.1:4318`; unset means off.
        pub endpoint: Option<String>,
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
#[error("cannot set up the span exporter")]
pub struct TelemetryError(#[from] ExporterBuildError);

/// Keeps the exporter alive; dropping it sends what waits. Blocks meanwhile: drop it outside of any runtime.
#[derive(Debug)]
#[must_use = "spans are exported only while this is kept"]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "The last spans were not exported");
        }
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
    let Some(endpoint) = &settings.endpoint else { return Ok((None, Telemetry(None))) };
    let address = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = SpanExporter::builder().with_http().with_endpoint(address).build()?;
    let resource = Resource::builder()
        .with_service_name(format!("holdfast-{service}"))
        .with_attribute(KeyValue::new("service.instance.id", node.to_owned()))
        .with_attribute(KeyValue::new("service.version", crate::build_info::VERSION))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample.0))))
        .with_resource(resource)
        .build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    let tracer = provider.tracer("holdfast");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_filter(LevelFilter::INFO);
    Ok((Some(layer), Telemetry(Some(provider))))
}
