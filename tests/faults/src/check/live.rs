//! Live messages: at most once, in order per sender and target, and lost only where a fault or a gap says so. And no
//! message of a room outside the membership.

use std::collections::{HashMap, HashSet};

use super::spans::Members;
use super::{Report, Rule, Violation};
use crate::history::{ClientNumber, Event, History, Kind, Life, Name, Target};

/// A message that has not come after so long to a client that was there all the time never will.
const DELIVERY_MS: u64 = 5_000;
/// A fault may swallow what was on its way when it struck.
const UNDER_WAY_MS: u64 = 1_500;
/// A gap is told when the loss is noticed.
const TELLING_MS: u64 = 15_000;

pub(super) fn check(history: &History, members: &Members, report: &mut Report) {
    for (number, life) in (0..).zip(&history.clients) {
        Walk { number, last: HashMap::new(), seen: HashSet::new(), inside: HashSet::new(), report }.life(life);
    }
    losses(history, members, report);
}

fn losses(history: &History, members: &Members, report: &mut Report) {
    for publish in history.publishes.iter().filter(|publish| publish.kind == Kind::Live) {
        report.figures.live_published += 1;
        let (at, target) = (publish.at, publish.target);
        let excused = history.is_lossy(at, at + UNDER_WAY_MS);
        for (number, member) in members.of_target(target) {
            if !member.stays(target, at, (at + DELIVERY_MS).min(history.rest)) {
                continue;
            }
            if member.seen.contains_key(&(target, publish.name)) {
                continue;
            }
            if member.told(target, at.saturating_sub(UNDER_WAY_MS), at + TELLING_MS) {
                report.figures.live_lost_told += 1;
            } else if excused {
                report.figures.live_lost_in_faults += 1;
            } else {
                let what = format!("{:?}, answered {:?}, never came", publish.name, publish.answer);
                let (client, target) = (Some(number), Some(target));
                report.violations.push(Violation { rule: Rule::LiveLost, client, target, at, what });
            }
        }
    }
}

struct Walk<'a> {
    number: ClientNumber,
    /// On this connection: the last number of each sender and target.
    last: HashMap<(u16, Target), u32>,
    seen: HashSet<(Target, Name)>,
    inside: HashSet<Target>,
    report: &'a mut Report,
}

impl Walk<'_> {
    fn life(&mut self, life: &Life) {
        for entry in &life.entries {
            match &entry.event {
                Event::Welcome { .. } => {
                    self.last.clear();
                    self.seen.clear();
                    self.inside.clear();
                    self.inside.insert(Target::User(life.user));
                }
                Event::Joined(room, _) => drop(self.inside.insert(Target::Room(*room))),
                Event::Left(room) => drop(self.inside.remove(&Target::Room(*room))),
                Event::Seen { target, name, kept } => {
                    if !self.inside.contains(target) {
                        let what = format!("{name:?} came outside of the membership");
                        self.violation(Rule::Uninvited, *target, entry.at, what);
                    }
                    if kept.is_none() {
                        self.seen(*target, *name, entry.at);
                    }
                }
                _ => {}
            }
        }
    }

    fn seen(&mut self, target: Target, name: Name, at: u64) {
        self.report.figures.live_seen += 1;
        let last = self.last.insert((name.source, target), name.number);
        if !self.seen.insert((target, name)) {
            self.violation(Rule::LiveTwice, target, at, format!("{name:?} came twice"));
        } else if let Some(last) = last.filter(|last| *last > name.number) {
            self.violation(Rule::LiveOrder, target, at, format!("{name:?} came after {last}"));
        }
        if let Some(last) = last.filter(|last| *last > name.number) {
            self.last.insert((name.source, target), last);
        }
    }

    fn violation(&mut self, rule: Rule, target: Target, at: u64, what: String) {
        let (client, target) = (Some(self.number), Some(target));
        self.report.violations.push(Violation { rule, client, target, at, what });
    }
}
