//! The first dashboard to look at: is it well, how much goes through, what is lost and why.

use super::panel::{Dashboard, Panel};

pub(super) fn dashboard() -> Dashboard {
    Dashboard::new(
        "overview",
        "Holdfast: overview",
        "Connections, rates, losses by reason: the whole fleet on one page.",
    )
    .row("Now", now())
    .row("Connections", connections())
    .row("Messages", messages())
    .row("Losses", losses())
}

fn now() -> Vec<Panel> {
    vec![
        Panel::number("Connections", "Open client connections of all gateways.", "short")
            .query("sum(holdfast_gateway_connections{$FLEET})", ""),
        Panel::number("Users", "Users online, as the routers see them.", "short")
            .query("max(holdfast_router_users{$FLEET})", ""),
        Panel::number("Gateways", "Gateways that Prometheus reaches.", "short")
            .query("count(holdfast_gateway_build_info{$FLEET})", ""),
        Panel::number("Routers", "Routers that Prometheus reaches.", "short")
            .query("count(holdfast_router_build_info{$FLEET})", ""),
        Panel::number("Without bus", "Processes whose NATS connection is down.", "short")
            .query("count(holdfast_bus_connected{$FLEET} == 0) or vector(0)", "")
            .limits(1.0, 1.0),
        Panel::number("Lost per minute", "Copies of messages that clients should have had and did not get.", "short")
            .query("sum(rate(holdfast_gateway_dropped_total{$FLEET, reason!=\"conflated\"}[5m])) * 60", "")
            .limits(1.0, 100.0),
    ]
}

fn connections() -> Vec<Panel> {
    vec![
        Panel::stack("Connections by gateway", "Even after a while: clients are spread when they connect.", "short")
            .query("sum by (instance) (holdfast_gateway_connections{$FLEET})", "{{instance}}"),
        Panel::stack("Handshakes by result", "ok, and why the others were refused.", "reqps")
            .query("sum by (result) (rate(holdfast_gateway_handshakes_total{$FLEET}[$__rate_interval]))", "{{result}}"),
        Panel::lines("Handshakes take", "99 of 100, by part; total: from the socket to the answer.", "s").query(
            "histogram_quantile(0.99, sum by (stage, le) (rate(holdfast_gateway_handshake_duration_seconds_bucket{$FLEET}[$__rate_interval])))",
            "{{stage}}",
        ),
        Panel::stack("Closes by reason", "Entries of the close catalogue; app is a code of a domain service.", "short")
            .query(
                "sum by (code, reason) (rate(holdfast_gateway_connections_closed_total{$FLEET}[$__rate_interval]))",
                "{{code}} {{reason}}",
            ),
        Panel::stack("Closes by who began", "network: the socket broke without a close.", "short").query(
            "sum by (initiator) (rate(holdfast_gateway_connections_closed_total{$FLEET}[$__rate_interval]))",
            "{{initiator}}",
        ),
        Panel::lines(
            "Rooms and memberships",
            "Summed over gateways: a room counts on each gateway that has a member.",
            "short",
        )
        .query("sum(holdfast_gateway_rooms{$FLEET})", "rooms")
        .query("sum(holdfast_gateway_room_memberships{$FLEET})", "memberships"),
        Panel::lines("Bytes to and from clients", "Before TLS.", "Bps")
            .query("sum(rate(holdfast_gateway_sent_bytes_total{$FLEET}[$__rate_interval]))", "sent")
            .query("sum(rate(holdfast_gateway_received_bytes_total{$FLEET}[$__rate_interval]))", "received"),
    ]
}

fn messages() -> Vec<Panel> {
    vec![
        Panel::stack("Routed", "Sends and commands the routers handled, by kind.", "mps")
            .query("sum by (kind) (rate(holdfast_router_routed_total{$FLEET}[$__rate_interval]))", "{{kind}}"),
        Panel::stack("Delivered", "Copies handed to sockets, by what the message was for.", "mps")
            .query("sum by (target) (rate(holdfast_gateway_deliveries_total{$FLEET}[$__rate_interval]))", "{{target}}"),
        Panel::lines("Delivery", "From a router's receipt to the write on the socket; kept: from the storage.", "s")
            .query("histogram_quantile(0.5, sum by (le) (rate(holdfast_gateway_delivery_duration_seconds_bucket{$FLEET}[$__rate_interval])))", "half")
            .query("histogram_quantile(0.99, sum by (le) (rate(holdfast_gateway_delivery_duration_seconds_bucket{$FLEET}[$__rate_interval])))", "99 of 100"),
        Panel::lines("From clients", "Messages and requests published for domain services.", "mps")
            .query("sum(rate(holdfast_gateway_upstream_published_total{$FLEET}[$__rate_interval]))", "messages")
            .query("sum(rate(holdfast_gateway_requests_total{$FLEET}[$__rate_interval]))", "requests"),
    ]
}

fn losses() -> Vec<Panel> {
    vec![
        Panel::stack("Copies not delivered", "By reason; conflated ones were replaced by newer ones, as asked.", "mps")
            .query("sum by (reason) (rate(holdfast_gateway_dropped_total{$FLEET}[$__rate_interval]))", "{{reason}}"),
        Panel::stack("Routing results", "offline is no error: nobody of the target was connected.", "mps")
            .query("sum by (result) (rate(holdfast_router_routed_total{$FLEET}[$__rate_interval]))", "{{result}}"),
        Panel::lines("Clients' messages that failed", "Each was answered with an error.", "mps")
            .query("sum(rate(holdfast_gateway_upstream_failed_total{$FLEET}[$__rate_interval]))", "not published")
            .query("sum(rate(holdfast_gateway_request_timeouts_total{$FLEET}[$__rate_interval]))", "request timed out"),
    ]
}
