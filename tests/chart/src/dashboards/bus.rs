//! NATS as Holdfast sees it: connected or not, how much passes, and where something waits or is lost.

use super::panel::{Dashboard, Panel};

pub(super) fn dashboard() -> Dashboard {
    Dashboard::new(
        "bus",
        "Holdfast: the bus",
        "NATS from the inside of gateways and routers; the servers have dashboards of their own.",
    )
    .row("Connection", connection())
    .row("Traffic", traffic())
    .row("Losses and waits", losses())
}

fn connection() -> Vec<Panel> {
    vec![
        Panel::lines("Connected", "1 where the connection is up.", "short")
            .query("holdfast_bus_connected{$FLEET}", "{{job}} {{instance}}"),
        Panel::lines(
            "Reconnects",
            "Each is a moment without the bus; one per server and roll-out of NATS is normal.",
            "short",
        )
        .query("increase(holdfast_bus_reconnects_total{$FLEET}[5m])", "{{job}} {{instance}}"),
        Panel::stack(
            "What the client reported",
            "slow_consumer: a subscription was full; server_error: look for permissions.",
            "short",
        )
        .query("sum by (event) (increase(holdfast_bus_client_events_total{$FLEET}[5m]))", "{{event}}"),
    ]
}

fn traffic() -> Vec<Panel> {
    vec![
        Panel::lines("Messages", "To and from NATS.", "mps").query(
            "sum by (job, direction) (rate(holdfast_bus_messages_total{$FLEET}[$__rate_interval]))",
            "{{job}} {{direction}}",
        ),
        Panel::lines("Bytes", "Payloads to and from NATS.", "Bps").query(
            "sum by (job, direction) (rate(holdfast_bus_bytes_total{$FLEET}[$__rate_interval]))",
            "{{job}} {{direction}}",
        ),
        Panel::stack("Received by subscription", "What the messages are.", "mps").query(
            "sum by (job, subscription) (rate(holdfast_bus_received_total{$FLEET}[$__rate_interval]))",
            "{{job}} {{subscription}}",
        ),
    ]
}

fn losses() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Dropped on arrival",
            "A full subscription: the process did not keep up. The roster heals; live messages are lost.",
            "short",
        )
        .query(
            "sum by (job, subscription) (rate(holdfast_bus_dropped_total{$FLEET}[$__rate_interval]))",
            "{{job}} {{subscription}}",
        ),
        Panel::lines(
            "Refused or lost on departure",
            "disconnected and lost while NATS is away; full when it does not keep up.",
            "short",
        )
        .query(
            "sum by (job, reason) (rate(holdfast_bus_publish_refused_total{$FLEET}[$__rate_interval]))",
            "{{job}} {{reason}}",
        ),
        Panel::lines("Waiting to leave", "Messages the connection has not taken yet.", "short")
            .query("holdfast_bus_overflow_messages{$FLEET}", "{{job}} {{instance}}"),
    ]
}
