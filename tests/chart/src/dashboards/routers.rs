//! Routers and the roster: who owns what, whether their view is whole, and what they throw away.

use super::panel::{Dashboard, Panel};

pub(super) fn dashboard() -> Dashboard {
    Dashboard::new(
        "routers",
        "Holdfast: routers and roster",
        "Each router mirrors the whole roster and handles the partitions it owns.",
    )
    .row("Routers", routers())
    .row("Routing", routing())
    .row("Roster", roster())
    .row("Process", process())
}

fn routers() -> Vec<Panel> {
    vec![
        Panel::stack("Partitions owned", "Always 64 in sum; uneven only while routers come and go.", "short")
            .query("sum by (instance) (holdfast_router_partitions_owned{$FLEET})", "{{instance}}"),
        Panel::lines("Partitions that moved", "A roll-out moves each a few times; otherwise none should.", "short")
            .query("sum by (instance) (increase(holdfast_router_partition_moves_total{$FLEET}[5m]))", "{{instance}}"),
        Panel::lines("Live", "1 where a router handles what it owns; 0 while it makes its mirror whole.", "short")
            .query("holdfast_router_live{$FLEET}", "{{instance}}"),
        Panel::lines("Term", "Rises with each change among the routers; all lines on one another.", "short")
            .query("holdfast_router_term{$FLEET}", "{{instance}}"),
        Panel::lines(
            "Times out of service",
            "A router that did not hear itself through the bus stopped and began anew.",
            "short",
        )
        .query("sum by (instance) (increase(holdfast_router_fenced_total{$FLEET}[5m]))", "{{instance}}"),
    ]
}

fn routing() -> Vec<Panel> {
    vec![
        Panel::stack("Handled, by router", "Sends and commands.", "mps")
            .query("sum by (instance) (rate(holdfast_router_routed_total{$FLEET}[$__rate_interval]))", "{{instance}}"),
        Panel::stack("Handled, by kind and result", "offline is no error.", "mps")
            .query("sum by (kind, result) (rate(holdfast_router_routed_total{$FLEET}[$__rate_interval]))", "{{kind}} {{result}}"),
        Panel::stack("Thrown away", "By reason; all but not_live point to something that broke.", "mps")
            .query("sum by (reason) (rate(holdfast_router_dropped_total{$FLEET}[$__rate_interval]))", "{{reason}}"),
        Panel::lines("Receipts", "late: some gateway did not answer within Hf-Timeout.", "reqps")
            .query("sum(rate(holdfast_router_receipts_total{$FLEET, result=\"complete\"}[$__rate_interval]))", "complete")
            .query("sum(rate(holdfast_router_receipts_total{$FLEET, result=\"late\"}[$__rate_interval]))", "late"),
        Panel::lines("Time of a turn", "From taking what waits to handing on its packets: half of the turns, and all but one in a hundred.", "s")
            .query("histogram_quantile(0.5, sum by (le) (rate(holdfast_router_route_duration_seconds_bucket{$FLEET}[$__rate_interval])))", "50 %")
            .query("histogram_quantile(0.99, sum by (le) (rate(holdfast_router_route_duration_seconds_bucket{$FLEET}[$__rate_interval])))", "99 %"),
        Panel::lines("Waiting for gateways", "Receipts and queries that gateways have not answered yet.", "short")
            .query("sum by (instance) (holdfast_router_receipts_pending{$FLEET})", "{{instance}} receipts")
            .query("sum by (instance) (holdfast_router_queries_pending{$FLEET})", "{{instance}} queries"),
        Panel::lines("Queries and facts", "Questions answered, and transitions told.", "reqps")
            .query("sum(rate(holdfast_router_queries_total{$FLEET}[$__rate_interval]))", "queries")
            .query("sum(rate(holdfast_router_facts_total{$FLEET}[$__rate_interval]))", "facts"),
    ]
}

fn roster() -> Vec<Panel> {
    vec![
        Panel::lines("Users", "As each router sees it: the lines lie on one another, or a mirror is wrong.", "short")
            .query("holdfast_router_users{$FLEET}", "{{instance}}"),
        Panel::lines("Rooms", "As each router sees it.", "short").query("holdfast_router_rooms{$FLEET}", "{{instance}}"),
        Panel::lines("Gateways", "By state, as each router sees them.", "short")
            .query("holdfast_router_registered_gateways{$FLEET}", "{{instance}} {{state}}"),
        Panel::lines("Rosters fetched whole", "new is normal; gap and digest mean that changes were lost, and healed.", "short")
            .query("sum by (reason) (increase(holdfast_router_resync_total{$FLEET}[5m]))", "{{reason}}"),
        Panel::lines("Lag of the roster", "From a change on a gateway to its place in a router's tables; clocks of two machines are compared.", "s").query(
            "histogram_quantile(0.99, sum by (le, instance) (rate(holdfast_router_presence_lag_seconds_bucket{$FLEET}[$__rate_interval])))",
            "{{instance}} 99 %",
        ),
        Panel::lines("Gateways lost", "Gone without a word: a crash, a kill, a cut.", "short")
            .query("sum by (instance) (increase(holdfast_router_registry_stale_evictions_total{$FLEET}[5m]))", "{{instance}}"),
    ]
}

fn process() -> Vec<Panel> {
    vec![
        Panel::lines("Processor", "Cores in use; a router routes on one thread, so 1 is the end.", "short").query(
            "rate(process_cpu_seconds_total{$FLEET, job=\"holdfast-router\"}[$__rate_interval])",
            "{{instance}}",
        ),
        Panel::lines("Memory", "Resident; grows with users.", "bytes")
            .query("process_resident_memory_bytes{$FLEET, job=\"holdfast-router\"}", "{{instance}}"),
    ]
}
