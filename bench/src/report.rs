//! Figures as they come: said at once, folded over rounds, and a table at the end. Knows nothing of what was measured.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

/// One figure of one case, with its value in each round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Under what conditions.
    pub(crate) case: String,
    /// What was measured.
    pub(crate) what: String,
    pub(crate) unit: String,
    pub(crate) values: Vec<f64>,
}

/// All figures of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    pub(crate) rows: Vec<Row>,
}

/// A line for whoever watches.
pub(crate) fn note(text: &str) {
    // A run whose watcher has left goes on.
    drop(writeln!(std::io::stderr(), "{text}"));
}

impl Row {
    /// The middle of the rounds.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match (sorted.get(middle), sorted.len() % 2) {
            (None, _) => f64::NAN,
            (Some(upper), 0) => f64::midpoint(sorted[middle - 1], *upper),
            (Some(middle), _) => *middle,
        }
    }

    /// The least and the most.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        (least, self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    }

    /// The median, and the spread where there were several rounds.
    pub(crate) fn shown(&self) -> String {
        let median = number(self.median());
        let (least, most) = self.spread();
        if self.values.len() < 2 {
            return format!("{median} {}", self.unit);
        }
        format!("{median} {} ({} – {})", self.unit, number(least), number(most))
    }
}

/// With as many digits as mean something.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let plain = format!("{value:.digits$}");
    let (whole, fraction) = plain.split_once('.').map_or((plain.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |rest| ("-", rest));
    let grouped = whole.parse().map_or_else(|_| whole.to_owned(), number_of);
    fraction.map_or_else(|| format!("{sign}{grouped}"), |fraction| format!("{sign}{grouped}.{fraction}"))
}

/// The same, for a count.
pub(crate) fn number_of(count: usize) -> String {
    let text = count.to_string();
    let mut grouped = String::new();
    for (place, digit) in text.chars().enumerate() {
        if place > 0 && (text.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

impl Sheet {
    /// One figure of this round.
    pub(crate) fn add(&mut self, case: &str, what: &str, unit: &str, value: f64) {
        note(&format!("    {}", line(case, what, &format!("{} {unit}", number(value)))));
        match self.rows.iter_mut().find(|row| row.case == case && row.what == what) {
            Some(row) => row.values.push(value),
            None => self.rows.push(Row {
                case: case.to_owned(),
                what: what.to_owned(),
                unit: unit.to_owned(),
                values: vec![value],
            }),
        }
    }

    /// The table.
    pub(crate) fn print(&self) {
        for row in &self.rows {
            note(&line(&row.case, &row.what, &row.shown()));
        }
    }
}

fn line(case: &str, what: &str, value: &str) -> String {
    format!("{case:<44} {what:<44} {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_folded_to_their_median() {
        let mut sheet = Sheet::default();
        for value in [3.0, 1.0, 2.0] {
            sheet.add("case", "what", "µs", value);
        }
        assert_eq!(sheet.rows.len(), 1);
        assert_eq!(sheet.rows[0].shown(), "2.00 µs (1.00 – 3.00)");
        sheet.add("case", "what", "µs", 4.0);
        assert_eq!(number(sheet.rows[0].median()), "2.50");
    }

    #[test]
    fn numbers_are_grouped_and_have_sensible_digits() {
        let shown = [0.123, 12.34, 123.4, 1_234_567.0, -4_321.0].map(number);
        assert_eq!(shown, ["0.12", "12.3", "123", "1,234,567", "-4,321"]);
    }
}
