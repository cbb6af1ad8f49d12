//! The alerts in `helm/holdfast/rules`.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{objects, repository};

/// One alert.
#[derive(Debug, Clone)]
pub struct Alert {
    /// Its name.
    pub name: String,
    /// When it fires, as `PromQL`.
    pub expression: String,
    /// The rule as it is.
    pub rule: Value,
}

/// Each alert of each file.
///
/// # Errors
/// A file cannot be read or understood.
pub fn alerts() -> Result<Vec<Alert>> {
    let mut alerts = Vec::new();
    for path in repository::files("helm/holdfast/rules", ".yaml")? {
        for file in objects::parse(&repository::read(&path)?)? {
            let groups = file["groups"].as_array().with_context(|| format!("{path} has no groups"))?;
            for rule in groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten()) {
                let text = |key: &str| rule[key].as_str().map(str::to_owned);
                if let (Some(name), Some(expression)) = (text("alert"), text("expr")) {
                    alerts.push(Alert { name, expression, rule: rule.clone() });
                }
            }
        }
    }
    Ok(alerts)
}
