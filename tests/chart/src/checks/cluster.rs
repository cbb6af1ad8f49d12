//! The chart on a real API server: every example is installed, upgraded, rolled back and removed, in a namespace that
//! enforces the restricted Pod Security Standard.
//!
//! The server is whatever `kubectl` speaks to; pods need only be reported ready, as a simulated node does.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::first_day;
use crate::helm::{self, Tools};
use crate::{objects, repository};

const RELEASE: &str = "holdfast";
const NAMESPACE: &str = "holdfast-chart-test";

/// Kinds of other projects, with open schemas: what is tested is that the chart's objects are accepted as objects.
const KINDS: [(&str, &str, &str, &str); 7] = [
    ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
    ("gateway.networking.k8s.io", "v1", "TLSRoute", "tlsroutes"),
    ("cert-manager.io", "v1", "Certificate", "certificates"),
    ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),
    ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
    ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
];

/// Whether `kubectl` reaches a server.
pub fn reachable(tools: &Tools) -> bool {
    tools.run("kubectl", &["get", "--raw", "/readyz", "--request-timeout=5s"]).is_ok()
}

/// Runs everything; `say` is told each step that passed.
///
/// # Errors
/// The first step that fails, with what the program said.
pub fn run(tools: &Tools, scratch: &Path, say: impl Fn(&str)) -> Result<()> {
    let cluster = Cluster { tools, scratch, chart: installable(tools, scratch)? };
    cluster.prepare()?;
    cluster.fresh_namespace()?;
    cluster.missing_secret_is_told()?;
    say("without its Secret the chart refuses and prints the line that makes it");
    cluster.fresh_namespace()?;
    let followed = first_day::follow(tools, scratch, &cluster.chart, NAMESPACE)?;
    say(&format!("docs/first-day.md: its {followed} blocks for Kubernetes, as they stand"));
    for example in helm::examples()? {
        cluster.fresh_namespace()?;
        cluster.secrets(&example)?;
        cluster.life_of_a_release(&example).with_context(|| example.clone())?;
        say(&format!("{example}: validated, installed, upgraded, rolled back, removed"));
    }
    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait=true"])?;
    Ok(())
}

struct Cluster<'a> {
    tools: &'a Tools,
    scratch: &'a Path,
    chart: String,
}

/// The chart, or where the server was built without a version (from modules), a copy that asks for none.
fn installable(tools: &Tools, scratch: &Path) -> Result<String> {
    let version: Value = serde_json::from_str(&tools.run("kubectl", &["get", "--raw", "/version"])?)?;
    if !version["gitVersion"].as_str().unwrap_or_default().starts_with("v0.0.0") {
        return Ok(helm::chart());
    }
    let copy = scratch.join("chart").display().to_string();
    tools.run("cp", &["-r", &helm::chart(), &copy])?;
    let manifest = format!("{copy}/Chart.yaml");
    let text = std::fs::read_to_string(&manifest)?;
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("kubeVersion:")).collect();
    std::fs::write(&manifest, kept.join("\n"))?;
    Ok(copy)
}

impl Cluster<'_> {
    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.tools.run("kubectl", arguments)
    }

    fn helm(&self, arguments: &[&str]) -> Result<String> {
        self.tools.run("helm", &[arguments, &["--namespace", NAMESPACE]].concat())
    }

    fn apply(&self, object: &Value) -> Result<()> {
        let file = self.scratch.join("object.json");
        std::fs::write(&file, object.to_string())?;
        self.kubectl(&["apply", "--server-side", "-f", &file.display().to_string()])?;
        Ok(())
    }

    /// Kinds of others, and the label that one example asks of nodes.
    fn prepare(&self) -> Result<()> {
        self.kubectl(&["label", "nodes", "--all", "pool=edge", "--overwrite"])?;
        for (group, version, kind, plural) in KINDS {
            let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            self.apply(&json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.{group}"), "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
                "spec": {"group": group, "scope": "Namespaced",
                    "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
                    "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}}))?;
            let name = format!("crd/{plural}.{group}");
            self.kubectl(&["wait", "--for=condition=Established", &name, "--timeout=30s"])?;
        }
        Ok(())
    }

    /// With volumes for the NATS servers, as a cluster's provisioner would make them.
    fn fresh_namespace(&self) -> Result<()> {
        self.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true"])?;
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}}}))?;
        for number in 1..=3 {
            let name = format!("holdfast-chart-test-{number}");
            self.kubectl(&["delete", "persistentvolume", &name, "--ignore-not-found"])?;
            self.apply(&json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
                "capacity": {"storage": "100Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": "/nowhere"}}}))?;
        }
        // The account shows the chart that it can ask the cluster; controllers make it a moment after the namespace.
        self.kubectl(&["wait", "--for=create", "serviceaccount/default", "--namespace", NAMESPACE, "--timeout=30s"])?;
        Ok(())
    }

    fn missing_secret_is_told(&self) -> Result<()> {
        let Err(refused) = self.helm(&["install", RELEASE, &self.chart]) else {
            bail!("installed without its Secret");
        };
        let refused = format!("{refused:#}");
        anyhow::ensure!(
            refused.contains("kubectl create secret generic holdfast-keys"),
            "refused without the line: {refused}"
        );
        Ok(())
    }

    fn secrets(&self, example: &str) -> Result<()> {
        let keys = [
            "admin-token",
            "jwt-secret",
            "jwt.pem",
            "nats-gateway",
            "nats-router",
            "nats-service",
            "nats-observer",
            "nats-operator",
            "nats-route",
        ];
        let data: Value = keys
            .iter()
            .map(|key| ((*key).to_owned(), json!("p0123456789abcdef0123456789abcdef")))
            .collect::<serde_json::Map<_, _>>()
            .into();
        for name in ["holdfast-keys", "edge-keys"] {
            self.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "stringData": data}))
                .with_context(|| example.to_owned())?;
        }
        Ok(())
    }

    fn life_of_a_release(&self, example: &str) -> Result<()> {
        let chart = &self.chart;
        let values = repository::path(example).display().to_string();
        self.validate(&values)?;
        // Pods here are ready or not, and nothing is learned by watching them stay so.
        let soon = ["--set", "gateway.minReadySeconds=0,router.minReadySeconds=0"];
        let wait = ["--wait", "--timeout", "180s"];
        self.helm(&[&["install", RELEASE, chart, "--values", &values], &soon[..], &wait[..]].concat())?;
        self.settled("after the installation")?;
        let change = ["--set", "gateway.podAnnotations.upgraded=yes,router.podAnnotations.upgraded=yes"];
        let upgrade = ["upgrade", RELEASE, chart, "--values", &values];
        self.helm(&[&upgrade[..], &soon[..], &change[..], &wait[..]].concat())?;
        self.settled("after the upgrade")?;
        self.helm(&[&["rollback", RELEASE, "1"], &wait[..]].concat())?;
        self.settled("after the rollback")?;
        self.helm(&["uninstall", RELEASE, "--wait", "--timeout", "180s"])?;
        let left = self.kubectl(&["get", "deployments,statefulsets,services,configmaps,poddisruptionbudgets,networkpolicies,horizontalpodautoscalers",
            "--namespace", NAMESPACE, "--selector", "app.kubernetes.io/part-of=holdfast", "--output", "name"])?;
        anyhow::ensure!(left.is_empty(), "left behind: {left}");
        Ok(())
    }

    /// The server itself looks at every object, test pods too, and knows each field.
    fn validate(&self, values: &str) -> Result<()> {
        let rendered = self.tools.template(&["--values", values, "--namespace", NAMESPACE], true)?;
        let file = self.scratch.join("rendered.yaml");
        let mut documents = objects::parse(&rendered)?;
        for document in &mut documents {
            document["metadata"]["namespace"] = json!(NAMESPACE);
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": documents});
        std::fs::write(&file, list.to_string())?;
        let file = file.display().to_string();
        let said = self
            .tools
            .command("kubectl")
            .args(["create", "--dry-run=server", "--validate=strict", "-f", &file])
            .output()?;
        let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        // Pod Security only warns about workloads; here a warning is as bad as a refusal.
        anyhow::ensure!(
            !said.contains("Warning") && !said.contains("Error") && !said.contains("error"),
            "the server said: {said}"
        );
        Ok(())
    }

    /// Every workload has all of its pods, ready.
    fn settled(&self, when: &str) -> Result<()> {
        let listed =
            self.kubectl(&["get", "deployments,statefulsets", "--namespace", NAMESPACE, "--output", "json"])?;
        let listed: Value = serde_json::from_str(&listed)?;
        let workloads = listed["items"].as_array().context("a list")?;
        anyhow::ensure!(workloads.len() >= 2, "{when}: {} workloads", workloads.len());
        for workload in workloads {
            let (wanted, ready) = (&workload["spec"]["replicas"], &workload["status"]["readyReplicas"]);
            anyhow::ensure!(wanted == ready, "{when}: {} has {ready} of {wanted} pods", objects::title(workload));
        }
        Ok(())
    }
}
