//! Reads a page of documentation as something to be followed: its blocks of code, in order, and what is said to be shown.
//!
//! A block that opens with ` ```sh terminal-2 ` is typed into that terminal; ` ```text terminal-2 ` is what it then shows,
//! where `…` stands for anything. More words on that line are marks, such as `until`. Blocks without a place are not
//! for following. Knows no terminal.

use anyhow::{Result, ensure};

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What it is: to be typed, or to be seen.
    pub typed: bool,
    /// Where: `terminal-1`, `kubernetes`, ….
    pub place: String,
    /// More words of its first line.
    pub marks: Vec<String>,
    /// Its lines.
    pub text: String,
    /// Where it begins, from 1.
    pub line: usize,
}

impl Block {
    /// Whether it has this mark.
    pub fn has(&self, mark: &str) -> bool {
        self.marks.iter().any(|own| own == mark)
    }

    /// The program it needs: the mark `needs=PROGRAM`.
    pub fn needs(&self) -> Option<&str> {
        self.marks.iter().find_map(|mark| mark.strip_prefix("needs="))
    }
}

/// The blocks of a page that have a place.
///
/// # Errors
/// A block has no end.
pub fn blocks(page: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut lines = (1..).zip(page.lines());
    while let Some((line, head)) = lines.next() {
        let Some(head) = head.strip_prefix("```") else { continue };
        let mut text = String::new();
        let mut ended = false;
        for (_, inner) in lines.by_ref() {
            if inner == "```" {
                ended = true;
                break;
            }
            text.push_str(inner);
            text.push('\n');
        }
        ensure!(ended, "line {line}: the block has no end");
        let mut words = head.split_whitespace();
        let (language, place) = (words.next(), words.next());
        if let (Some(language), Some(place)) = (language, place) {
            ensure!(["sh", "text"].contains(&language), "line {line}: a block of {language} has a place");
            let marks = words.map(str::to_owned).collect();
            blocks.push(Block { typed: language == "sh", place: place.to_owned(), marks, text, line });
        }
    }
    Ok(blocks)
}

/// Where the shown lines end in what was said, if they are all in it, in this order. Other lines may come between.
pub fn shown(wanted: &str, said: &str) -> Option<usize> {
    let mut at = 0;
    for wanted in wanted.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "…") {
        let rest = said.get(at..)?;
        let mut from = at;
        let found = rest.split_inclusive('\n').find_map(|line| {
            from += line.len();
            matches(wanted, line.trim()).then_some(from)
        });
        at = found?;
    }
    Some(at)
}

/// Whether a line is as shown; blanks count as one.
fn matches(wanted: &str, line: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (wanted, line) = (words(wanted), words(line));
    let pieces: Vec<&str> = wanted.split('…').collect();
    let [first, between @ .., last] = pieces.as_slice() else { return wanted == line };
    let Some(mut rest) = line.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else { return false };
    between.iter().all(|piece| match rest.split_once(piece) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_with_a_place_are_found_in_order() {
        let page =
            "Text.\n```sh terminal-1\nls\n```\n```sh\nnot this\n```\n```text terminal-1 until needs=x\na\n\nb\n```\n";

        let blocks = blocks(page).expect("a page");

        let (first, second) = (&blocks[0], &blocks[1]);
        assert_eq!(blocks.len(), 2);
        assert_eq!((first.typed, &*first.place, &*first.text, first.line), (true, "terminal-1", "ls\n", 2));
        assert_eq!((second.typed, second.has("until"), second.needs()), (false, true, Some("x")));
        assert_eq!(second.text, "a\n\nb\n");
    }

    #[test]
    fn a_block_without_an_end_is_told() {
        assert!(blocks("```sh terminal-1\nls\n").is_err());
    }

    #[test]
    fn what_is_shown_is_found_with_other_lines_between() {
        let said = "one\nNODE   STATE\ngabc   live   0\nother\nend\n";

        assert_eq!(shown("NODE  STATE\n…  live  0\n", said), Some(said.find("other").expect("it is there")));
        assert_eq!(shown("one\n…\nend\n", said), Some(said.len()));
        assert_eq!(shown("", said), Some(0));
        assert_eq!(shown("end\none\n", said), None, "another order");
        assert_eq!(shown("… live 1\n", said), None);
    }

    #[test]
    fn a_line_is_all_that_is_shown_of_it() {
        for (wanted, line, same) in [
            ("a b", "a   b", true),
            ("a b", "a b c", false),
            ("a …", "a b c", true),
            ("… c", "a b c", true),
            ("a … c", "a b c", true),
            ("a … c", "a b c d", false),
            ("… c … d", "a c b c x d", true),
            ("…", "anything", true),
        ] {
            assert_eq!(matches(wanted, line), same, "{wanted} | {line}");
        }
    }
}
