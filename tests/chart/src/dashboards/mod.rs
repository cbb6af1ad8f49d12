//! The dashboards, as code. One file per dashboard says what is on it; `panel` knows what Grafana's JSON looks like.

mod bus;
mod drains;
mod node;
mod overview;
mod panel;
mod routers;

use serde_json::Value;

/// Each dashboard with the name of its file.
pub fn all() -> Vec<(&'static str, Value)> {
    [overview::dashboard(), drains::dashboard(), routers::dashboard(), bus::dashboard(), node::dashboard()]
        .into_iter()
        .map(|dashboard| (dashboard.name, dashboard.json()))
        .collect()
}

/// Each query of each dashboard, with the variables as they are.
pub fn queries() -> Vec<String> {
    all().iter().flat_map(|(_, dashboard)| panel::queries(dashboard)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_do_not_overlap_and_have_distinct_ids() {
        for (name, dashboard) in all() {
            let panels = dashboard["panels"].as_array().expect("panels");
            let mut taken = std::collections::HashSet::new();
            for (index, panel) in (1_u64..).zip(panels) {
                assert_eq!(panel["id"], index, "{name}");
                let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
                assert!(at("x") + at("w") <= 24, "{name}: {}", panel["title"]);
                for x in at("x")..at("x") + at("w") {
                    for y in at("y")..at("y") + at("h") {
                        assert!(taken.insert((x, y)), "{name}: {} overlaps", panel["title"]);
                    }
                }
            }
        }
    }

    #[test]
    fn every_panel_says_what_it_shows() {
        for (name, dashboard) in all() {
            for panel in dashboard["panels"].as_array().expect("panels") {
                let explained =
                    panel["type"] == "row" || panel["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(explained, "{name}: {}", panel["title"]);
            }
        }
    }
}
