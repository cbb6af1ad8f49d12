//! Every metric of the router, declared once: `holdfast_router_*`. Carries the core's counters over.

use holdfast_daemon::bus::BusMetrics;
use holdfast_daemon::reload::Reloads;
use holdfast_daemon::shutdown::Tasks;
use holdfast_daemon::{build_info, logging, process, telemetry};
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};

use crate::core::tally::{Dropped, Kind, Routed, Tally};
use crate::core::{Gauges, Reason};

/// Seconds, from a fraction of a millisecond to ten.
const BUCKETS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];

/// Handles of the router's metrics.
#[derive(Debug)]
pub struct Metrics {
    live: IntGauge,
    gateways: IntGaugeVec,
    connections: IntGauge,
    users: IntGauge,
    rooms: IntGauge,
    partitions: IntGauge,
    routers: IntGauge,
    term: IntGauge,
    receipts_pending: IntGauge,
    queries_pending: IntGauge,
    routed: IntCounterVec,
    dropped: IntCounterVec,
    malformed: IntCounterVec,
    receipts: IntCounterVec,
    queries: IntCounter,
    facts: IntCounter,
    facts_amended: IntCounter,
    resyncs: IntCounterVec,
    resync_ms: IntCounter,
    evictions: IntCounter,
    partition_moves: IntCounter,
    moves: IntCounterVec,
    inherited: IntCounterVec,
    holds: IntCounter,
    kept_headers_ignored: IntCounter,
    kept_repeated: IntCounter,
    kept_second: IntCounter,
    kept_holes: IntCounterVec,
    kept_read_back: IntCounter,
    /// Whether the stream of kept messages is there as it shall be.
    pub stream: IntGauge,
    /// Requests about the stream that failed.
    pub stream_failures: IntCounter,
    fenced: IntCounter,
    /// From the first message of a turn to the hand-over of what follows from it.
    pub turn: Histogram,
    /// From a change on a node to its place in the tables.
    pub lag: Histogram,
    /// What the core had counted at the last carry-over.
    carried: Tally,
}

/// The kinds of subscriptions that are counted apart.
const SUBSCRIPTIONS: [&str; 11] =
    ["router_beats", "rosters", "node_beats", "reports", "pings", "facts", "discovery", "kept", "ctl", "send", "query"];

/// Registers what counts from the start.
///
/// # Errors
/// Where it is registered already.
pub fn register(registry: &Registry) -> Result<(Metrics, BusMetrics), prometheus::Error> {
    build_info::register("router", registry)?;
    process::register(registry)?;
    telemetry::register(registry)?;
    logging::register(registry)?;
    Ok((Metrics::new(registry)?, BusMetrics::new(registry)?))
}

/// Each family at zero, for the list of metrics.
///
/// # Errors
/// A metric was declared twice.
pub fn all() -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    let (metrics, bus) = register(&registry)?;
    bus.name_subscriptions(&SUBSCRIPTIONS);
    for class in SUBSCRIPTIONS {
        metrics.malformed.with_label_values(&[class]);
    }
    metrics.show(&Gauges::default());
    Reloads::declare(&registry, &Tasks::new())?.name(&["admin_token", "bus_credentials", "log_level"]);
    Ok(registry)
}

struct Registering<'a>(&'a Registry);

impl Registering<'_> {
    fn keep<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.keep(IntGauge::new(format!("holdfast_router_{name}"), help)?)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.keep(IntCounter::new(format!("holdfast_router_{name}"), help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.keep(IntCounterVec::new(Opts::new(format!("holdfast_router_{name}"), help), labels)?)
    }

    fn histogram(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        let options = HistogramOpts::new(format!("holdfast_router_{name}"), help).buckets(BUCKETS.to_vec());
        self.keep(Histogram::with_opts(options)?)
    }
}

impl Metrics {
    /// Registers the metrics, each known label at zero.
    ///
    /// # Errors
    /// Where they are registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let r = Registering(registry);
        let gateways = Opts::new("holdfast_router_registered_gateways", "Gateways on the roster, by state.");
        let metrics = Self {
            live: r.gauge("live", "Whether this router handles what it owns.")?,
            gateways: r.keep(IntGaugeVec::new(gateways, &["state"])?)?,
            connections: r.gauge("connections", "Client connections, by the gateways' last beats.")?,
            users: r.gauge("users", "Users with a connection.")?,
            rooms: r.gauge("rooms", "Rooms with a member.")?,
            partitions: r.gauge("partitions_owned", "Partitions this router owns, of 64.")?,
            routers: r.gauge("routers", "Routers that own partitions.")?,
            term: r.gauge("term", "The highest term known; it rises with each change among the routers.")?,
            receipts_pending: r.gauge("receipts_pending", "Receipts that wait for gateways.")?,
            queries_pending: r.gauge("queries_pending", "Queries that wait for gateways.")?,
            routed: r.counters(
                "routed_total",
                "Sends and commands handled, by target and result.",
                &["kind", "result"],
            )?,
            dropped: r.counters("dropped_total", "What was thrown away, by reason.", &["reason"])?,
            malformed: r.counters("malformed_total", "Internal messages that could not be read.", &["subscription"])?,
            receipts: r.counters("receipts_total", "Receipts answered; late: some gateway was silent.", &["result"])?,
            queries: r.counter("queries_total", "Queries answered, errors among them.")?,
            facts: r.counter("facts_total", "Facts published.")?,
            facts_amended: r
                .counter("facts_amended_total", "Of the facts published, those that set right what was told before.")?,
            resyncs: r.counters("resync_total", "Rosters fetched whole, by reason.", &["reason"])?,
            resync_ms: r.counter("resync_milliseconds_total", "Time from asking for a roster to having it.")?,
            evictions: r.counter("registry_stale_evictions_total", "Gateways given up without a word from them.")?,
            partition_moves: r.counter("partition_moves_total", "Partitions that became this router's.")?,
            moves: r.counters("moves_total", "Orderly comings and goings of this router.", &["result"])?,
            inherited: r.counters(
                "inherited_total",
                "While routers came or went: messages kept for their former owner, of which it had handled, and former \
                 owners not waited for.",
                &["what"],
            )?,
            kept_headers_ignored: r.counter(
                "kept_headers_ignored_total",
                "Malformed headers of kept messages, which count for nothing.",
            )?,
            kept_repeated: r.counter("kept_repeated_total", "Kept messages forwarded again for a router that went.")?,
            kept_second: r.counter("kept_second_total", "Copies of kept messages that the stream sent twice.")?,
            kept_holes: r.counters(
                "kept_holes_total",
                "Copies of kept messages that did not come: read back, or left to the gateways.",
                &["result"],
            )?,
            kept_read_back: r.counter("kept_read_back_total", "Kept messages read back from the stream.")?,
            stream: r.gauge("kept_stream_up", "Whether the stream of kept messages is there.")?,
            stream_failures: r
                .counter("kept_stream_failures_total", "Requests about the stream of kept messages that failed.")?,
            holds: r.counter("holds_total", "Times this router held its work because its own beat was late.")?,
            fenced: r.counter("fenced_total", "Times this router stopped because it was cut off or given up.")?,
            turn: r
                .histogram("route_duration_seconds", "From taking a turn's messages to handing on their packets.")?,
            lag: r.histogram("presence_lag_seconds", "From a change on a gateway to its place in the tables.")?,
            carried: Tally::default(),
        };
        metrics.name_labels();
        Ok(metrics)
    }

    fn name_labels(&self) {
        for kind in Kind::ALL {
            for routed in Routed::ALL {
                self.routed.with_label_values(&[kind.label(), routed.label()]);
            }
        }
        for reason in Dropped::ALL {
            self.dropped.with_label_values(&[reason.label()]);
        }
        for reason in Reason::ALL {
            self.resyncs.with_label_values(&[reason.label()]);
        }
        for result in ["read", "left"] {
            self.kept_holes.with_label_values(&[result]);
        }
        for result in ["complete", "late"] {
            self.receipts.with_label_values(&[result]);
        }
        for result in ["complete", "unordered"] {
            self.moves.with_label_values(&[result]);
        }
        for what in ["kept", "second", "early"] {
            self.inherited.with_label_values(&[what]);
        }
    }

    /// Counts an internal message that could not be read.
    pub fn malformed(&self, class: &str) {
        self.malformed.with_label_values(&[class]).inc();
    }

    /// Carries over what the core has counted and holds.
    pub fn carry(&mut self, tally: &Tally, gauges: &Gauges) {
        let was = std::mem::replace(&mut self.carried, tally.clone());
        for kind in Kind::ALL {
            for routed in Routed::ALL {
                let (k, r) = (kind as usize, routed as usize);
                let grown = tally.routed[k][r] - was.routed[k][r];
                if grown > 0 {
                    self.routed.with_label_values(&[kind.label(), routed.label()]).inc_by(grown);
                }
            }
        }
        for reason in Dropped::ALL {
            let at = reason as usize;
            self.dropped.with_label_values(&[reason.label()]).inc_by(tally.dropped[at] - was.dropped[at]);
        }
        for reason in Reason::ALL {
            let at = reason as usize;
            self.resyncs.with_label_values(&[reason.label()]).inc_by(tally.resyncs[at] - was.resyncs[at]);
        }
        self.receipts.with_label_values(&["complete"]).inc_by(tally.receipts_complete - was.receipts_complete);
        self.receipts.with_label_values(&["late"]).inc_by(tally.receipts_late - was.receipts_late);
        self.queries.inc_by(tally.queries - was.queries);
        self.facts.inc_by(tally.facts - was.facts);
        self.facts_amended.inc_by(tally.facts_amended - was.facts_amended);
        self.resync_ms.inc_by(tally.resync_ms - was.resync_ms);
        self.evictions.inc_by(tally.nodes_lost - was.nodes_lost);
        self.partition_moves.inc_by(tally.partition_moves - was.partition_moves);
        self.moves.with_label_values(&["complete"]).inc_by(tally.moves - was.moves);
        self.moves.with_label_values(&["unordered"]).inc_by(tally.moves_unordered - was.moves_unordered);
        self.inherited.with_label_values(&["kept"]).inc_by(tally.inherited - was.inherited);
        self.inherited.with_label_values(&["second"]).inc_by(tally.inherited_seconds - was.inherited_seconds);
        self.inherited.with_label_values(&["early"]).inc_by(tally.inherited_early - was.inherited_early);
        self.kept_headers_ignored.inc_by(tally.kept_headers_ignored - was.kept_headers_ignored);
        self.kept_repeated.inc_by(tally.kept_repeated - was.kept_repeated);
        self.kept_second.inc_by(tally.kept_second - was.kept_second);
        self.kept_holes.with_label_values(&["read"]).inc_by(tally.kept_holes - was.kept_holes);
        self.kept_holes.with_label_values(&["left"]).inc_by(tally.kept_holes_left - was.kept_holes_left);
        self.kept_read_back.inc_by(tally.kept_read_back - was.kept_read_back);
        self.holds.inc_by(tally.holds - was.holds);
        self.fenced.inc_by(tally.fenced - was.fenced);
        self.show(gauges);
    }

    fn show(&self, gauges: &Gauges) {
        let set = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        for (state, count) in ["live", "draining", "late"].into_iter().zip(gauges.nodes) {
            set(&self.gateways.with_label_values(&[state]), count);
        }
        set(&self.live, u64::from(gauges.live));
        set(&self.connections, gauges.connections);
        set(&self.users, gauges.users);
        set(&self.rooms, gauges.rooms);
        set(&self.partitions, gauges.partitions);
        set(&self.routers, gauges.routers);
        set(&self.term, gauges.term);
        set(&self.receipts_pending, gauges.receipts);
        set(&self.queries_pending, gauges.queries);
    }
}
