//! The smallest story that shows a defect: one client, one target, the events around.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Rule, Violation};
use crate::history::{Entry, Event, History, Target};

/// Before the defect shows.
const BEFORE_MS: u64 = 12_000;
/// After it.
const AFTER_MS: u64 = 3_000;
/// Lines of a story: the last ones before the defect are kept.
const LINES_MAX: usize = 60;

/// How many violations of each rule there are, and for each rule the shortest story.
pub fn tell(history: &History, violations: &[Violation]) -> String {
    let mut by_rule: BTreeMap<Rule, Vec<&Violation>> = BTreeMap::new();
    for violation in violations {
        by_rule.entry(violation.rule).or_default().push(violation);
    }
    let mut text = String::new();
    for (rule, violations) in by_rule {
        let shortest = violations.iter().take(500).map(|violation| (lines(history, violation), violation));
        let Some((lines, violation)) = shortest.min_by_key(|(lines, _)| lines.len()) else { continue };
        let mut line = |line: &str| writeln!(text, "{line}").unwrap_or_default();
        line(&format!("{rule:?}: {} times. The shortest story:", violations.len()));
        line(&format!("  {violation}"));
        for (at, what) in lines.iter().skip(lines.len().saturating_sub(LINES_MAX)) {
            line(&format!("  {at:>8} ms  {what}"));
        }
    }
    text
}

fn lines(history: &History, violation: &Violation) -> Vec<(u64, String)> {
    let (from, to) = (violation.at.saturating_sub(BEFORE_MS), violation.at + AFTER_MS);
    let inside = |at: u64| from <= at && at <= to;
    let mut lines = Vec::new();
    for window in history.trouble(from, to) {
        lines.push((window.from, format!("-- {} begins ({:?})", window.what, window.harm)));
        lines.push((window.to, format!("-- {} is over, the fleet is whole", window.what)));
    }
    if let Some(life) = violation.client.and_then(|number| history.clients.get(number as usize)) {
        let told = life.entries.iter().filter(|entry| inside(entry.at));
        let told = told.filter(|entry| concerns(entry, violation.target, life.user));
        lines.extend(told.map(|entry| (entry.at, format!("{:?}", entry.event))));
    }
    if violation.target.is_some() {
        let published = history.publishes.iter();
        let published = published.filter(|publish| Some(publish.target) == violation.target && inside(publish.at));
        lines.extend(published.map(|publish| {
            let what = format!(
                "   published {:?} {:?}; {:?} after {} ms",
                publish.kind,
                publish.name,
                publish.answer,
                publish.answered_at.saturating_sub(publish.at)
            );
            (publish.at, what)
        }));
    }
    lines.sort_by_key(|(at, _)| *at);
    lines
}

fn concerns(entry: &Entry, target: Option<Target>, user: u32) -> bool {
    let of = |room: &u32| target == Some(Target::Room(*room));
    match &entry.event {
        Event::Opening(_)
        | Event::Welcome { .. }
        | Event::NotOpened(_)
        | Event::GoAway(_)
        | Event::Ended(..)
        | Event::Dropped => true,
        Event::Joining(room, _)
        | Event::Joined(room, _)
        | Event::NotJoined(room, _)
        | Event::Leaving(room)
        | Event::Left(room) => of(room),
        Event::Seen { target: seen, .. } => target == Some(*seen),
        Event::Gap(gap) => gap.is_none() || *gap == target,
        Event::Acked(_) => target == Some(Target::User(user)),
        Event::Sending(_) | Event::Sent(_) | Event::NotSent(..) => target.is_none(),
    }
}
