//! The last things that happened to one client, for the story of a failure.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use crate::socket::text_of;

/// Entries that stay.
const ENTRIES_MAX: usize = 48;

/// What happened lately, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Diary(VecDeque<(u64, Bytes)>);

impl Diary {
    /// A frame of the gateway, or the text of something that was done.
    pub fn note(&mut self, now_ms: u64, what: impl Into<Bytes>) {
        if self.0.len() == ENTRIES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now_ms, what.into()));
    }
}

impl fmt::Display for Diary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at_ms, what) in &self.0 {
            match text_of(what) {
                Some(text) => writeln!(f, "  {at_ms} <- {text}")?,
                None => writeln!(f, "  {at_ms} {}", String::from_utf8_lossy(what))?,
            }
        }
        Ok(())
    }
}
