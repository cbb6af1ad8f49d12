//! The blocks for Kubernetes of `docs/first-day.md`, typed as they stand, one after another.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::helm::Tools;
use crate::{page, repository};

const PAGE: &str = "docs/first-day.md";

/// Follows the page in this namespace, which is fresh, with this chart in the place of the repository's; says how many
/// blocks that were.
///
/// # Errors
/// A block fails, or does not show what it should; the error names its line.
pub(super) fn follow(tools: &Tools, scratch: &Path, chart: &str, namespace: &str) -> Result<usize> {
    let top = scratch.join("first-day");
    fs::create_dir_all(top.join("helm"))?;
    symlink(chart, top.join("helm/holdfast"))?;
    // A copy, whose namespace is ours: the page names none.
    let kubeconfig = top.join("kubeconfig");
    fs::write(&kubeconfig, tools.run("kubectl", &["config", "view", "--raw", "--minify", "--flatten"])?)?;
    let file = kubeconfig.display().to_string();
    let context = ["--kubeconfig", &file, "config", "set-context", "--current", "--namespace", namespace];
    tools.run("kubectl", &context)?;

    let blocks = page::blocks(&repository::read(PAGE)?)?;
    let (mut followed, mut said) = (0, String::new());
    for block in blocks.iter().filter(|block| block.place == "kubernetes") {
        let line = block.line;
        if block.typed {
            let mut bash = tools.command("bash");
            bash.args(["-e", "-o", "pipefail", "-c", &block.text]).current_dir(&top);
            let output = bash.env("KUBECONFIG", &kubeconfig).env("PATH", tools.path()?).output().context("no bash")?;
            said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            ensure!(output.status.success(), "{PAGE}:{line}: {}\n{said}", output.status);
        } else {
            ensure!(
                page::shown(&block.text, &said).is_some(),
                "{PAGE}:{line}: not shown:\n{}\nbut:\n{said}",
                block.text
            );
        }
        followed += 1;
    }
    ensure!(followed > 5, "{PAGE}: {followed} blocks for Kubernetes");
    Ok(followed)
}
