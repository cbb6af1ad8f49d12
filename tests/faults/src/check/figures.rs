//! What is counted on the way, for reports: no promise depends on it.

use serde::{Deserialize, Serialize};

use crate::history::{Event, History};

/// Counts and times of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Kept messages acknowledged by the stream.
    pub kept_stored: u64,
    /// Deliveries of kept messages.
    pub kept_seen: u64,
    /// Resumptions that got all they had missed.
    pub resumed: u64,
    /// Resumptions that did not.
    pub not_recovered: u64,
    /// Live messages published.
    pub live_published: u64,
    /// Deliveries of live messages.
    pub live_seen: u64,
    /// Deliveries lost while a fault excused it, and not told.
    pub live_lost_in_faults: u64,
    /// Deliveries lost and told by a gap.
    pub live_lost_told: u64,
    /// Receipts.
    pub receipts: u64,
    /// Publishes that asked for an answer and had none.
    pub unanswered: u64,
    /// Receipts in a fault that do not count everybody.
    pub receipts_short_in_faults: u64,
    /// Sends upstream with an id.
    pub upstream_sent: u64,
    /// Of those, answered with an error.
    pub upstream_refused: u64,
    /// Welcomes.
    pub welcomes: u64,
    /// The most of them in one second after the start.
    pub welcomes_per_second_max: u64,
    /// From the end of a connection that the client did not want to the last `ok` of its rooms on the next one.
    pub client_gap: Percentiles,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many.
    pub count: usize,
    /// Half are below.
    pub p50_ms: u64,
    /// 99 of 100 are below.
    pub p99_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

impl Percentiles {
    /// Of these values.
    pub fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |share: usize| values.get((values.len() * share / 100).min(values.len().saturating_sub(1)));
        Self {
            count: values.len(),
            p50_ms: at(50).copied().unwrap_or(0),
            p99_ms: at(99).copied().unwrap_or(0),
            max_ms: values.last().copied().unwrap_or(0),
        }
    }
}

pub(super) fn gather(history: &History, figures: &mut Figures) {
    let mut gaps = Vec::new();
    let mut seconds = vec![0_u64; usize::try_from(history.end / 1000 + 1).unwrap_or(1)];
    for life in &history.clients {
        let (mut ended, mut back, mut first) = (None, None, true);
        for entry in &life.entries {
            match entry.event {
                Event::Ended(..) => {
                    gaps.extend(back.take());
                    ended = Some(entry.at);
                }
                Event::Dropped => {
                    gaps.extend(back.take());
                    ended = None;
                }
                Event::Welcome { .. } | Event::Joined(..) => {
                    if matches!(entry.event, Event::Welcome { .. }) {
                        figures.welcomes += 1;
                        let second = usize::try_from(entry.at / 1000).unwrap_or(0);
                        if !std::mem::take(&mut first)
                            && let Some(count) = seconds.get_mut(second)
                        {
                            *count += 1;
                        }
                    }
                    // Later joins are not part of the coming back.
                    if let Some(ended) = ended.filter(|ended| back.is_none_or(|back| entry.at - ended < back + 5000)) {
                        back = Some(entry.at - ended);
                    }
                }
                _ => {}
            }
        }
        gaps.extend(back);
    }
    figures.welcomes_per_second_max = seconds.into_iter().max().unwrap_or(0);
    figures.client_gap = Percentiles::of(gaps);
}
