//! Deploys and drains: where the clients of a leaving gateway go, and whether that went smoothly.

use super::panel::{Dashboard, Panel};

pub(super) fn dashboard() -> Dashboard {
    Dashboard::new("drains", "Holdfast: deploys and drains", "Roll-outs as clients see them; open it during each.")
        .row("Who moves", moving())
        .row("How it feels", feel())
}

fn moving() -> Vec<Panel> {
    vec![
        Panel::lines("Draining gateways", "1 while a gateway gives its clients away.", "short")
            .query("holdfast_gateway_draining{$FLEET}", "{{instance}}"),
        Panel::lines(
            "Connections by gateway",
            "A draining one falls evenly over its window; the others take what it gives.",
            "short",
        )
        .query("sum by (instance) (holdfast_gateway_connections{$FLEET})", "{{instance}}"),
        Panel::stack("Versions", "Processes by version.", "short")
            .query("count by (version) (holdfast_gateway_build_info{$FLEET})", "gateway {{version}}")
            .query("count by (version) (holdfast_router_build_info{$FLEET})", "router {{version}}"),
    ]
}

fn feel() -> Vec<Panel> {
    vec![
        Panel::lines("Closed to drain", "Code 1012: each client was told when to come back.", "short").query(
            "sum by (instance) (rate(holdfast_gateway_connections_closed_total{$FLEET, code=\"1012\"}[$__rate_interval]))",
            "{{instance}}",
        ),
        Panel::lines("Handshakes", "Coming back; stays below what the others can take.", "reqps")
            .query("sum by (instance) (rate(holdfast_gateway_handshakes_total{$FLEET, result=\"ok\"}[$__rate_interval]))", "{{instance}}"),
        Panel::stack("Refused handshakes", "draining and unavailable grow when balancers notice late or NATS is away.", "reqps")
            .query("sum by (result) (rate(holdfast_gateway_handshakes_total{$FLEET, result!=\"ok\"}[$__rate_interval]))", "{{result}}"),
        Panel::lines("Clients told of a loss", "Each client that was told `gap`; a smooth deploy has none.", "short")
            .query("sum by (instance) (rate(holdfast_gateway_gaps_total{$FLEET}[$__rate_interval]))", "{{instance}}"),
        Panel::lines("Waits for routers", "Joins and binds no router confirmed in time: routers come and go too fast.", "short").query(
            "sum by (instance) (rate(holdfast_gateway_roster_wait_timeouts_total{$FLEET}[$__rate_interval]))",
            "{{instance}}",
        ),
        Panel::lines("Processor", "Cores in use; handshakes with TLS are what costs.", "short")
            .query("rate(process_cpu_seconds_total{$FLEET, job=\"holdfast-gateway\"}[$__rate_interval])", "{{instance}}"),
    ]
}
