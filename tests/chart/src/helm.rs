//! Runs a real helm over the chart.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::repository;

/// Kinds of other projects that a render may assume, as `--api-versions` names them.
const KINDS: [&str; 7] = [
    "gateway.networking.k8s.io/v1/HTTPRoute",
    "gateway.networking.k8s.io/v1/TLSRoute",
    "cert-manager.io/v1/Certificate",
    "keda.sh/v1alpha1/ScaledObject",
    "monitoring.coreos.com/v1/ServiceMonitor",
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
];

/// The programs of a test run: those of a folder first, then those on the path.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    folder: Option<PathBuf>,
}

impl Tools {
    /// Looks into `folder` first.
    pub const fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// A command that runs the program.
    pub fn command(&self, program: &str) -> Command {
        let own = self.folder.as_ref().map(|folder| folder.join(program)).filter(|path| path.is_file());
        own.map_or_else(|| Command::new(program), Command::new)
    }

    /// `PATH` for a shell that shall find the same programs.
    ///
    /// # Errors
    /// A folder cannot stand in it.
    #[expect(clippy::disallowed_methods, reason = "a shell's path is that of this process, and our folder")]
    pub fn path(&self) -> Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = self.folder.iter().cloned().chain(std::env::split_paths(&path));
        std::env::join_paths(folders).context("PATH")
    }

    /// Whether the program is there.
    pub fn has(&self, program: &str, question: &str) -> bool {
        self.command(program).arg(question).output().is_ok_and(|output| output.status.success())
    }

    /// Runs a program and returns what it printed.
    ///
    /// # Errors
    /// It is not there, or fails; the error holds what it said.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("{program} {}:\n{}", arguments.join(" "), String::from_utf8_lossy(&said).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `helm lint`, strictly.
    ///
    /// # Errors
    /// It finds something.
    pub fn lint(&self) -> Result<String> {
        self.run("helm", &["lint", "--strict", &chart()])
    }

    /// `helm template` as release `holdfast`; `arguments` name values.
    ///
    /// # Errors
    /// The chart refuses the values.
    pub fn template(&self, arguments: &[&str], with_kinds: bool) -> Result<String> {
        let chart = chart();
        let mut all = vec!["template", "holdfast", &chart, "--namespace", "edge"];
        if with_kinds {
            all.extend(KINDS.into_iter().flat_map(|kind| ["--api-versions", kind]));
        }
        all.extend(arguments);
        self.run("helm", &all)
    }
}

/// The chart's folder.
pub fn chart() -> String {
    repository::path("helm/holdfast").display().to_string()
}

/// Each example of values that can be rendered, as paths from the top: those of the chart, and those for balancers, some
/// of whose objects are of kinds that only one cloud has.
///
/// # Errors
/// A folder cannot be listed.
pub fn rendered_examples() -> Result<Vec<String>> {
    Ok([examples()?, repository::files("deploy/balancers", "-values.yaml")?].concat())
}

/// Each example of values that can be installed anywhere.
///
/// # Errors
/// The folder cannot be listed.
pub fn examples() -> Result<Vec<String>> {
    repository::files("helm/holdfast/ci", "-values.yaml")
}
