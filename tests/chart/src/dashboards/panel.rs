//! What a dashboard consists of, and how Grafana wants it written.
//!
//! Every query selects by `namespace`, which is empty outside of Kubernetes, and where it says so by `instance`.

use serde_json::{Value, json};

/// Selects all processes of the chosen fleet: goes into the braces of every query.
pub(super) const FLEET: &str = r#"namespace=~"$namespace""#;

/// Selects the one process of the dashboard about one.
pub(super) const ONE: &str = r#"namespace=~"$namespace", instance=~"$instance""#;

/// A dashboard under construction.
#[derive(Debug)]
pub(super) struct Dashboard {
    pub(super) name: &'static str,
    title: &'static str,
    about: &'static str,
    /// The metric whose instances can be chosen from, on dashboards about one process.
    chooses: Option<&'static str>,
    rows: Vec<(&'static str, Vec<Panel>)>,
}

/// What a panel looks like.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// One number.
    Number,
    /// Lines over time.
    Lines,
    /// Areas on top of one another: parts of a whole.
    Stack,
}

/// One panel.
#[derive(Debug)]
pub(super) struct Panel {
    kind: Kind,
    title: &'static str,
    about: &'static str,
    unit: &'static str,
    queries: Vec<(String, &'static str)>,
    /// From here on the number is yellow, from there red.
    limits: Option<(f64, f64)>,
}

impl Panel {
    fn new(kind: Kind, title: &'static str, about: &'static str, unit: &'static str) -> Self {
        Self { kind, title, about, unit, queries: Vec::new(), limits: None }
    }

    pub(super) fn number(title: &'static str, about: &'static str, unit: &'static str) -> Self {
        Self::new(Kind::Number, title, about, unit)
    }

    pub(super) fn lines(title: &'static str, about: &'static str, unit: &'static str) -> Self {
        Self::new(Kind::Lines, title, about, unit)
    }

    pub(super) fn stack(title: &'static str, about: &'static str, unit: &'static str) -> Self {
        Self::new(Kind::Stack, title, about, unit)
    }

    /// Adds a query; `$FLEET` and `$ONE` in it stand for the selectors.
    pub(super) fn query(mut self, query: &str, legend: &'static str) -> Self {
        self.queries.push((query.replace("$FLEET", FLEET).replace("$ONE", ONE), legend));
        self
    }

    pub(super) const fn limits(mut self, yellow: f64, red: f64) -> Self {
        self.limits = Some((yellow, red));
        self
    }

    const fn size(&self) -> (u64, u64) {
        match self.kind {
            Kind::Number => (4, 4),
            Kind::Lines | Kind::Stack => (8, 8),
        }
    }

    fn json(&self, id: u64, x: u64, y: u64) -> Value {
        let (width, height) = self.size();
        let letters = ["A", "B", "C", "D", "E", "F"];
        let targets: Vec<Value> = letters
            .iter()
            .zip(&self.queries)
            .map(|(letter, (query, legend))| {
                json!({"refId": letter, "expr": query, "legendFormat": legend, "datasource": data_source(),
                    "instant": matches!(self.kind, Kind::Number), "range": !matches!(self.kind, Kind::Number)})
            })
            .collect();
        let steps = match self.limits {
            Some((yellow, red)) => json!([{"color": "green", "value": null}, {"color": "yellow", "value": yellow},
                {"color": "red", "value": red}]),
            None => json!([{"color": "blue", "value": null}]),
        };
        let mut defaults = json!({"unit": self.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}});
        let (kind, options) = match self.kind {
            Kind::Number => (
                "stat",
                json!({"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}}),
            ),
            Kind::Lines | Kind::Stack => {
                let stacked = matches!(self.kind, Kind::Stack);
                defaults["custom"] = json!({"fillOpacity": if stacked { 30 } else { 0 }, "lineWidth": 1, "showPoints": "never",
                    "stacking": {"mode": if stacked { "normal" } else { "none" }}});
                (
                    "timeseries",
                    json!({"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}),
                )
            }
        };
        json!({"id": id, "type": kind, "title": self.title, "description": self.about, "datasource": data_source(),
            "gridPos": {"x": x, "y": y, "w": width, "h": height}, "targets": targets,
            "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options})
    }
}

impl Dashboard {
    pub(super) const fn new(name: &'static str, title: &'static str, about: &'static str) -> Self {
        Self { name, title, about, chooses: None, rows: Vec::new() }
    }

    /// Lets the reader choose among the processes that have this metric.
    pub(super) const fn about_one(mut self, metric: &'static str) -> Self {
        self.chooses = Some(metric);
        self
    }

    pub(super) fn row(mut self, title: &'static str, panels: Vec<Panel>) -> Self {
        self.rows.push((title, panels));
        self
    }

    pub(super) fn json(&self) -> Value {
        json!({"uid": format!("holdfast-{}", self.name), "title": self.title, "description": self.about, "tags": ["holdfast"],
            "schemaVersion": 39, "version": 1, "editable": false, "refresh": "30s", "timezone": "browser",
            "graphTooltip": 1, "time": {"from": "now-1h", "to": "now"}, "links": [{"type": "dashboards", "tags": ["holdfast"],
            "title": "Holdfast", "asDropdown": true, "keepTime": true, "includeVars": true, "targetBlank": false, "tooltip": "", "icon": "external link"}],
            "annotations": {"list": [starts()]}, "templating": {"list": self.variables()}, "panels": self.panels()})
    }

    fn variables(&self) -> Vec<Value> {
        let list = |name: &str, label: &str, query: String| {
            json!({"type": "query", "name": name, "label": label, "datasource": data_source(), "includeAll": true, "allValue": ".*",
                "current": {"text": "All", "value": "$__all"}, "refresh": 2, "sort": 1, "query": {"query": query, "refId": name}})
        };
        let mut variables = vec![
            json!({"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}),
            list("namespace", "Namespace", "label_values(holdfast_bus_connected, namespace)".to_owned()),
        ];
        if let Some(metric) = self.chooses {
            variables.push(list("instance", "Process", format!("label_values({metric}{{{FLEET}}}, instance)")));
        }
        variables
    }

    fn panels(&self) -> Vec<Value> {
        let mut made = Vec::new();
        let mut ids = 1..;
        let mut id = || ids.next().unwrap_or_default();
        let mut y = 0;
        for (title, panels) in &self.rows {
            made.push(json!({"id": id(), "type": "row", "title": title, "collapsed": false, "panels": [],
                "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}));
            y += 1;
            let (mut x, mut height) = (0, 0);
            for panel in panels {
                let size = panel.size();
                if x + size.0 > 24 || (height > 0 && size.1 != height) {
                    (x, y) = (0, y + height);
                }
                made.push(panel.json(id(), x, y));
                (x, height) = (x + size.0, size.1);
            }
            y += height;
        }
        made
    }
}

fn data_source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// A line wherever a process started: roll-outs and crashes explain most of what the panels show.
fn starts() -> Value {
    json!({"name": "Starts", "datasource": data_source(), "enable": true, "iconColor": "purple", "titleFormat": "Started",
        "textFormat": "{{job}} {{instance}}", "useValueForTime": true,
        "expr": format!("process_start_time_seconds{{{FLEET}, job=~\"holdfast-.*\"}} * 1000")})
}

/// The queries of a finished dashboard.
pub(super) fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.filter_map(|target| target["expr"].as_str().map(str::to_owned)).collect()
}
