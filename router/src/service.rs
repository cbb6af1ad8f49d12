//! The queries as a NATS micro service (ADR-32): who answers `$SRV.PING`, `INFO` and `STATS`, and what.
//!
//! By hand over plain subscriptions, since the order in which a router takes its messages must hold. Knows only names,
//! endpoints and counters; the queries themselves are the core's.

use std::collections::HashMap;

use bytes::Bytes;
use holdfast_daemon::build_info;
use holdfast_protocol::fact::rfc3339;
use holdfast_protocol::subject::Subjects;
use serde::Serialize;
use tokio::time::Instant;

/// The queue group of the endpoints, as the micro-service clients call it.
pub const QUEUE_GROUP: &str = "q";
/// Queries whose duration is being measured.
const MEASURED_MAX: usize = 4_096;

/// Names of the endpoints, and their subjects behind the prefix.
const ENDPOINTS: [(&str, &str); 5] =
    [("user", "user.*"), ("room", "room.*"), ("connection", "connection.*"), ("nodes", "nodes"), ("stats", "stats")];

const DESCRIPTION: &str = "Who is connected where: users, rooms, connections and nodes of a Holdfast fleet";

#[derive(Debug, Default, Clone)]
struct Counters {
    requests: u64,
    errors: u64,
    last_error: String,
    nanoseconds: u64,
}

/// This instance of the service.
#[derive(Debug)]
pub struct MicroService {
    name: String,
    id: String,
    started: String,
    subjects: Vec<String>,
    counters: [Counters; ENDPOINTS.len()],
    /// Queries under way by reply subject: endpoint and start.
    measured: HashMap<String, (usize, Instant)>,
}

#[derive(Serialize)]
struct Identity<'a> {
    name: &'a str,
    id: &'a str,
    version: &'static str,
    metadata: NoMetadata,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct NoMetadata {}

#[derive(Serialize)]
struct Info<'a> {
    #[serde(flatten)]
    identity: Identity<'a>,
    description: &'static str,
    endpoints: Vec<Endpoint<'a>>,
}

#[derive(Serialize)]
struct Endpoint<'a> {
    name: &'static str,
    subject: &'a str,
    queue_group: &'static str,
    metadata: NoMetadata,
}

#[derive(Serialize)]
struct Stats<'a> {
    #[serde(flatten)]
    identity: Identity<'a>,
    started: &'a str,
    endpoints: Vec<EndpointStats<'a>>,
}

#[derive(Serialize)]
struct EndpointStats<'a> {
    name: &'static str,
    subject: &'a str,
    queue_group: &'static str,
    num_requests: u64,
    num_errors: u64,
    last_error: &'a str,
    processing_time: u64,
    average_processing_time: u64,
}

/// What is asked of a micro service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Ping,
    Info,
    Stats,
}

impl MicroService {
    /// An instance that starts now.
    pub fn new(name: &str, id: &str, subjects: &Subjects, started_unix_ms: u64) -> Self {
        Self {
            name: name.to_owned(),
            id: id.to_owned(),
            started: rfc3339(started_unix_ms),
            subjects: ENDPOINTS.iter().map(|(_, kind)| subjects.query(kind)).collect(),
            counters: Default::default(),
            measured: HashMap::new(),
        }
    }

    /// The subjects it is found on: each verb for all services, for its name and for itself.
    pub fn discovery_subjects(&self) -> Vec<String> {
        let verbs = ["PING", "INFO", "STATS"];
        let (name, id) = (&self.name, &self.id);
        let each = |verb| [format!("$SRV.{verb}"), format!("$SRV.{verb}.{name}"), format!("$SRV.{verb}.{name}.{id}")];
        verbs.into_iter().flat_map(each).collect()
    }

    /// The answer to a message on one of those subjects.
    pub fn discover(&self, subject: &str) -> Option<Bytes> {
        let verb = match subject.split('.').nth(1)? {
            "PING" => Verb::Ping,
            "INFO" => Verb::Info,
            "STATS" => Verb::Stats,
            _ => return None,
        };
        let body = match verb {
            Verb::Ping => serde_json::to_vec(&self.identity("io.nats.micro.v1.ping_response")),
            Verb::Info => serde_json::to_vec(&self.info()),
            Verb::Stats => serde_json::to_vec(&self.stats()),
        };
        body.ok().map(Bytes::from)
    }

    fn identity(&self, kind: &'static str) -> Identity<'_> {
        Identity { name: &self.name, id: &self.id, version: build_info::VERSION, metadata: NoMetadata {}, kind }
    }

    fn info(&self) -> Info<'_> {
        let endpoints = ENDPOINTS.iter().zip(&self.subjects).map(|((name, _), subject)| Endpoint {
            name,
            subject,
            queue_group: QUEUE_GROUP,
            metadata: NoMetadata {},
        });
        Info {
            identity: self.identity("io.nats.micro.v1.info_response"),
            description: DESCRIPTION,
            endpoints: endpoints.collect(),
        }
    }

    fn stats(&self) -> Stats<'_> {
        let all = ENDPOINTS.iter().zip(&self.subjects).zip(&self.counters);
        let endpoints = all.map(|(((name, _), subject), counters)| EndpointStats {
            name,
            subject,
            queue_group: QUEUE_GROUP,
            num_requests: counters.requests,
            num_errors: counters.errors,
            last_error: &counters.last_error,
            processing_time: counters.nanoseconds,
            average_processing_time: counters.nanoseconds.checked_div(counters.requests).unwrap_or(0),
        });
        Stats {
            identity: self.identity("io.nats.micro.v1.stats_response"),
            started: &self.started,
            endpoints: endpoints.collect(),
        }
    }

    /// Notes a query that came.
    pub fn note_query(&mut self, subject: &str, reply: Option<&str>, now: Instant) {
        let is_endpoint = |declared: &String| {
            declared.strip_suffix('*').map_or(subject == declared, |head| subject.starts_with(head))
        };
        let Some(endpoint) = self.subjects.iter().position(is_endpoint) else { return };
        self.counters[endpoint].requests += 1;
        if let Some(reply) = reply {
            if self.measured.len() >= MEASURED_MAX {
                // Queries are answered within half a second or never: what is left over was cut off.
                self.measured.clear();
            }
            self.measured.insert(reply.to_owned(), (endpoint, now));
        }
    }

    /// Notes an answer; one that is no query's is ignored.
    pub fn note_answer(&mut self, to: &str, error: Option<(u16, &str)>, now: Instant) {
        if self.measured.is_empty() {
            return;
        }
        let Some((endpoint, started)) = self.measured.remove(to) else { return };
        let counters = &mut self.counters[endpoint];
        let spent = u64::try_from(now.saturating_duration_since(started).as_nanos()).unwrap_or(u64::MAX);
        counters.nanoseconds = counters.nanoseconds.saturating_add(spent);
        if let Some((code, text)) = error {
            counters.errors += 1;
            counters.last_error = format!("{code}:{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::time::Duration;

    fn service() -> MicroService {
        MicroService::new("holdfast", "r1", &Subjects::new("hf"), 0)
    }

    fn json(service: &MicroService, subject: &str) -> Value {
        serde_json::from_slice(&service.discover(subject).expect("an answer")).expect("JSON")
    }

    #[test]
    fn it_is_found_by_all_by_name_and_by_id() {
        let subjects = service().discovery_subjects();
        assert_eq!(subjects.len(), 9);
        for subject in ["$SRV.PING", "$SRV.INFO.holdfast", "$SRV.STATS.holdfast.r1"] {
            assert!(subjects.iter().any(|s| s == subject), "{subject}");
        }
    }

    #[test]
    fn answers_follow_the_schemas() {
        let service = service();
        let ping = json(&service, "$SRV.PING");
        assert_eq!((&ping["type"], &ping["name"]), (&"io.nats.micro.v1.ping_response".into(), &"holdfast".into()));
        let info = json(&service, "$SRV.INFO.holdfast");
        assert_eq!(info["endpoints"][0]["subject"], "hf.query.user.*");
        assert_eq!(info["endpoints"][4]["queue_group"], "q");
        let stats = json(&service, "$SRV.STATS.holdfast.r1");
        assert_eq!((&stats["id"], &stats["started"]), (&"r1".into(), &"1970-01-01T00:00:00.000Z".into()));
        assert!(service.discover("$SRV.OTHER").is_none());
    }

    #[test]
    fn queries_and_their_errors_are_counted_per_endpoint() {
        let mut service = service();
        let now = Instant::now();
        service.note_query("hf.query.room.x", Some("inbox.1"), now);
        service.note_query("hf.query.room.y", Some("inbox.2"), now);
        service.note_query("hf.query.bogus", Some("inbox.3"), now);
        service.note_answer("inbox.1", None, now + Duration::from_micros(10));
        service.note_answer("inbox.2", Some((400, "limit")), now + Duration::from_micros(30));
        service.note_answer("inbox.9", None, now);

        let stats = json(&service, "$SRV.STATS");
        let room = &stats["endpoints"][1];
        assert_eq!((&room["num_requests"], &room["num_errors"]), (&2.into(), &1.into()));
        assert_eq!((&room["last_error"], &room["average_processing_time"]), (&"400:limit".into(), &20_000.into()));
    }
}
