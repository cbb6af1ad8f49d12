//! The budgets: which figure of which scenario must be at least or at most what. The only place where a figure is judged.

use crate::record::Record;
use crate::report::{Row, number};

/// Which way a figure is to go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// One budget.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// As users would say it.
    pub(crate) what: &'static str,
    pub(crate) scenario: &'static str,
    /// What the case must contain.
    pub(crate) case: &'static str,
    pub(crate) figure: &'static str,
    pub(crate) limit: Limit,
}

use Limit::{AtLeast, AtMost};

/// All of them.
pub(crate) const BUDGETS: &[Budget] = &[
    budget(
        "an idle connection, plain: user space",
        "idle",
        "ws, in one room",
        "gateway memory per connection",
        AtMost(1536.0),
    ),
    budget(
        "an idle connection, TLS: user space",
        "idle",
        "wss, in one room",
        "gateway memory per connection",
        AtMost(5120.0),
    ),
    budget("a router's memory per user", "idle", "ws", "router memory per user", AtMost(150.0)),
    budget(
        "one message to 1,000 sockets: rate of a bare `send()` loop",
        "fanout",
        "1,000 sockets, json, one by one",
        "rate of the bare loop",
        AtLeast(90.0),
    ),
    budget(
        "one message to 6,000 sockets: rate of a bare `send()` loop",
        "fanout",
        "6,000 sockets, json, one by one",
        "rate of the bare loop",
        AtLeast(90.0),
    ),
    budget(
        "one message to 1,000 sockets: CPU of a bare `send()` loop",
        "fanout",
        "1,000 sockets, json, one by one",
        "CPU of the bare loop",
        AtMost(111.0),
    ),
    budget(
        "the same under backlog: CPU of that loop",
        "backlog",
        "1,000 sockets, json, backlog",
        "CPU of the bare loop",
        AtMost(25.0),
    ),
    budget(
        "bursts to ten sockets: rate of that loop",
        "burst",
        "10 sockets, json, burst",
        "rate of the bare loop",
        AtLeast(500.0),
    ),
    budget(
        "sends to users: messages per router core",
        "route",
        "batches of 100",
        "messages per second of router CPU",
        AtLeast(100_000.0),
    ),
    budget(
        "sends to users at half load: p99 added to NATS alone",
        "route",
        "50 % load",
        "latency p99 added",
        AtMost(1.0),
    ),
    budget(
        "handshakes, TLS in full: rate per CPU of a bare accept",
        "handshake",
        "TLS, full",
        "rate per CPU of the bare accept",
        AtLeast(80.0),
    ),
    budget("connections in one cluster on one machine", "cluster", "nodes", "connections", AtLeast(900_000.0)),
    budget("a router's memory per user in that cluster", "cluster", "nodes", "router memory per user", AtMost(150.0)),
    budget(
        "a cold router in that cluster is whole",
        "cluster",
        "nodes",
        "cold router, from its start until it is whole",
        AtMost(5_000.0),
    ),
    budget("growth of memory with connections: exponent", "growth", "exponent", "gateway memory", AtMost(1.05)),
    budget(
        "growth of a message's cost with its receivers: exponent",
        "growth",
        "exponent",
        "CPU of a message to all",
        AtMost(1.1),
    ),
];

const fn budget(
    what: &'static str,
    scenario: &'static str,
    case: &'static str,
    figure: &'static str,
    limit: Limit,
) -> Budget {
    Budget { what, scenario, case, figure, limit }
}

/// What came of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// Nothing if it was not measured.
    pub(crate) value: Option<f64>,
    pub(crate) unit: String,
    pub(crate) text: String,
}

impl Budget {
    /// The limit, in words.
    pub(crate) fn limit_text(&self, unit: &str) -> String {
        match self.limit {
            AtMost(limit) => format!("≤ {} {unit}", number(limit)),
            AtLeast(limit) => format!("≥ {} {unit}", number(limit)),
        }
    }

    /// The first row that it speaks of.
    fn row<'a>(&self, record: &'a Record) -> Option<&'a Row> {
        let outcome = record.outcomes.iter().find(|outcome| outcome.scenario == self.scenario)?;
        outcome.rows.iter().find(|row| row.case.contains(self.case) && row.what == self.figure)
    }

    /// Whether it is met, and by how much it is not.
    pub(crate) fn judge(&self, record: &Record) -> Verdict {
        let Some(row) = self.row(record) else {
            return Verdict { value: None, unit: String::new(), text: "not measured".to_owned() };
        };
        let value = row.median();
        let missed = match self.limit {
            AtMost(limit) => value / limit - 1.0,
            AtLeast(limit) => 1.0 - value / limit,
        };
        let text = if missed <= 0.0 { "met".to_owned() } else { format!("**missed by {} %**", number(missed * 100.0)) };
        Verdict { value: Some(value), unit: row.unit.clone(), text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Machine, Outcome};

    #[test]
    fn a_budget_is_met_or_missed_or_not_measured() {
        let row = |value: f64| Row {
            case: "ws, in one room".to_owned(),
            what: "gateway memory per connection".to_owned(),
            unit: "B".to_owned(),
            values: vec![value],
        };
        let record = |value: f64| Record {
            machine: Machine { processor: String::new(), cores: 1, memory_gib: 1, kernel: String::new() },
            outcomes: vec![Outcome {
                scenario: "idle".to_owned(),
                commit: String::new(),
                time: 0,
                command: String::new(),
                rows: vec![row(value)],
            }],
        };
        let text = |budget: &Budget, value: f64| budget.judge(&record(value)).text;

        assert_eq!(text(&BUDGETS[0], 1536.0), "met");
        assert_eq!(text(&BUDGETS[0], 1920.0), "**missed by 25.0 %**");
        assert_eq!(text(&BUDGETS[1], 1.0), "not measured");
    }
}
