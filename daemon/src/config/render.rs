//! The table and the values as text for people: `--help`, `config print`, `config default`, `docs/config.md`.

use super::field::Shown;
use super::secret::REDACTED;
use super::table::{Entry, Key, Table};

/// `config print`: one line per setting, secrets redacted.
pub(super) fn print(shown: &[Shown]) -> String {
    let lines = shown.iter().map(|shown| {
        let value = match &shown.text {
            None => "(unset)".to_owned(),
            Some(text) if shown.secret => text.clone(),
            Some(text) => format!("{text:?}"),
        };
        format!("{} = {value}  # {}\n", shown.key, shown.origin)
    });
    lines.collect()
}

/// Hides what stands between `://` and `@` in each URL of a text; rather too much than too little.
pub(super) fn redact_user_info(text: &str) -> String {
    let mut parts = text.split("://");
    let mut redacted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        redacted.push_str("://");
        match part.rfind('@') {
            Some(at) => {
                redacted.push_str(REDACTED);
                redacted.push_str(part.split_at(at).1);
            }
            None => redacted.push_str(part),
        }
    }
    redacted
}

/// `--help`.
pub(super) fn help(name: &str, about: &str, table: &Table) -> String {
    let mut text = format!(
        "{about}\n\n\
        Usage: holdfast-{name} [--config FILE] [--KEY VALUE]...\n       \
        holdfast-{name} config check | print | default [--config FILE] [--KEY VALUE]...\n       \
        holdfast-{name} healthcheck [URL]\n\n\
        Settings come from defaults, then FILE (TOML), then the environment, then flags.\n\
        As a flag: --listen.address VALUE; in the environment: HOLDFAST_LISTEN__ADDRESS.\n\n\
        \x20 config check    tell everything that is wrong with the settings\n\
        \x20 config print    show each value and where it came from, secrets redacted\n\
        \x20 config default  write a commented file with all defaults\n\
        \x20 healthcheck     ask whether the process is ready (its /readyz, or that of URL); status 0 or 1\n\
        \x20 --version       show the version\n\nSettings:\n"
    );
    for entry in table.entries() {
        let default = entry.default.as_deref().map(|d| format!(" [default: {d:?}]")).unwrap_or_default();
        let first = entry.doc.split('\n').next().unwrap_or_default();
        line(&mut text, &format!("  --{}  ({}){default}", entry.key, entry.kind.replace('`', "")));
        line(&mut text, &format!("        {first}"));
    }
    text
}

/// `config default`: a TOML file that changes nothing, with every setting explained.
pub(super) fn default(name: &str, table: &Table) -> String {
    let mut text = format!("# Settings of holdfast-{name}, with their defaults.\n");
    // TOML wants the settings of the root before the first section.
    for (section, doc) in ordered_sections(table) {
        if !section.parts().is_empty() {
            text.push('\n');
            comment(&mut text, doc);
            let header = section.to_string().replace('*', "NAME");
            line(
                &mut text,
                &if section.parts().contains(&"*".to_owned()) {
                    format!("# [{header}]")
                } else {
                    format!("[{header}]")
                },
            );
        }
        for entry in members(table, section) {
            text.push('\n');
            comment(&mut text, &entry.doc);
            comment(&mut text, &format!("{}{}.", capital(entry.kind), if entry.required { "; required" } else { "" }));
            let value = entry.default.as_deref().map_or_else(|| "\"\"".to_owned(), toml_text);
            let active = entry.default.is_some() && !section.parts().contains(&"*".to_owned());
            line(&mut text, &format!("{}{} = {value}", if active { "" } else { "# " }, entry.key.name()));
        }
    }
    text
}

/// The part of `docs/config.md` that lists one service's settings.
pub(super) fn markdown(name: &str, table: &Table) -> String {
    let mut text = format!("## holdfast-{name}\n");
    for (section, doc) in ordered_sections(table) {
        if members(table, section).next().is_none() {
            continue;
        }
        if !section.parts().is_empty() {
            line(&mut text, &format!("\n### `[{}]`", section.to_string().replace('*', "NAME")));
        }
        if !doc.is_empty() {
            line(&mut text, &format!("\n{}", doc.replace('\n', "\n\n")));
        }
        line(&mut text, "\n| key | environment | what | default | meaning |\n|---|---|---|---|---|");
        for entry in members(table, section) {
            let default = match (&entry.default, entry.required) {
                (Some(text), _) if text.is_empty() => "empty".to_owned(),
                (Some(text), _) => format!("`{text}`"),
                (None, true) => "required".to_owned(),
                (None, false) => "unset".to_owned(),
            };
            let key = entry.key.to_string().replace('*', "NAME");
            let cells = [
                format!("`{key}`"),
                format!("`{}`", entry.key.variable().replace('*', "NAME")),
                cell(entry.kind),
                default,
                cell(&entry.doc),
            ];
            line(&mut text, &format!("| {} |", cells.join(" | ")));
        }
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', "<br>")
}

/// The root first, then each section where it was declared.
fn ordered_sections(table: &Table) -> impl Iterator<Item = (&Key, &str)> {
    table.sections().iter().map(|(key, doc)| (key, doc.as_str()))
}

fn members<'a>(table: &'a Table, section: &'a Key) -> impl Iterator<Item = &'a Entry> {
    table.entries().iter().filter(move |entry| entry.key.section() == *section)
}

/// A string is right for every type; plain words and numbers are shown as TOML has them.
fn toml_text(default: &str) -> String {
    match default {
        "true" | "false" => default.to_owned(),
        number if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => default.to_owned(),
        text => format!("{text:?}"),
    }
}

fn comment(text: &mut String, doc: &str) {
    for paragraph in doc.lines().filter(|paragraph| !paragraph.is_empty()) {
        line(text, &format!("# {paragraph}"));
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
