//! Where spans go in tests: a small OTLP/HTTP receiver of our own, or a real OpenTelemetry collector.
//!
//! Both tell what they got as the same plain [`Span`]s. Knows nothing of what the spans are about.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use prost::Message as _;

use crate::Folder;
use crate::process::Process;
use crate::wait::eventually;

/// A span as a collector got it. Ids in hex.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// `service.name` of the process it came from.
    pub service: String,
    /// Its trace.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// Its parent's id; empty for a root.
    pub parent: String,
    /// What it is called.
    pub name: String,
    /// Values as text.
    pub attributes: BTreeMap<String, String>,
    /// The traces it is linked to.
    pub links: Vec<String>,
}

/// A collector that is running.
#[derive(Debug)]
pub struct Collector {
    /// What `trace.endpoint` is set to.
    pub endpoint: String,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Own(Arc<Mutex<Vec<Span>>>),
    Real { process: Process, _folder: Folder },
}

impl Collector {
    /// Our own, for OTLP over HTTP.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen for spans");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound address"));
        let seen: Arc<Mutex<Vec<Span>>> = Arc::default();
        let source = Source::Own(Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                thread::spawn(move || while serve(&stream, &seen).is_ok() {});
            }
        });
        Self { endpoint, source }
    }

    /// A real one, from its program; speaks `http` or `grpc`.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn real(program: &Path, protocol: &str) -> Self {
        let folder = Folder::new();
        let address = free_address();
        let config = format!(
            "receivers:\n  otlp:\n    protocols:\n      {protocol}:\n        endpoint: {address}\n\
             exporters:\n  debug:\n    verbosity: detailed\n    use_internal_logger: false\n\
             service:\n  telemetry:\n    metrics:\n      level: none\n\
             \x20 pipelines:\n    traces:\n      receivers: [otlp]\n      exporters: [debug]\n"
        );
        let file = folder.path().join("collector.yaml");
        std::fs::write(&file, config).expect("write the collector's configuration");
        let mut command = Command::new(program);
        command.arg("--config").arg(&file);
        let process = Process::spawn("otelcol", command);
        eventually("the collector listens", async || match TcpStream::connect(address) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error}; {}", process.output())),
        })
        .await;
        Self { endpoint: format!("http://{address}"), source: Source::Real { process, _folder: folder } }
    }

    /// Ends a real one, as a crash would.
    pub fn kill(&self) {
        if let Source::Real { process, .. } = &self.source {
            process.kill();
        }
    }

    /// What has come so far.
    pub fn spans(&self) -> Vec<Span> {
        match &self.source {
            Source::Own(seen) => seen.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Source::Real { process, .. } => printed(&process.output()),
        }
    }

    /// The spans of a trace, once `enough` of them are there.
    pub async fn trace(&self, trace: &str, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        eventually(&format!("the spans of trace {trace}"), async || {
            let spans: Vec<_> = self.spans().into_iter().filter(|span| span.trace == trace).collect();
            if enough(&spans) { Ok(spans) } else { Err(format!("{spans:#?}")) }
        })
        .await
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound address")
}

/// One request of a kept-alive connection.
fn serve(mut stream: &TcpStream, seen: &Mutex<Vec<Span>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request = ExportTraceServiceRequest::decode(&body[..]).map_err(io::Error::other)?;
    seen.lock().unwrap_or_else(PoisonError::into_inner).extend(received(request));
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
}

fn received(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let attributes = resource.resource.map(|resource| pairs(&resource.attributes)).unwrap_or_default();
        let service = attributes.get("service.name").cloned().unwrap_or_default();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                service: service.clone(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                name: span.name,
                attributes: pairs(&span.attributes),
                links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
            });
        }
    }
    spans
}

fn pairs(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the real one prints of each span.
fn printed(output: &str) -> Vec<Span> {
    let (mut spans, mut service): (Vec<Span>, _) = (Vec::new(), String::new());
    for line in output.lines() {
        let text = line.trim();
        if let Some(value) = text.strip_prefix("-> service.name: Str(") {
            value.trim_end_matches(')').clone_into(&mut service);
        } else if text.starts_with("Span #") {
            spans.push(Span { service: service.clone(), ..Span::default() });
        } else if let Some(span) = spans.last_mut() {
            note(span, text);
        }
    }
    spans
}

fn note(span: &mut Span, text: &str) {
    if let Some((key, value)) = text.strip_prefix("-> ").and_then(|pair| pair.split_once(": ")) {
        let value = value.split_once('(').map_or(value, |(_, value)| value).trim_end_matches(')');
        span.attributes.insert(key.to_owned(), value.to_owned());
        return;
    }
    let Some((key, value)) = text.split_once(':') else { return };
    let value = value.trim().to_owned();
    match key.trim() {
        "Trace ID" if span.trace.is_empty() => span.trace = value,
        "-> Trace ID" | "Trace ID" => span.links.push(value),
        "ID" if span.id.is_empty() => span.id = value,
        "Parent ID" => span.parent = value,
        "Name" => span.name = value,
        _ => {}
    }
}
