//! `helm/holdfast/README.md`: how to install, and every value. Generated, so that it cannot drift.

use std::fmt::Write as _;

use anyhow::Result;

use crate::values::{self, Entry};

const HEAD: &str = "\
<!-- Made from values.yaml by `cargo run -p holdfast-chart -- generate`; do not edit. -->

# The chart of Holdfast

Runs gateways, routers and, unless you bring your own, a small NATS. Kubernetes 1.27 or newer, Helm 3.18 or 4.

    kubectl create secret generic holdfast-keys \\
        --from-literal=jwt-secret=\"$(openssl rand -hex 32)\" \\
        --from-literal=nats-gateway=\"p$(openssl rand -hex 24)\" \\
        --from-literal=nats-observer=\"p$(openssl rand -hex 24)\" \\
        --from-literal=nats-operator=\"p$(openssl rand -hex 24)\" \\
        --from-literal=nats-route=\"p$(openssl rand -hex 24)\" \\
        --from-literal=nats-router=\"p$(openssl rand -hex 24)\" \\
        --from-literal=nats-service=\"p$(openssl rand -hex 24)\"
    helm install holdfast helm/holdfast
    helm test holdfast

The image is made by `docker build -f deploy/Dockerfile -t holdfast:<version> .`; `image.registry` and `image.repository`
say where it is. The chart makes no Secret: it names yours, and says so where one is missing. What to do after the
installation is printed by it (`helm get notes holdfast`) and told in full in `docs/operations.md`.

Values that do not fit together (a grace period shorter than the drain, plaintext shown to the world, two autoscalers)
fail with a sentence before anything is installed; unknown keys are refused by `values.schema.json`. `ci/*-values.yaml`
are examples, each installed by the chart's tests.

## A NATS of your own

`nats.enabled=false` and `nats.external.urls`. The permissions that gateway, router and domain services need are in
`deploy/nats/permissions.conf`, and how to give them in `deploy/nats/README.md`. For the official NATS chart
`deploy/nats/official-chart-values.yaml` has values with these accounts and permissions, and says what to set here.

## Values
";

/// The whole file.
///
/// # Errors
/// `values.yaml` has a key without a description.
pub fn render(values: &str) -> Result<String> {
    let entries = values::parse(values)?;
    let mut text = HEAD.to_owned();
    let mut section = None;
    for entry in &entries {
        let own = section_of(&entry.path);
        if section != Some(own) {
            section = Some(own);
            let title = if own.is_empty() { "General" } else { own };
            write!(text, "\n### {title}\n\n| value | default | what |\n|---|---|---|\n")?;
        }
        writeln!(text, "| `{}` | {} | {} |", entry.path, default(entry), entry.description.replace('|', "\\|"))?;
    }
    Ok(text)
}

/// The first one or two parts of a path: what a reader looks for.
fn section_of(path: &str) -> &str {
    path.split_once('.').map_or("", |(first, _)| first)
}

fn default(entry: &Entry) -> String {
    if entry.default.contains('\n') || entry.default.len() > 60 {
        return "see `values.yaml`".to_owned();
    }
    format!("`{}`", entry.default.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_grouped_and_long_defaults_left_in_their_file() {
        let text = render("# -- A | b.\na: \"\"\ng:\n  # -- X.\n  x: 1\n  # -- Y.\n  y:\n    z:\n      - 1\n")
            .expect("renders");

        assert!(
            text.contains("### General\n\n| value | default | what |\n|---|---|---|\n| `a` | `\"\"` | A \\| b. |\n")
        );
        assert!(text.contains("### g\n\n| value | default | what |\n|---|---|---|\n| `g.x` | `1` | X. |\n"));
        assert!(text.ends_with("| `g.y` | see `values.yaml` | Y. |\n"));
    }
}
