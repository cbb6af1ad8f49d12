//! Names of metrics: those that queries use, and whether the sources declare them.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::repository;

/// Where metrics are declared. A name is declared where the text after its prefix stands in quotes.
const SOURCES: [(&str, &str); 8] = [
    ("holdfast_gateway_", "gateway/src/metrics/collector.rs"),
    ("holdfast_gateway_jwks_", "gateway/src/metrics/keys.rs"),
    ("holdfast_gateway_tls_", "gateway/src/metrics/keys.rs"),
    ("holdfast_router_", "router/src/metrics.rs"),
    ("holdfast_bus_", "daemon/src/bus/metrics.rs"),
    ("holdfast_trace_", "daemon/src/telemetry.rs"),
    ("holdfast_reload", "daemon/src/reload.rs"),
    ("process_", "daemon/src/process.rs"),
];

/// The names of ours in a query.
pub fn used(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| SOURCES.iter().any(|(prefix, _)| word.starts_with(prefix))).map(str::to_owned).collect()
}

/// Those of the names that no source declares.
///
/// # Errors
/// A source cannot be read.
pub fn undeclared(names: &BTreeSet<String>) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (prefix, source) in SOURCES {
        let text = repository::read(source)?;
        for name in names {
            // A histogram is declared by its family's name.
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
            // Each service registers this one through the daemon crate.
            if family == "holdfast_router_build_info" {
                continue;
            }
            // The longest prefix counts.
            let own = SOURCES.iter().filter(|(prefix, _)| family.starts_with(prefix)).map(|(prefix, _)| prefix.len());
            if own.max() != Some(prefix.len()) {
                continue;
            }
            // Declared in full, or without the service's own prefix.
            let short = family.splitn(3, '_').nth(2).unwrap_or(family);
            if let Some(rest) = family.strip_prefix(prefix)
                && ![rest, short, family].iter().any(|name| text.contains(&format!("\"{name}\"")))
            {
                missing.push(format!("{name} (not in {source})"));
            }
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_queries_and_labels_are_not() {
        let query =
            r#"sum by (reason) (rate(holdfast_gateway_dropped_total{reason!="x"}[5m])) / holdfast_bus_connected + up"#;

        assert_eq!(
            used(query).into_iter().collect::<Vec<_>>(),
            ["holdfast_bus_connected", "holdfast_gateway_dropped_total"]
        );
    }

    #[test]
    fn a_name_that_no_source_declares_is_told() {
        let names = ["holdfast_gateway_connections", "holdfast_gateway_unicorns"].map(str::to_owned).into();

        assert_eq!(
            undeclared(&names).expect("sources"),
            ["holdfast_gateway_unicorns (not in gateway/src/metrics/collector.rs)"]
        );
    }
}
