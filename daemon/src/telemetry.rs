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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread;
    use tracing_subscriber::layer::SubscriberExt;

    fn settings(endpoint: &str) -> TraceSettings {
        TraceSettings { endpoint: Some(endpoint.to_owned()), sample: Share(1.0) }
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
        let off = TraceSettings { endpoint: None, sample: Share(1.0) };
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
