//! What must hold for everything the chart renders. Each check returns its complaints; none means good.

pub mod cluster;
mod first_day;
mod pods;
mod refusals;
mod services;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::helm::{self, Tools};
use crate::{objects, repository};

pub use refusals::refusals;

/// Tests the alerts, renders every example, and judges what comes out.
///
/// # Errors
/// A program cannot be run.
pub fn examples(tools: &Tools, scratch: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    if let Err(error) = tools.lint() {
        complaints.push(format!("{error:#}"));
    }
    if tools.has("promtool", "--version") {
        for file in repository::files("tests/chart/rules", ".test.yaml")? {
            let path = repository::path(&file).display().to_string();
            complaints.extend(tools.run("promtool", &["test", "rules", &path]).err().map(|error| format!("{error:#}")));
        }
    }
    for example in helm::rendered_examples()? {
        let path = repository::path(&example).display().to_string();
        match tools.template(&["--values", &path], true) {
            Ok(text) => {
                let objects = objects::parse(&text).with_context(|| example.clone())?;
                let mut found = judge(&objects);
                found.extend(programs(tools, &objects, scratch));
                complaints.extend(found.into_iter().map(|what| format!("{example}: {what}")));
            }
            Err(error) => complaints.push(format!("{example}: {error:#}")),
        }
    }
    Ok(complaints)
}

/// What can be told from the objects alone.
fn judge(objects: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for object in objects {
        let title = objects::title(object);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if object["kind"] == "Secret" {
            complaints.push(format!("{title}: the chart makes no Secret"));
        }
        if name.len() > 63 {
            complaints.push(format!("{title}: the name is longer than 63 bytes"));
        }
        if let Some(pod) = objects::pod(object) {
            complaints.extend(pods::restricted(pod).into_iter().map(|what| format!("{title}: {what}")));
            complaints.extend(pods::complete(pod).into_iter().map(|what| format!("{title}: {what}")));
        }
    }
    complaints.extend(services::complaints(objects));
    complaints
}

/// What the programs say that will read the rendered files, as far as they are there.
fn programs(tools: &Tools, objects: &[Value], scratch: &Path) -> Vec<String> {
    let mut complaints = Vec::new();
    for object in objects {
        let result = match object["kind"].as_str() {
            Some("ConfigMap") => config_map(tools, object, scratch),
            Some("PrometheusRule") => rules(tools, object, scratch),
            _ => Ok(()),
        };
        complaints.extend(result.err().map(|error| format!("{}: {error:#}", objects::title(object))));
    }
    complaints
}

fn config_map(tools: &Tools, object: &Value, scratch: &Path) -> Result<()> {
    if object["data"]["nats.conf"].is_string() && tools.has("nats-server", "--version") {
        nats(tools, object, scratch)?;
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match (object["data"]["holdfast.toml"].as_str(), name.rsplit_once('-')) {
        (Some(file), Some((_, service))) => service_file(tools, &format!("holdfast-{service}"), file, scratch),
        _ => Ok(()),
    }
}

fn rules(tools: &Tools, object: &Value, scratch: &Path) -> Result<()> {
    if tools.has("promtool", "--version") {
        let file = scratch.join("rules.yaml");
        fs::write(&file, serde_json::to_string(&object["spec"])?)?;
        tools.run("promtool", &["check", "rules", &file.display().to_string()])?;
    }
    Ok(())
}

/// `nats-server -t` over the rendered files.
fn nats(tools: &Tools, config: &Value, scratch: &Path) -> Result<()> {
    let mut main = None;
    for (name, text) in config["data"].as_object().into_iter().flatten() {
        let file = scratch.join(name);
        let text = text.as_str().unwrap_or_default();
        // Certificates are read at once; whether they are there is not the question here.
        let text: String =
            text.lines().filter(|line| !line.contains("_file: /etc/nats-tls")).collect::<Vec<_>>().join("\n");
        fs::write(&file, text.replace("tls {\n}", "").replace("/var/run/nats", &scratch.display().to_string()))?;
        if name == "nats.conf" {
            main = Some(file);
        }
    }
    let main = main.context("no nats.conf")?.display().to_string();
    let mut command = tools.command("nats-server");
    command
        .args(["--config", &main, "-t"])
        .env("POD_NAME", "nats-0")
        .env("NATS_ROUTES", "[nats-route://route:p1@a:6222]");
    for user in ["GATEWAY", "ROUTER", "SERVICE", "OBSERVER", "OPERATOR", "ROUTE"] {
        command.env(format!("NATS_{user}_PASSWORD"), "p0123456789abcdef");
    }
    let output = command.output()?;
    anyhow::ensure!(output.status.success(), "nats-server -t: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// What stands in for mounted Secrets. The key is the one of NATS' own documentation.
const MOUNTED: [(&str, &str); 9] = [
    ("admin/token", "0123456789abcdef"),
    ("bus/password", "p0"),
    ("bus/token", "t0"),
    ("bus/seed", "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"),
    (
        "bus/nats.creds",
        "-----BEGIN NATS USER JWT-----\ne30.e30.e30\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n\
         SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n------END USER NKEY SEED------\n",
    ),
    ("bus-tls/ca.crt", ""),
    ("bus-tls/tls.crt", ""),
    ("bus-tls/tls.key", ""),
    ("keys/jwt-secret", "0123456789abcdef0123456789abcdef"),
];

/// `config check` of the service itself, with stand-ins for what is mounted.
fn service_file(tools: &Tools, program: &str, text: &str, scratch: &Path) -> Result<()> {
    if !tools.has(program, "version") {
        return Ok(());
    }
    for (path, content) in MOUNTED {
        let file = scratch.join(path);
        fs::create_dir_all(file.parent().context("a folder")?)?;
        fs::write(file, content)?;
    }
    let file = scratch.join("holdfast.toml");
    fs::write(&file, text.replace("/etc/holdfast", &scratch.display().to_string()))?;
    let file = file.display().to_string();
    let mut command = tools.command(program);
    command.args(["--config", &file, "config", "check"]);
    // The one setting that cannot come from a file comes from the environment.
    if text.contains("password_file") && !text.contains("\nuser = ") {
        command.env("HOLDFAST_BUS__USER", "gateway");
    }
    let output = command.output()?;
    let said = [output.stdout, output.stderr].concat();
    anyhow::ensure!(output.status.success(), "config check: {}", String::from_utf8_lossy(&said).trim());
    Ok(())
}
