//! Answers to questions, put together from all shards.

use holdfast_protocol::id::ConnectionId;
use holdfast_protocol::wire::Answer;

/// One shard's part of an answer.
#[derive(Debug, Default)]
pub struct AnswerPart {
    /// All that match here, also beyond the page.
    pub total: u64,
    /// JSON objects by connection, ordered by connection id.
    pub entries: Vec<(ConnectionId, String)>,
}

impl AnswerPart {
    /// The answer a router gets, from all shards' parts: so many entries and bytes; more is for the next page.
    pub fn merge(parts: Vec<Self>, number: u64, limit: usize, bytes_max: usize) -> Answer {
        let total = parts.iter().map(|part| part.total).sum();
        let mut entries: Vec<_> = parts.into_iter().flat_map(|part| part.entries).collect();
        entries.sort_unstable_by_key(|(id, _)| *id);
        let mut bytes = 0;
        let fitting = entries.iter().take_while(|(_, entry)| {
            bytes += entry.len();
            bytes <= bytes_max
        });
        let fitting = fitting.count().max(1).min(limit);
        entries.truncate(fitting);
        Answer { number, total, entries: entries.into_iter().map(|(_, entry)| entry.into()).collect() }
    }
}
