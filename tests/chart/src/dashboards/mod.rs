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

    /// Each text in a value, with its key.
    fn texts<'a>(key: &'a str, value: &'a Value, found: &mut Vec<(&'a str, &'a str)>) {
        match value {
            Value::String(text) => found.push((key, text)),
            Value::Array(list) => list.iter().for_each(|value| texts(key, value, found)),
            Value::Object(map) => map.iter().for_each(|(key, value)| texts(key, value, found)),
            _ => {}
        }
    }

    /// Names after a dollar sign, in braces or not.
    fn variables(text: &str) -> impl Iterator<Item = String> {
        text.split('$').skip(1).map(|rest| {
            let name = rest.trim_start_matches('{');
            name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
        })
    }

    #[test]
    fn every_variable_is_defined_and_every_query_asks_the_chosen_data_source() {
        for (name, dashboard) in all() {
            let defined: Vec<&str> = dashboard["templating"]["list"]
                .as_array()
                .expect("variables")
                .iter()
                .map(|variable| variable["name"].as_str().expect("a name"))
                .collect();
            assert_eq!(defined.first(), Some(&"datasource"), "{name}: the others are asked of it");
            let mut found = Vec::new();
            texts("", &dashboard, &mut found);

            for (key, text) in found {
                for variable in variables(text) {
                    let known = variable.starts_with("__") || defined.contains(&variable.as_str());
                    assert!(known, "{name}: ${variable} in {key} {text:?}");
                }
            }
            let panels = dashboard["panels"].as_array().expect("panels");
            for target in panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten()) {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}: {target}");
            }
        }
    }

    #[test]
    fn dashboards_and_queries_of_a_panel_have_names_of_their_own() {
        let mut uids = std::collections::HashSet::new();
        for (name, dashboard) in all() {
            let uid = dashboard["uid"].as_str().expect("a uid").to_owned();
            assert!(uid.len() <= 40 && uids.insert(uid), "{name}");
            for panel in dashboard["panels"].as_array().expect("panels") {
                let mut names = std::collections::HashSet::new();
                for target in panel["targets"].as_array().into_iter().flatten() {
                    assert!(names.insert(target["refId"].as_str().expect("a name")), "{name}: {panel}");
                }
                assert!(["row", "stat", "timeseries"].contains(&panel["type"].as_str().expect("a type")), "{panel}");
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
