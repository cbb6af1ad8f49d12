//! Standard output: lines, tables and JSON. A reader that went away ends the process quietly, as `head` expects.

use std::io::{self, Write as _};

use serde_json::Value;

/// Writes one line.
///
/// # Errors
/// Standard output is closed or broken.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes one line to standard error: hints and warnings that are not the answer itself.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told if standard error is gone.
    drop(writeln!(io::stderr(), "{text}"));
}

/// Rows under headings, columns padded to their widest cell.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let render = |cells: &[String]| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        text.trim_end().to_owned()
    };
    let heads: Vec<String> = headings.iter().map(|heading| heading.to_uppercase()).collect();
    std::iter::once(render(&heads)).chain(rows.iter().map(|row| render(row))).collect::<Vec<_>>().join("\n")
}

/// A field of a JSON object as a cell: text bare, `null` and absence as `-`.
pub(crate) fn cell(object: &Value, field: &str) -> String {
    match object.get(field) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_script() {
        let rows = vec![vec!["ana".to_owned(), "1".to_owned()], vec!["한글한글".to_owned(), "22".to_owned()]];

        assert_eq!(table(&["user", "rooms"], &rows), "USER  ROOMS\nana   1\n한글한글  22");
    }

    #[test]
    fn absent_and_null_look_the_same() {
        let object = serde_json::json!({"device": null, "rooms": 3, "user": "ana"});

        let cells = ["device", "nothing", "rooms", "user"].map(|field| cell(&object, field));

        assert_eq!(cells, ["-", "-", "3", "ana"]);
    }
}
