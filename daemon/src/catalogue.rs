//! The metrics of a service as a page for people, from the registrations themselves. Knows no metric by name.

use prometheus::Registry;
use prometheus::proto::{MetricFamily, MetricType};
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Values of a label beyond which only its name is told.
const VALUES_MAX: usize = 16;

/// A section of `docs/metrics.md`: every family, its labels with their values, its help.
pub(crate) fn markdown(service: &str, registry: &Registry) -> String {
    let mut text = format!("## {service}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for family in registry.gather() {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY => "summary",
            MetricType::UNTYPED => "untyped",
        };
        let help = family.help().trim_end_matches('.').replace('|', "\\|");
        // A text in memory takes everything.
        writeln!(text, "| `{}` | {kind} | {} | {help} |", family.name(), labels(&family)).unwrap_or_default();
    }
    text
}

fn labels(family: &MetricFamily) -> String {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for pair in family.get_metric().iter().flat_map(|metric| metric.get_label()) {
        values.entry(pair.name()).or_default().insert(pair.value());
    }
    let told = values.into_iter().map(|(name, values)| {
        // What differs from build to build is no value to write down.
        let plain = values.iter().all(|value| value.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        if plain && values.len() <= VALUES_MAX {
            format!("`{name}`: {}", values.into_iter().collect::<Vec<_>>().join(", "))
        } else {
            format!("`{name}`")
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{IntCounterVec, Opts};

    #[test]
    fn families_are_told_with_their_labels_and_values() {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("a_total", "Things."), &["result", "code"]).expect("good names");
        counter.with_label_values(&["ok", "1012"]).inc();
        counter.with_label_values(&["late", "1013"]).inc();
        registry.register(Box::new(counter)).expect("registered once");

        let text = markdown("sample", &registry);

        assert!(text.ends_with("| `a_total` | counter | `code`; `result`: late, ok | Things |\n"), "{text}");
    }
}
