//! The schema of the `config:` trees, from docs/config.md, so that a setting nobody knows is refused before anything is
//! installed. Knows the words that page uses for kinds of values, and nothing of what a setting does.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

/// What `values.schema.json` has from here on is generated.
const MARK: &str = "    \"settings\": ";
/// Stands for any name in a path.
const ANY: &str = "NAME";

/// The schema file with its last definition made anew.
///
/// # Errors
/// The page has a kind that is not known here, or the schema has no place for it.
pub fn schema(schema: &str, page: &str) -> Result<String> {
    let (head, _) = schema.split_once(MARK).context("values.schema.json has no definition `settings`")?;
    let tree = serde_json::to_string_pretty(&definition(page)?)?.replace('\n', "\n    ");
    Ok(format!("{head}{MARK}{tree}\n  }}\n}}\n"))
}

/// One closed object for both services: each ignores the other's sections.
fn definition(page: &str) -> Result<Value> {
    let mut root = object();
    for line in page.lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        let Some(path) = cells.first().and_then(|cell| cell.strip_prefix("| `")) else { continue };
        let kind = cells.get(2).with_context(|| format!("docs/config.md: too few columns: {line}"))?;
        insert(&mut root, path.trim_end_matches('`'), of_kind(kind)?);
    }
    ensure!(root["properties"].as_object().is_some_and(|sections| sections.len() > 5), "docs/config.md: few settings");
    Ok(root)
}

fn object() -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": {}})
}

fn insert(root: &mut Value, path: &str, schema: Value) {
    let mut at = root;
    let (sections, key) = path.rsplit_once('.').unwrap_or(("", path));
    for section in sections.split('.').filter(|section| !section.is_empty()) {
        at = if section == ANY {
            if !at["additionalProperties"].is_object() {
                at["additionalProperties"] = object();
            }
            &mut at["additionalProperties"]
        } else {
            let properties = &mut at["properties"];
            if properties[section].is_null() {
                properties[section] = object();
            }
            &mut properties[section]
        };
    }
    at["properties"][key] = schema;
}

/// What a value of this kind looks like in YAML.
fn of_kind(kind: &str) -> Result<Value> {
    let first = kind.split(" (").next().unwrap_or(kind);
    Ok(match first {
        "`true` or `false`" => json!({"type": "boolean"}),
        "whole number" => json!({"type": "integer", "minimum": 0}),
        "number from 0 to 1" => json!({"type": "number", "minimum": 0, "maximum": 1}),
        "duration" => json!({"type": "string", "pattern": "^([0-9][0-9_]* *(ms|s|m|h|d))?$"}),
        "size" => json!({"anyOf": [{"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^([0-9][0-9_]* *(B|kB|MB|GB|KiB|MiB|GiB)?)?$"}]}),
        "text" | "text, kept secret" | "path" | "address:port" | "level, or `module=level` list" => {
            json!({"type": "string"})
        }
        _ if first.starts_with("list, ") => json!({"anyOf": [{"type": "string"},
            {"type": "array", "items": {"type": "string"}}]}),
        _ => {
            let words: Option<Vec<&str>> =
                first.split(" or ").map(|word| word.strip_prefix('`')?.strip_suffix('`')).collect();
            let Some(words) = words else { bail!("docs/config.md: an unknown kind of value: {kind}") };
            json!({"enum": words})
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_a_closed_tree() {
        let mut page = String::from("| key | environment | what | default | meaning |\n|---|---|---|---|---|\n");
        for section in ["a", "b", "c", "d", "e", "f"] {
            page.push_str(&format!("| `{section}.x` | `X` | duration (`1s`, `2m`) | `5s` | How long. |\n"));
        }
        page.push_str("| `endpoints.NAME.path` | `X` | text | required | Where. |\n");
        page.push_str("| `mode` | `X` | `near` or `far` | `near` | Which. |\n");

        let tree = definition(&page).expect("a tree");

        assert_eq!(tree["additionalProperties"], false);
        assert_eq!(tree["properties"]["a"]["additionalProperties"], false);
        assert_eq!(tree["properties"]["a"]["properties"]["x"]["pattern"], "^([0-9][0-9_]* *(ms|s|m|h|d))?$");
        assert_eq!(tree["properties"]["mode"]["enum"], json!(["near", "far"]));
        let any = &tree["properties"]["endpoints"]["additionalProperties"];
        assert_eq!(
            (&any["additionalProperties"], &any["properties"]["path"]["type"]),
            (&json!(false), &json!("string"))
        );
    }

    #[test]
    fn an_unknown_kind_is_told() {
        assert!(of_kind("colour").is_err());
    }
}
