//! What is counted of requests for sessions that other nodes have, and of the questions where a session is.

use holdfast_protocol::wire::ExchangeAsk;
use prometheus::{IntCounterVec, Opts, Registry};

use super::desk::Lost;

/// The counters.
#[derive(Debug, Clone)]
pub struct Exchanges {
    passed_on: IntCounterVec,
    lookups: IntCounterVec,
}

const ASKS: [&str; 3] = ["receive", "send", "leave"];
const RESULTS: [&str; 4] = ["answered", "node_lost", "unavailable", "too_big"];
const PLACES: [&str; 4] = ["remembered", "found", "nowhere", "unavailable"];

impl Exchanges {
    /// Registered, at zero.
    ///
    /// # Errors
    /// A metric was declared twice.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let family = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let passed_on = family(
            "holdfast_gateway_http_exchanges_total",
            "Requests for sessions over HTTP passed on to the node that has them, by what they ask for and the result.",
            &["ask", "result"],
        )?;
        let lookups = family(
            "holdfast_gateway_http_lookups_total",
            "Questions which other node has a session over HTTP, by the answer.",
            &["result"],
        )?;
        for ask in ASKS {
            for result in RESULTS {
                passed_on.with_label_values(&[ask, result]).inc_by(0);
            }
        }
        for place in PLACES {
            lookups.with_label_values(&[place]).inc_by(0);
        }
        Ok(Self { passed_on, lookups })
    }

    pub(super) fn passed_on<T>(&self, ask: &ExchangeAsk, result: &Result<T, Lost>) {
        let ask = match ask {
            ExchangeAsk::Receive { .. } => "receive",
            ExchangeAsk::Send { .. } => "send",
            ExchangeAsk::Leave { .. } => "leave",
        };
        let result = match result {
            Ok(_) => "answered",
            Err(Lost::Node) => "node_lost",
            Err(Lost::Bus) => "unavailable",
            Err(Lost::TooBig) => "too_big",
        };
        self.passed_on.with_label_values(&[ask, result]).inc();
    }

    pub(super) fn looked_up(&self, place: &'static str) {
        self.lookups.with_label_values(&[place]).inc();
    }
}
