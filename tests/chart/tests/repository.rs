//! What the repository's files about operations must agree on, told from the files alone.

use std::collections::BTreeSet;

use holdfast_chart::{dashboards, generated, metrics, repository, rules, values};
use serde_json::Value;

#[test]
fn generated_files_are_fresh() {
    let stale: Vec<String> = generated::stale().expect("sources").into_iter().map(|file| file.path).collect();

    assert!(stale.is_empty(), "`cargo run -p holdfast-chart -- generate` makes {stale:?} anew");
}

#[test]
fn every_metric_of_dashboards_and_alerts_is_declared() {
    let mut names: BTreeSet<String> = dashboards::queries().iter().flat_map(|query| metrics::used(query)).collect();
    for alert in rules::alerts().expect("rules") {
        names.extend(metrics::used(&alert.expression));
    }

    assert_eq!(metrics::undeclared(&names).expect("sources"), Vec::<String>::new());
}

#[test]
fn every_alert_has_a_runbook_a_severity_and_a_test() {
    let tests: String = repository::files("tests/chart/rules", ".test.yaml")
        .expect("a folder")
        .iter()
        .map(|path| repository::read(path).expect("a file"))
        .collect();

    for alert in rules::alerts().expect("rules") {
        let name = &alert.name;
        let runbook = repository::read(&format!("docs/runbooks/{}.md", name.to_lowercase())).expect("a runbook");
        for heading in ["## Cause", "## Check", "## Cure"] {
            assert!(runbook.contains(heading), "{name}: no {heading}");
        }
        assert!(
            ["critical", "warning"].iter().any(|severity| alert.rule["labels"]["severity"] == **severity),
            "{name}"
        );
        for annotation in ["summary", "description", "runbook_url"] {
            assert!(alert.rule["annotations"][annotation].is_string(), "{name}: no {annotation}");
        }
        let fires = format!("alertname=\"{name}\"");
        assert!(tests.contains(&fires), "{name} has no test");
    }
}

/// What Grafana is told in compose.yaml leads to the chart's dashboards and to Prometheus.
#[test]
fn what_grafana_is_provisioned_with_is_there() {
    let text = |path: &str| repository::read(path).expect("a file");
    let after = |text: &str, words: &str| {
        let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("no {words}"));
        let end = rest.find(|c: char| c.is_whitespace() || "}\"".contains(c)).unwrap_or(rest.len());
        rest.get(..end).expect("a word").to_owned()
    };
    let compose = text("deploy/compose.yaml");
    let (providers, sources) =
        (text("deploy/compose/grafana/dashboards.yaml"), text("deploy/compose/grafana/datasources.yaml"));

    let folder = after(&providers, "options: {path: ");
    assert!(compose.contains(&format!("- ../helm/holdfast/dashboards:{folder}:ro")), "{folder}");
    for (kind, file) in [("dashboards", "dashboards.yaml"), ("datasources", "datasources.yaml")] {
        let mount = format!("- ./compose/grafana/{file}:/etc/grafana/provisioning/{kind}/");
        assert!(compose.contains(&mount), "{mount}");
    }
    let address = after(&sources, "url: \"http://");
    let (host, port) = address.split_once(':').expect("host and port");
    assert!(compose.contains(&format!("\n  {host}:\n")), "{host} is no service of compose.yaml");
    assert_eq!(port, "9090", "Prometheus listens there unless told otherwise");
}

#[test]
fn every_runbook_belongs_to_an_alert() {
    let known: BTreeSet<String> =
        rules::alerts().expect("rules").iter().map(|alert| alert.name.to_lowercase()).collect();

    for path in repository::files("docs/runbooks", ".md").expect("a folder") {
        let name = path.trim_start_matches("docs/runbooks/").trim_end_matches(".md").to_owned();
        assert!(name == "README" || known.contains(&name), "{path}");
    }
}

#[test]
fn schema_and_values_have_the_same_keys() {
    let schema: Value =
        serde_json::from_str(&repository::read("helm/holdfast/values.schema.json").expect("a file")).expect("JSON");
    let entries =
        values::parse(&repository::read("helm/holdfast/values.yaml").expect("a file")).expect("described values");
    let described: BTreeSet<String> = entries.into_iter().map(|entry| entry.path).collect();

    let mut known = BTreeSet::new();
    collect(&schema, &schema, "", &described, &mut known);

    assert_eq!(described, known);
}

/// The paths of a schema, as deep as the values describe them; every object on the way must be closed.
fn collect(root: &Value, schema: &Value, path: &str, described: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => &root["definitions"][reference.trim_start_matches("#/definitions/")],
        None => schema,
    };
    if described.contains(path) {
        found.insert(path.to_owned());
        return;
    }
    // All settings are known; values describe some.
    if path == "config" {
        found.extend(described.iter().filter(|key| setting(schema, key)).cloned());
        return;
    }
    let Some(properties) = schema["properties"].as_object() else {
        found.insert(path.to_owned());
        return;
    };
    // Helm adds to `global`, and other charts may.
    assert!(schema["additionalProperties"] == false || path == "global", "{path} takes unknown keys");
    for (key, value) in properties {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        collect(root, value, &below, described, found);
    }
}

fn setting(schema: &Value, path: &str) -> bool {
    path.strip_prefix("config.").is_some_and(|path| {
        let pointer: String = path.split('.').map(|key| format!("/properties/{key}")).collect();
        schema.pointer(&pointer).is_some()
    })
}
