//! Pages of a room's past, as clients ask for them and may expect them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::client::number_of;
use crate::follow::place_of;
use crate::jetstream::JetStream;
use crate::log::Place;

/// A page of history as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Before this sequence, or after it.
    pub before: bool,
    /// The sequence.
    pub seq: u64,
    /// When it was asked for.
    pub asked_ms: u64,
    /// Most messages wanted.
    pub limit: usize,
}

/// A page is what the stream has there, in order and without holes.
///
/// # Errors
/// It is not.
pub fn check_page(
    stream: &JetStream,
    now_ms: u64,
    user: &str,
    subject: &str,
    page: &Page,
    frame: &Value,
) -> Result<(), String> {
    let Some(messages) = frame["messages"].as_array() else { return Err("a page without messages".to_owned()) };
    let Some((epoch, retained)) = stream.retained(subject) else { return Ok(()) };
    if messages.len() > page.limit {
        return Err("more than the page may hold".to_owned());
    }
    let mut places: Vec<Place> = messages.iter().filter_map(place_of).collect();
    if places.iter().any(|place| place.epoch != epoch) {
        return Ok(());
    }
    for (place, message) in places.iter().zip(messages) {
        if stream.log.at(subject, place).map(|logged| logged.number) != number_of(message) {
            return Err("a page with a message that was never stored there".to_owned());
        }
    }
    if places.len() != messages.len() || !places.is_sorted_by(|a, b| a.seq < b.seq) {
        return Err("a page out of order".to_owned());
    }
    let end = if page.before { page.seq } else { places.last().map_or(page.seq, |last| last.seq) };
    let begin = if page.before { places.first().map_or(page.seq, |first| first.seq) } else { page.seq + 1 };
    let seen: BTreeSet<u64> = places.drain(..).map(|place| place.seq).collect();
    let hidden = |seq: u64| {
        let at = Place { epoch: epoch.to_owned(), seq };
        let logged = stream.log.at(subject, &at);
        logged.is_none_or(|it| {
            let expired = it.expires_ms.is_some_and(|at| at <= now_ms);
            expired || it.stored_ms >= page.asked_ms || it.except.as_deref() == Some(user)
        })
    };
    let missing = retained.into_iter().find(|seq| (begin..end).contains(seq) && !seen.contains(seq) && !hidden(*seq));
    match missing {
        Some(seq) => Err(format!("a page without {seq}")),
        None => Ok(()),
    }
}
