//! One gateway in depth: its clients, its queues, its threads of work, its process.

use super::panel::{Dashboard, Panel};

pub(super) fn dashboard() -> Dashboard {
    Dashboard::new("node", "Holdfast: one gateway", "Everything one gateway tells about itself.")
        .about_one("holdfast_gateway_connections")
        .row("Clients", clients())
        .row("Frames and bytes", frames())
        .row("Between clients and bus", inside())
        .row("Process", process())
}

fn clients() -> Vec<Panel> {
    vec![
        Panel::stack("Connections", "By transport.", "short").query("sum by (transport) (holdfast_gateway_connections{$ONE})", "{{transport}}"),
        Panel::lines("Users, rooms, memberships", "On this gateway, summed over its threads.", "short")
            .query("sum(holdfast_gateway_users{$ONE})", "users")
            .query("sum(holdfast_gateway_rooms{$ONE})", "rooms")
            .query("sum(holdfast_gateway_room_memberships{$ONE})", "memberships"),
        Panel::stack("Handshakes", "By result.", "reqps")
            .query("sum by (result) (rate(holdfast_gateway_handshakes_total{$ONE}[$__rate_interval]))", "{{result}}"),
        Panel::stack("Closes", "By code, reason and who began.", "short").query(
            "sum by (code, reason, initiator) (rate(holdfast_gateway_connections_closed_total{$ONE}[$__rate_interval]))",
            "{{code}} {{reason}} ({{initiator}})",
        ),
        Panel::stack("Copies not delivered", "By reason.", "mps")
            .query("sum by (reason) (rate(holdfast_gateway_dropped_total{$ONE}[$__rate_interval]))", "{{reason}}"),
        Panel::lines("Told and left out", "Clients told of a gap; copies that filters left out.", "short")
            .query("sum(rate(holdfast_gateway_gaps_total{$ONE}[$__rate_interval]))", "gaps")
            .query("sum(rate(holdfast_gateway_filtered_total{$ONE}[$__rate_interval]))", "filtered")
            .query("sum(rate(holdfast_gateway_acks_untracked_total{$ONE}[$__rate_interval]))", "acks not tracked"),
    ]
}

fn frames() -> Vec<Panel> {
    vec![
        Panel::stack("Frames sent", "By opcode.", "pps")
            .query("sum by (opcode) (rate(holdfast_gateway_frames_sent_total{$ONE}[$__rate_interval]))", "{{opcode}}"),
        Panel::stack("Frames received", "By opcode.", "pps")
            .query("sum by (opcode) (rate(holdfast_gateway_frames_received_total{$ONE}[$__rate_interval]))", "{{opcode}}"),
        Panel::lines("Frames per write", "How many frames leave with one system call; grows under load, at no delay.", "short").query(
            "sum(rate(holdfast_gateway_frames_sent_total{$ONE}[$__rate_interval])) / sum(rate(holdfast_gateway_writes_total{$ONE}[$__rate_interval]))",
            "frames",
        ),
    ]
}

fn inside() -> Vec<Panel> {
    vec![
        Panel::lines("Waiting between threads", "Messages between the bus thread and the client threads.", "short")
            .query("sum(holdfast_gateway_hub_backlog_messages{$ONE})", "for the bus thread")
            .query("sum(holdfast_gateway_shard_backlog_messages{$ONE})", "for client threads"),
        Panel::lines("Pauses in reading the bus", "A client thread was behind, so the bus was not read.", "short")
            .query("sum(rate(holdfast_gateway_bus_stalls_total{$ONE}[$__rate_interval]))", "pauses"),
        Panel::lines(
            "Packets from routers",
            "holes: something was lost on the bus; fenced: from a router that was given up.",
            "pps",
        )
        .query("sum(rate(holdfast_gateway_packets_total{$ONE}[$__rate_interval]))", "packets")
        .query("sum(rate(holdfast_gateway_packet_holes_total{$ONE}[$__rate_interval]))", "holes")
        .query("sum(rate(holdfast_gateway_packets_fenced_total{$ONE}[$__rate_interval]))", "fenced")
        .query("sum(rate(holdfast_gateway_packets_malformed_total{$ONE}[$__rate_interval]))", "malformed"),
        Panel::lines("Roster", "Changes told to routers, and rosters told whole.", "short")
            .query("sum(rate(holdfast_gateway_roster_changes_total{$ONE}[$__rate_interval]))", "changes")
            .query("sum(rate(holdfast_gateway_roster_batches_total{$ONE}[$__rate_interval]))", "batches")
            .query("sum(rate(holdfast_gateway_snapshots_total{$ONE}[$__rate_interval]))", "whole"),
        Panel::lines(
            "Routers heard",
            "Live routers, as this gateway hears them; below one no room can be joined.",
            "short",
        )
        .query("min(holdfast_gateway_routers{$ONE})", "routers"),
        Panel::lines("Late or lost answers", "Receipts not completed in time, facts not published.", "short")
            .query("sum(rate(holdfast_gateway_receipts_expired_total{$ONE}[$__rate_interval]))", "receipts")
            .query("sum(rate(holdfast_gateway_facts_lost_total{$ONE}[$__rate_interval]))", "facts"),
    ]
}

fn process() -> Vec<Panel> {
    vec![
        Panel::lines("Processor", "Cores in use.", "short")
            .query("rate(process_cpu_seconds_total{$ONE, job=\"holdfast-gateway\"}[$__rate_interval])", "{{instance}}"),
        Panel::lines("Memory", "Resident.", "bytes")
            .query("process_resident_memory_bytes{$ONE, job=\"holdfast-gateway\"}", "{{instance}}"),
        Panel::lines("Open files", "Each connection is one; at the limit new ones are refused.", "short")
            .query("process_open_fds{$ONE, job=\"holdfast-gateway\"}", "{{instance}}")
            .query("process_max_fds{$ONE, job=\"holdfast-gateway\"}", "{{instance}} limit"),
    ]
}
