//! What each file must and must not contain.

use super::Finding;
use super::files::File;

/// Checks one file against every rule.
pub(super) fn check(file: &File, findings: &mut Vec<Finding>) {
    let mut found = |line: usize, what: &str| {
        findings.push(Finding { path: file.path.clone(), line, what: what.to_owned() });
    };
    places_of_one_machine(file, &mut found);
    if file.is_rust() {
        has_a_head(file, &mut found);
        open_ends(file, &mut found);
        sleeping_tests(file, &mut found);
        spelled_subjects(file, &mut found);
        ignored_tests(file, &mut found);
    }
}

type Found<'a> = &'a mut dyn FnMut(usize, &str);

/// The first line says what the file is for.
fn has_a_head(file: &File, found: Found<'_>) {
    let head = file.text.lines().next().unwrap_or_default();
    if !head.starts_with("//! ") || head.to_lowercase().contains("placeholder") {
        found(1, "does not open with a `//!` line that says what it is responsible for");
    }
}

/// What is left to do names its issue, so that it is not left for ever.
fn open_ends(file: &File, found: Found<'_>) {
    for (number, line) in (1..).zip(file.text.lines()) {
        let Some((code, comment)) = line.split_once("//") else { continue };
        // Slashes within a string are no comment.
        if code.matches('"').count() % 2 == 1 {
            continue;
        }
        for word in ["FIXME", "XXX"] {
            if has_word(comment, word) {
                found(number, "write TODO(#issue)");
            }
        }
        if has_word(comment, "TODO") && !issue_after_todo(comment) {
            found(number, "write TODO(#issue)");
        }
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

fn issue_after_todo(comment: &str) -> bool {
    let rest = comment.split_once("TODO(#").map_or("", |(_, rest)| rest);
    let (number, end) = rest.split_once(')').unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && !end.is_empty()
}

/// A test waits for a condition; the one file that sleeps is the one that waits.
fn sleeping_tests(file: &File, found: Found<'_>) {
    if !file.path.starts_with("tests") || file.path.ends_with("harness/src/wait.rs") {
        return;
    }
    for (number, line) in (1..).zip(file.text.lines()) {
        if line.contains("thread::sleep") || line.contains("time::sleep") {
            found(number, "sleeps; wait for a condition with harness::wait");
        }
    }
}

/// A subject is spelled in one file of `protocol`; elsewhere only in tests and in texts for people.
fn spelled_subjects(file: &File, found: Found<'_>) {
    let spelled_here = file.path.ends_with("protocol/src/subject.rs") || file.path.starts_with("xtask");
    if file.is_test() || spelled_here {
        return;
    }
    for (number, line) in file.code() {
        let code = line.trim_start();
        if !code.starts_with("//") && (code.contains("\"hf.") || code.contains("\"{prefix}.")) {
            found(number, "spells a subject; build it with protocol::subject");
        }
    }
}

/// A test that does not run proves nothing.
fn ignored_tests(file: &File, found: Found<'_>) {
    for (number, line) in (1..).zip(file.text.lines()) {
        if line.trim_start().starts_with("#[ignore") {
            found(number, "ignores a test; mend it, or assert what happens today");
        }
    }
}

/// Paths that exist on one machine only.
fn places_of_one_machine(file: &File, found: Found<'_>) {
    // This file has to name them.
    if file.path.ends_with("xtask/src/tidy/rules.rs") {
        return;
    }
    for (number, line) in (1..).zip(file.text.lines()) {
        for place in ["/work/", "/root/", "/home/", "/Users/", "/tmp/bash_jobs"] {
            let begins = |at: usize| !line.as_bytes().get(at.wrapping_sub(1)).is_some_and(u8::is_ascii_alphanumeric);
            if line.match_indices(place).any(|(at, _)| begins(at)) {
                found(number, "names a path of one machine");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        let mut findings = Vec::new();
        check(&File { path: PathBuf::from(path), text: text.to_owned() }, &mut findings);
        findings.into_iter().map(|finding| (finding.line, finding.what)).collect()
    }

    fn lines(path: &str, text: &str) -> Vec<usize> {
        found(path, text).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn a_file_without_a_head_is_found() {
        assert_eq!(lines("gateway/src/a.rs", "use std::io;\n"), [1]);
        assert_eq!(lines("gateway/src/a.rs", "//! What it is for.\n"), [0; 0]);
    }

    #[test]
    fn open_ends_name_their_issue() {
        assert_eq!(lines("a.rs", "//! A.\n// TODO: later\n// TODO(#12) and why\n// FIXME\n"), [2, 4]);
    }

    #[test]
    fn only_the_file_that_waits_may_sleep_in_tests() {
        let text = "//! A.\n    tokio::time::sleep(pause).await;\n";

        assert_eq!(lines("tests/e2e/tests/a.rs", text), [2]);
        assert_eq!(lines("tests/harness/src/wait.rs", text), [0; 0]);
        assert_eq!(lines("gateway/src/a.rs", text), [0; 0]);
    }

    #[test]
    fn subjects_are_spelled_in_one_place() {
        let text = "//! A.\nlet subject = \"hf.send.all\";\n// \"hf.send.all\"\n#[cfg(test)]\n\"hf.x\"\n";

        assert_eq!(lines("router/src/a.rs", text), [2]);
        assert_eq!(lines("protocol/src/subject.rs", text), [0; 0]);
        assert_eq!(lines("tests/e2e/tests/a.rs", text), [0; 0]);
    }

    #[test]
    fn ignored_tests_and_paths_of_one_machine_are_found() {
        assert_eq!(lines("a.rs", "//! A.\n    #[ignore]\n"), [2]);
        assert_eq!(lines("README.md", "see /home/ana/x\nsee https://example.org/home/x\n"), [1]);
    }
}
