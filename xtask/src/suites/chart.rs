//! The Helm chart: gets helm, then runs the checks in `tests/chart`. `cargo xtask test chart -- --cluster` installs each
//! example too, on a control plane made for it, or with KUBECONFIG set on the cluster that it names.

use super::Outcome;
use crate::{SKIPPED, nats, run, workspace};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The helm that is built where none is installed.
const HELM: &str = "helm.sh/helm/v4/cmd/helm@v4.3.1";
/// Makes, starts and stops the control plane.
const SCRIPT: &str = "tests/chart/cluster.sh";

pub(super) fn run(arguments: &[String]) -> Result<Outcome> {
    let tools = match tools() {
        Ok(tools) => tools,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    workspace::build()?;
    link(&nats::get()?, &tools.join("nats-server"))?;
    for program in ["holdfast-gateway", "holdfast-router"] {
        link(&workspace::binaries()?.join(program), &tools.join(program))?;
    }
    let mut driver = run::cargo();
    driver.args(["run", "--quiet", "-p", "holdfast-chart", "--", "test", "--tools"]).arg(tools).args(arguments);
    let own = arguments.iter().any(|argument| argument == "--cluster") && std::env::var_os("KUBECONFIG").is_none();
    let plane = match own.then(ControlPlane::start) {
        Some(Err(error)) => return Ok(Outcome::Skipped(format!("no cluster to install on: {error:#}"))),
        Some(Ok(plane)) => Some(plane),
        None => None,
    };
    if let Some(plane) = &plane {
        driver.env("KUBECONFIG", plane.folder.path().join("kubeconfig")).env("PATH", plane.path()?);
    }
    let status = driver.status().context("cannot run the checks")?;
    Ok(match status.code() {
        Some(0) => Outcome::Passed,
        Some(code) if code == i32::from(SKIPPED) => Outcome::Skipped("its line is above".to_owned()),
        _ => Outcome::Failed,
    })
}

/// A folder with helm, or with nothing where it is on `PATH`.
pub(super) fn tools() -> Result<PathBuf> {
    let tools = workspace::target()?.join("tools/chart");
    fs::create_dir_all(&tools).with_context(|| format!("cannot make {}", tools.display()))?;
    helm(&tools)?;
    Ok(tools)
}

/// A control plane of our own, ended with the suite.
struct ControlPlane {
    folder: tempfile::TempDir,
}

impl ControlPlane {
    fn start() -> Result<Self> {
        let programs = programs()?;
        let all = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok"];
        // Its stages of a pod's life come from the module itself.
        if !run::runs("go", &["version"]) {
            bail!("no Go to build one with, and no KUBECONFIG that names one");
        }
        if !all.iter().all(|program| programs.join(program).is_file()) {
            run::say("building a Kubernetes control plane with go (some minutes, once per machine)");
            run::must(script().arg("build"))?;
        }
        let plane = Self { folder: tempfile::tempdir().context("cannot make a temporary folder")? };
        let [port, etcd] = free_ports()?;
        let mut start = script();
        start.arg("start").arg(plane.folder.path());
        start.env("HOLDFAST_KUBE_PORT", port.to_string()).env("HOLDFAST_ETCD_PORT", etcd.to_string());
        run::say("starting a Kubernetes control plane");
        run::must(&mut start)?;
        Ok(plane)
    }

    /// Where kubectl is found first.
    fn path(&self) -> Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(programs()?).chain(std::env::split_paths(&path));
        std::env::join_paths(folders).context("PATH")
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if let Err(error) = run::must(script().arg("stop").arg(self.folder.path())) {
            run::say(&format!("the control plane did not end: {error:#}"));
        }
    }
}

fn script() -> Command {
    Command::new(workspace::root().join(SCRIPT))
}

/// As the script has it.
fn programs() -> Result<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    let folder = named("HOLDFAST_KUBE_DIR").or_else(|| cache.map(|cache| cache.join("kube")));
    Ok(folder.context("neither HOME nor XDG_CACHE_HOME is set")?.join("bin"))
}

/// Two that nobody listens on now.
fn free_ports() -> Result<[u16; 2]> {
    let listen = || TcpListener::bind(("127.0.0.1", 0)).context("no free port");
    let (first, second) = (listen()?, listen()?);
    Ok([first.local_addr()?.port(), second.local_addr()?.port()])
}

/// On `PATH`, fetched before, or built with Go.
fn helm(tools: &Path) -> Result<()> {
    let own: PathBuf = tools.join("helm");
    if run::runs(&own, &["version"]) || run::runs("helm", &["version"]) {
        return Ok(());
    }
    if !run::runs("go", &["version"]) {
        bail!("no helm on PATH, and no Go to build one with");
    }
    run::say("building helm with go (some minutes)");
    run::output(Command::new("go").args(["install", HELM]).env("GOBIN", tools).current_dir(std::env::temp_dir()))
        .context("no helm on PATH, and it could not be built")?;
    Ok(())
}

fn link(to: &Path, at: &Path) -> Result<()> {
    match fs::remove_file(at) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::os::unix::fs::symlink(to, at).with_context(|| format!("cannot make {}", at.display()))
}
