//! The cells of a process as metric families, summed over shards when somebody asks.

use std::sync::Arc;

use holdfast_protocol::close::Close;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{
    Counter as ProtoCounter, Gauge as ProtoGauge, Histogram as ProtoHistogram, LabelPair, Metric, MetricFamily,
    MetricType,
};

use super::{
    CLOSE_LABELS, Cell, Drop, Handshake, HubCells, Initiator, Opcode, Reach, ShardCells, Stage, Transport, histogram,
};
use crate::hub::{BACKLOG_MAX, MARKERS_MAX, REQUESTS_MAX};
use crate::shard::HUB_BACKLOG_MAX;

/// Exports the cells of a process.
#[derive(Debug)]
pub struct GatewayCollector {
    hub: Arc<HubCells>,
    shards: Vec<Arc<ShardCells>>,
    build: Desc,
}

impl GatewayCollector {
    /// A collector over the process's cells.
    ///
    /// # Errors
    /// Never for the names in this file; the metrics crate checks them at run time.
    pub fn new(hub: Arc<HubCells>, shards: Vec<Arc<ShardCells>>) -> prometheus::Result<Self> {
        let build = Desc::new(
            "holdfast_gateway_build_info".to_owned(),
            "The build that runs".to_owned(),
            vec!["version".to_owned()],
            std::collections::HashMap::new(),
        )?;
        Ok(Self { hub, shards, build })
    }

    fn sum(&self, read: impl Fn(&ShardCells) -> &Cell) -> u64 {
        self.shards.iter().map(|shard| read(shard).value()).fold(0, u64::wrapping_add)
    }
}

impl Collector for GatewayCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.build]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        families.gauge("build_info", "The build that runs", &[(&version, 1)]);
        self.collect_state(&mut families);
        self.collect_traffic(&mut families);
        self.collect_durations(&mut families);
        self.collect_queues(&mut families);
        self.collect_hub(&mut families);
        families.0
    }
}

impl GatewayCollector {
    fn collect_state(&self, out: &mut Families) {
        out.labelled_gauge("connections", "Open client connections", "transport", Transport::ALL, |t| {
            (t.label(), self.sum(|s| &s.connections[t as usize]))
        });
        for (name, help, value) in [
            ("users", "Users with a connection, summed over shards", self.sum(|s| &s.users)),
            ("rooms", "Rooms with a member, summed over shards", self.sum(|s| &s.rooms)),
            ("room_memberships", "Memberships of connections in rooms", self.sum(|s| &s.memberships)),
            ("hub_backlog_messages", "Messages that wait for the hub", self.sum(|s| &s.hub_backlog)),
            ("shard_backlog_messages", "Messages that wait for shards", self.hub.shard_backlog.value()),
            ("routers", "Routers that are live as this node hears them", self.hub.routers.value()),
            ("roster_sequence", "The last roster batch published", self.hub.roster_seq.value()),
            ("draining", "1 while the node drains", self.hub.draining.value()),
            ("outbox_bytes", "Bytes that wait for clients, by the last sweep", self.sum(|s| &s.outbox_bytes)),
            ("memory_used_bytes", "Memory of the process, as the guard sees it", self.hub.memory_bytes.value()),
            ("memory_pressed", "1 while the node is short of memory", self.hub.memory_pressed.value()),
            ("upstream_held_bytes", "Client messages held while the bus is away", self.hub.upstream_held_bytes.value()),
            ("leaving_connections", "Connections to be sent away: drain, shed, age", self.sum(|s| &s.leaving)),
            (
                "leaving_rate_per_second",
                "Connections sent away per second, as planned",
                self.hub.leaving_rate_milli.value() / 1000,
            ),
            (
                "spare_handshakes_per_second",
                "Handshakes this node offers to clients of nodes that drain",
                self.hub.spare_handshakes.value(),
            ),
            (
                "fleet_spare_handshakes_per_second",
                "The same of all live nodes, as routers add it up",
                self.hub.fleet_spare_handshakes.value(),
            ),
        ] {
            out.gauge(name, help, &[(&[], value)]);
        }
    }

    fn collect_traffic(&self, out: &mut Families) {
        out.labelled_counter("handshakes_total", "Handshakes by result", "result", Handshake::ALL, |h| {
            (h.label(), self.sum(|s| &s.handshakes[h as usize]))
        });
        let mut closed = Vec::new();
        for row in 0..CLOSE_LABELS {
            let (code, reason) = match Close::ALL.get(row) {
                Some(close) => (close.code().to_string(), close.label()),
                None => ("app".to_owned(), "application"),
            };
            for initiator in Initiator::ALL {
                let value = self.sum(|s| &s.closed[row][*initiator as usize]);
                closed.push((code.clone(), reason, initiator.label(), value));
            }
        }
        let rows: Vec<_> = closed
            .iter()
            .map(|(code, reason, by, value)| {
                ([("code", code.as_str()), ("reason", *reason), ("initiator", *by)], *value)
            })
            .collect();
        let rows: Vec<(&[(&str, &str)], u64)> = rows.iter().map(|(labels, value)| (&labels[..], *value)).collect();
        out.counter("connections_closed_total", "Connections closed, by code and by who closed first", &rows);
        out.labelled_counter("frames_received_total", "Frames from clients", "opcode", Opcode::ALL, |o| {
            (o.label(), self.sum(|s| &s.frames_received[o as usize]))
        });
        out.labelled_counter("frames_sent_total", "Frames to clients", "opcode", Opcode::ALL, |o| {
            (o.label(), self.sum(|s| &s.frames_sent[o as usize]))
        });
        out.labelled_counter("deliveries_total", "Copies of messages handed to sockets", "target", Reach::ALL, |r| {
            (r.label(), self.sum(|s| &s.deliveries[r as usize]))
        });
        out.labelled_counter("dropped_total", "Copies of messages not delivered", "reason", Drop::ALL, |d| {
            (d.label(), self.sum(|s| &s.dropped[d as usize]))
        });
        for (name, help, value) in [
            ("received_bytes_total", "Bytes read from sockets", self.sum(|s| &s.received_bytes)),
            ("sent_bytes_total", "Bytes written to sockets", self.sum(|s| &s.sent_bytes)),
            ("writes_total", "Write calls on sockets", self.sum(|s| &s.writes)),
            ("filtered_total", "Copies that Hf-Only and Hf-Except left out", self.sum(|s| &s.filtered)),
            (
                "kept_behind_total",
                "Times a slow client was to be caught up from the stream of kept messages",
                self.sum(|s| &s.kept_behind),
            ),
            (
                "memory_closed_total",
                "Slow clients closed because the node was short of memory",
                self.sum(|s| &s.relieved),
            ),
            ("goaways_total", "Connections told that they will be sent away", self.sum(|s| &s.goaways)),
            ("gaps_total", "Times a client was told of a loss", self.sum(|s| &s.gaps)),
            (
                "acks_untracked_total",
                "Copies not tracked for acked: the table was full",
                self.sum(|s| &s.acks_untracked),
            ),
        ] {
            out.counter(name, help, &[(&[], value)]);
        }
    }

    fn collect_durations(&self, out: &mut Families) {
        let delivery = "From the router's receipt of a message (kept: from its storage) to the write of its copies";
        out.histogram("delivery_duration_seconds", delivery, "target", Reach::ALL, |reach| {
            (reach.label(), histogram::sum(self.shards.iter().map(|shard| &shard.delivery[reach as usize])))
        });
        let handshake = "How long handshakes take, by part; total is that of those that succeeded";
        out.histogram("handshake_duration_seconds", handshake, "stage", Stage::ALL, |stage| {
            (stage.label(), histogram::sum(self.shards.iter().map(|shard| &shard.handshake_duration[stage as usize])))
        });
    }

    /// How full each bounded queue is. A limit is for the whole process.
    fn collect_queues(&self, out: &mut Families) {
        let shards = self.shards.len() as u64;
        let queues = [
            ("hub", self.sum(|s| &s.hub_backlog), HUB_BACKLOG_MAX as u64 * shards),
            ("shards", self.hub.shard_backlog.value(), BACKLOG_MAX as u64 * shards),
            ("requests", self.hub.requests_waiting.value(), REQUESTS_MAX as u64),
            ("markers", self.hub.markers_waiting.value(), MARKERS_MAX as u64),
        ];
        let items = queues.map(|(queue, items, _)| ([("queue", queue)], items));
        let limits = queues.map(|(queue, _, limit)| ([("queue", queue)], limit));
        let rows = |values: &[([(&'static str, &'static str); 1], u64)]| {
            values.iter().map(|(labels, value)| (labels.to_vec(), *value)).collect::<Vec<_>>()
        };
        for (name, help, values) in [
            ("queue_items", "What waits in a bounded queue", rows(&items)),
            ("queue_limit", "What a bounded queue holds at most", rows(&limits)),
        ] {
            let rows: Vec<Row<'_>> = values.iter().map(|(labels, value)| (&labels[..], *value)).collect();
            out.gauge(name, help, &rows);
        }
    }

    fn collect_hub(&self, out: &mut Families) {
        let hub = &self.hub;
        for (name, help, cell) in [
            ("roster_batches_total", "Roster batches published", &hub.roster_batches),
            ("roster_changes_total", "Roster changes published", &hub.roster_changes),
            ("roster_wait_timeouts_total", "Joins and binds no router confirmed in time", &hub.roster_wait_timeouts),
            ("snapshots_total", "Rosters sent whole", &hub.snapshots),
            ("packets_total", "Packets from routers", &hub.packets),
            ("packets_fenced_total", "Packets of routers that were given up", &hub.packets_fenced),
            ("packet_holes_total", "Holes in a router's packet numbers", &hub.packet_holes),
            ("handover_waits_total", "Times packets of a new owner waited for a former one's", &hub.handover_waits),
            ("handover_waits_given_up_total", "Times they waited in vain", &hub.handover_waits_given_up),
            ("packets_malformed_total", "Internal messages that could not be read", &hub.packets_malformed),
            ("upstream_published_total", "Client messages published", &hub.published),
            ("upstream_failed_total", "Client messages that could not be published", &hub.publish_failed),
            ("upstream_held_total", "Client messages held because the bus was away", &hub.upstream_held),
            ("requests_total", "Client requests published", &hub.requests),
            ("request_timeouts_total", "Requests nobody answered in time", &hub.request_timeouts),
            ("receipts_expired_total", "Receipts a shard did not complete in time", &hub.receipts_expired),
            ("kept_reads_total", "Requests to the stream of kept messages", &hub.kept_reads),
            ("kept_reads_failed_total", "Reads of the stream that came to nothing", &hub.kept_reads_failed),
            ("kept_resumed_total", "Clients that resumed with all they had missed", &hub.kept_resumed),
            ("kept_unrecovered_total", "Clients that could not resume", &hub.kept_unrecovered),
            ("kept_duplicates_total", "Second copies of kept messages", &hub.kept_duplicates),
            ("kept_holes_total", "Holes seen in a target's kept messages", &hub.kept_holes),
            ("kept_repaired_total", "Holes filled from the stream", &hub.kept_repaired),
            ("kept_lost_total", "Holes told to clients as gaps", &hub.kept_lost),
            ("kept_reconciled_total", "Looks at the stream after a loss", &hub.kept_reconciled),
            ("internal_unsent_total", "Messages to routers that could not be published", &hub.internal_unsent),
            (
                "recent_changes_dropped_total",
                "Changes of the roster that a router without others would not hear of, for want of room",
                &hub.recent_changes_dropped,
            ),
            ("facts_lost_total", "Facts that could not be published", &hub.facts_lost),
            ("bus_stalls_total", "Times the bus was not read because a shard was behind", &hub.bus_stalls),
        ] {
            out.counter(name, help, &[(&[], cell.value())]);
        }
    }
}

/// Metric families under construction.
#[derive(Default)]
struct Families(Vec<MetricFamily>);

type Row<'a> = (&'a [(&'a str, &'a str)], u64);

impl Families {
    fn labelled_gauge<T: Copy>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        all: &[T],
        read: impl Fn(T) -> (&'static str, u64),
    ) {
        self.rows(name, help, label, all, read, MetricType::GAUGE);
    }

    fn histogram<T: Copy>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        all: &[T],
        read: impl Fn(T) -> (&'static str, ProtoHistogram),
    ) {
        let metrics = all.iter().map(|item| {
            let (value, histogram) = read(*item);
            let mut one = Metric::default();
            one.set_label(labels_of(&[(label, value)]));
            one.set_histogram(histogram);
            one
        });
        let metrics = metrics.collect();
        self.push(name, help, MetricType::HISTOGRAM, metrics);
    }

    fn labelled_counter<T: Copy>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        all: &[T],
        read: impl Fn(T) -> (&'static str, u64),
    ) {
        self.rows(name, help, label, all, read, MetricType::COUNTER);
    }

    fn rows<T: Copy>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        all: &[T],
        read: impl Fn(T) -> (&'static str, u64),
        kind: MetricType,
    ) {
        let values: Vec<_> = all.iter().map(|item| read(*item)).collect();
        let rows: Vec<_> = values.iter().map(|(value, count)| ([(label, *value)], *count)).collect();
        let rows: Vec<Row<'_>> = rows.iter().map(|(labels, count)| (&labels[..], *count)).collect();
        self.family(name, help, &rows, kind);
    }

    fn gauge(&mut self, name: &str, help: &str, rows: &[Row<'_>]) {
        self.family(name, help, rows, MetricType::GAUGE);
    }

    fn counter(&mut self, name: &str, help: &str, rows: &[Row<'_>]) {
        self.family(name, help, rows, MetricType::COUNTER);
    }

    fn family(&mut self, name: &str, help: &str, rows: &[Row<'_>], kind: MetricType) {
        let metrics = rows.iter().map(|(labels, value)| metric(labels, *value, kind)).collect();
        self.push(name, help, kind, metrics);
    }

    fn push(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        let mut family = MetricFamily::default();
        family.set_name(format!("holdfast_gateway_{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

fn labels_of(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    pairs.collect()
}

fn metric(labels: &[(&str, &str)], value: u64, kind: MetricType) -> Metric {
    #[expect(clippy::cast_precision_loss, reason = "the exposition format has doubles; counts stay far below 2^53")]
    let value = value as f64;
    let mut metric = Metric::default();
    metric.set_label(labels_of(labels));
    if kind == MetricType::GAUGE {
        let mut gauge = ProtoGauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    } else {
        let mut counter = ProtoCounter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    }
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_and_every_drop_is_there_at_zero() {
        let shard = Arc::new(ShardCells::default());
        shard.closed(4999, Initiator::Client).add(2);
        let collector =
            GatewayCollector::new(Arc::default(), vec![shard.clone(), Arc::default()]).expect("valid names");
        let registry = prometheus::Registry::new();
        registry.register(Box::new(collector)).expect("registered once");

        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("encodes");

        for close in Close::ALL {
            assert!(text.contains(&format!("reason=\"{}\"", close.label())), "{close:?}");
        }
        for drop in Drop::ALL {
            assert!(
                text.contains(&format!("holdfast_gateway_dropped_total{{reason=\"{}\"}} 0", drop.label())),
                "{drop:?}"
            );
        }
        assert!(text.contains(
            "holdfast_gateway_connections_closed_total{code=\"app\",reason=\"application\",initiator=\"client\"} 2"
        ));
        assert!(text.contains("# TYPE holdfast_gateway_connections gauge"));
    }
}
