//! Every metric of the bus, declared once: `holdfast_bus_*`.

use super::PublishError;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Handles of the bus's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BusMetrics {
    pub(super) connected: IntGauge,
    pub(super) reconnects: IntCounter,
    pub(super) messages_in: IntCounter,
    pub(super) messages_out: IntCounter,
    pub(super) bytes_in: IntCounter,
    pub(super) bytes_out: IntCounter,
    pub(super) overflow: IntGauge,
    overflow_limit: IntGauge,
    messages: IntCounterVec,
    dropped: IntCounterVec,
    refused: IntCounterVec,
    events: IntCounterVec,
}

/// The label of losses in subscriptions that were not made through the bus.
const OTHER: &str = "other";

impl BusMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// Where they are registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let vec = |name: &str, help: &str, label: &str| -> Result<IntCounterVec, prometheus::Error> {
            let vec = IntCounterVec::new(Opts::new(format!("holdfast_bus_{name}"), help), &[label])?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(format!("holdfast_bus_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let messages = vec("messages_total", "Messages to and from the bus.", "direction")?;
        let bytes = vec("bytes_total", "Payload bytes to and from the bus.", "direction")?;
        let received = "Messages received, by the kind of their subscription.";
        let per_class = vec("received_total", received, "subscription")?;
        let dropped = "Messages lost in the client because a subscription was full, at least.";
        let refused = "Messages not taken for publishing, or lost with the connection, by reason.";
        let reconnects = IntCounter::new("holdfast_bus_reconnects_total", "Connections made after the first.")?;
        registry.register(Box::new(reconnects.clone()))?;
        let metrics = Self {
            connected: gauge("connected", "Whether the bus is connected.")?,
            reconnects,
            messages_in: messages.with_label_values(&["in"]),
            messages_out: messages.with_label_values(&["out"]),
            bytes_in: bytes.with_label_values(&["in"]),
            bytes_out: bytes.with_label_values(&["out"]),
            overflow: gauge("overflow_messages", "Messages waiting for the connection to take them.")?,
            overflow_limit: gauge("overflow_limit_messages", "How many may wait for the connection.")?,
            messages: per_class,
            dropped: vec("dropped_total", dropped, "subscription")?,
            refused: vec("publish_refused_total", refused, "reason")?,
            events: vec("client_events_total", "What the client reported.", "event")?,
        };
        for reason in ["disconnected", "full", "too_big", "subject", "lost"] {
            metrics.refused.with_label_values(&[reason]);
        }
        metrics.overflow_limit.set(i64::try_from(super::outbox::MESSAGES_MAX).unwrap_or(i64::MAX));
        for event in EVENTS {
            metrics.events.with_label_values(&[event]);
        }
        Ok(metrics)
    }

    /// Shows these kinds of subscriptions from the start.
    pub fn name_subscriptions(&self, classes: &[&str]) {
        for class in classes {
            self.received(class);
        }
    }

    pub(super) fn received(&self, class: &str) -> IntCounter {
        self.dropped.with_label_values(&[class]);
        self.messages.with_label_values(&[class])
    }

    pub(super) fn dropped(&self, class: Option<&str>) {
        self.dropped.with_label_values(&[class.unwrap_or(OTHER)]).inc();
    }

    pub(super) fn refused(&self, error: PublishError) {
        let reason = match error {
            PublishError::Disconnected => "disconnected",
            PublishError::Full => "full",
            PublishError::TooBig => "too_big",
            PublishError::Subject => "subject",
        };
        self.refused.with_label_values(&[reason]).inc();
    }

    /// Messages that had been taken and were then lost with the connection.
    pub(super) fn lost(&self, count: usize) {
        self.refused.with_label_values(&["lost"]).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(super) fn event(&self, event: &async_nats::Event) {
        self.events.with_label_values(&[event_label(event)]).inc();
    }
}

const EVENTS: [&str; 8] =
    ["connected", "disconnected", "lame_duck", "draining", "closed", "slow_consumer", "server_error", "client_error"];

fn event_label(event: &async_nats::Event) -> &'static str {
    use async_nats::Event;
    match event {
        Event::Connected => "connected",
        Event::Disconnected => "disconnected",
        Event::LameDuckMode => "lame_duck",
        Event::Draining => "draining",
        Event::Closed => "closed",
        Event::SlowConsumer(_) => "slow_consumer",
        Event::ServerError(_) => "server_error",
        Event::ClientError(_) => "client_error",
    }
}
