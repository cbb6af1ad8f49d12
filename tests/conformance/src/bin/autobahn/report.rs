//! What the suite says of each case, and what is expected of it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

/// One case in the suite's index.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    behavior: String,
    behavior_close: String,
}

/// Behaviour of each case and of its closing handshake, by its number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Results(BTreeMap<Vec<u32>, String>);

impl Results {
    /// Reads the suite's index, which has one server.
    pub(crate) fn read(index: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(index).with_context(|| format!("read {}", index.display()))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let servers: BTreeMap<String, BTreeMap<String, Case>> =
            serde_json::from_str(text).context("parse the index")?;
        let cases = servers.into_values().flatten();
        let numbered = cases.map(|(number, case)| {
            let parts = number.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>();
            let parts = parts.with_context(|| format!("case {number:?}"))?;
            Ok((parts, format!("{} {}", case.behavior, case.behavior_close)))
        });
        numbered.collect::<anyhow::Result<_>>().map(Self)
    }

    /// How many cases there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// One line per case, in order: `1.1.1 OK OK`.
    pub(crate) fn text(&self) -> String {
        self.lines().map(|line| line + "\n").collect()
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(number, behavior)| {
            let number: Vec<String> = number.iter().map(ToString::to_string).collect();
            format!("{} {behavior}", number.join("."))
        })
    }

    /// Each line that is expected and is not there, and the other way round.
    pub(crate) fn differences(&self, expected: &str) -> Vec<String> {
        let found: Vec<String> = self.lines().collect();
        let wanted: Vec<&str> = expected.lines().collect();
        let missing = wanted.iter().filter(|line| !found.iter().any(|found| found == *line));
        let extra = found.iter().filter(|line| !wanted.contains(&line.as_str()));
        missing.map(|line| format!("expected {line}")).chain(extra.map(|line| format!("found    {line}"))).collect()
    }

    /// How many cases of each behaviour.
    pub(crate) fn summary(&self) -> String {
        let mut counts = BTreeMap::<&str, usize>::new();
        for behavior in self.0.values() {
            let own = behavior.split(' ').next().unwrap_or_default();
            *counts.entry(own).or_default() += 1;
        }
        let counts: Vec<String> = counts.into_iter().map(|(behavior, count)| format!("{count} {behavior}")).collect();
        format!("{} cases as expected: {}", self.count(), counts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = r#"{"plain": {
        "1.1.10": {"behavior": "OK", "behaviorClose": "OK", "duration": 1},
        "1.1.2": {"behavior": "FAILED", "behaviorClose": "OK", "duration": 1}
    }}"#;

    #[test]
    fn cases_are_in_the_order_of_their_numbers() {
        let results = Results::parse(INDEX).expect("parses");

        assert_eq!(results.text(), "1.1.2 FAILED OK\n1.1.10 OK OK\n");
        assert_eq!(results.summary(), "2 cases as expected: 1 FAILED, 1 OK");
    }

    #[test]
    fn a_case_that_is_worse_missing_or_new_is_a_difference() {
        let results = Results::parse(INDEX).expect("parses");

        assert!(results.differences("1.1.2 FAILED OK\n1.1.10 OK OK\n").is_empty());
        assert_eq!(results.differences("1.1.2 OK OK\n1.1.10 OK OK\n").len(), 2);
        assert_eq!(results.differences("1.1.10 OK OK\n"), ["found    1.1.2 FAILED OK"]);
        assert_eq!(results.differences("1.1.2 FAILED OK\n1.1.3 OK OK\n1.1.10 OK OK\n"), ["expected 1.1.3 OK OK"]);
    }
}
