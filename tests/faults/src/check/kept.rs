//! Kept messages: to each client that is there or comes back, every one, in order, once, or an honest `recovered:false`.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::spans::Members;
use super::{Report, Rule, Violation};
use crate::history::{Answer, ClientNumber, Event, History, Kind, Life, Name, Position, Resumed, Target};

pub(super) fn check(history: &History, members: &Members, report: &mut Report) {
    acknowledged_is_stored(history, report);
    for (number, life) in (0..).zip(&history.clients) {
        let mut walk = Walk { history, number, reached: HashMap::new(), gapped: HashSet::new(), report };
        walk.life(life);
        walk.rest(life, members);
    }
}

fn acknowledged_is_stored(history: &History, report: &mut Report) {
    let stored: BTreeMap<u64, Name> = history.stored.values().flatten().copied().collect();
    for publish in history.publishes.iter().filter(|publish| publish.kind == Kind::Kept) {
        let Answer::Stored(seq) = publish.answer else { continue };
        report.figures.kept_stored += 1;
        let full = history.stored.get(&publish.target).is_some_and(|all| all.len() >= history.stored_max);
        if stored.get(&seq) != Some(&publish.name) && !full {
            let what = format!("{:?} was acknowledged as {seq}; there is {:?}", publish.name, stored.get(&seq));
            let target = Some(publish.target);
            report.violations.push(Violation { rule: Rule::StoreLost, client: None, target, at: publish.at, what });
        }
    }
}

/// One client's way through its streams.
struct Walk<'a> {
    history: &'a History,
    number: ClientNumber,
    /// The last sequence that it has, or need not have.
    reached: HashMap<Target, u64>,
    /// Where it was told that something is missing: what comes counts again when it has asked for it from there on.
    gapped: HashSet<Target>,
    report: &'a mut Report,
}

impl Walk<'_> {
    fn life(&mut self, life: &Life) {
        for entry in &life.entries {
            match &entry.event {
                Event::Welcome { resumed, .. } => self.begin(Target::User(life.user), resumed, entry.at),
                Event::Joined(room, resumed) => self.begin(Target::Room(*room), resumed, entry.at),
                Event::Gap(Some(target)) => drop(self.gapped.insert(*target)),
                Event::Seen { target, name, kept: Some(position) } => self.seen(*target, *name, position, entry.at),
                _ => {}
            }
        }
    }

    fn begin(&mut self, target: Target, resumed: &Resumed, at: u64) {
        let Resumed { since, position, recovered } = resumed;
        if since.is_some() {
            self.gapped.remove(&target);
        }
        match (since, recovered) {
            (Some(_), Some(true)) => self.report.figures.resumed += 1,
            (Some(since), _) => {
                self.report.figures.not_recovered += 1;
                if !self.may_be_lost(target, since) {
                    let what = format!("since {since}: recovered {recovered:?}, and all of it was still there");
                    self.violation(Rule::FalseUnrecovered, target, at, what);
                }
                self.reached.remove(&target);
                self.rebase(target, position.as_ref());
            }
            // A second join without a position changes nothing.
            (None, _) => self.rebase(target, position.as_ref()),
        }
    }

    fn rebase(&mut self, target: Target, position: Option<&Position>) {
        if let Some(position) = position {
            self.reached.insert(target, position.seq);
        }
    }

    /// Whether the stream may have let go of something after `since`.
    fn may_be_lost(&self, target: Target, since: &Position) -> bool {
        let later = |stored: &[(u64, Name)]| stored.iter().filter(|(seq, _)| *seq > since.seq).count();
        since.epoch != self.history.epoch
            || self.history.stored.get(&target).is_some_and(|stored| later(stored) >= self.history.stored_max)
    }

    fn seen(&mut self, target: Target, name: Name, position: &Position, at: u64) {
        self.report.figures.kept_seen += 1;
        let seq = position.seq;
        let stored = self.history.stored.get(&target).map_or(&[][..], Vec::as_slice);
        let known = stored.binary_search_by_key(&seq, |(seq, _)| *seq).ok().map(|index| stored[index].1);
        if position.epoch != self.history.epoch || known != Some(name) {
            let what = format!("{name:?} came as {position}; the stream has {known:?} there");
            self.violation(Rule::KeptUnknown, target, at, what);
            return;
        }
        if self.gapped.contains(&target) {
            return;
        }
        if let Some(&reached) = self.reached.get(&target) {
            if seq <= reached {
                let what = format!("{name:?} came as {seq}, when it had all up to {reached}");
                self.violation(Rule::KeptTwiceOrLate, target, at, what);
                return;
            }
            self.missing(target, reached, seq, at);
        }
        self.reached.insert(target, seq);
    }

    /// Reports what the stream has between two sequences.
    fn missing(&mut self, target: Target, after: u64, before: u64, at: u64) {
        let stored = self.history.stored.get(&target).map_or(&[][..], Vec::as_slice);
        let from = stored.partition_point(|(seq, _)| *seq <= after);
        let missing: Vec<_> = stored[from..].iter().take_while(|(seq, _)| *seq < before).collect();
        if let Some((first, name)) = missing.first() {
            let what =
                format!("{} missing between {after} and {before}, the first is {name:?} at {first}", missing.len());
            self.violation(Rule::KeptMissing, target, at, what);
        }
    }

    /// At rest everybody has everything.
    fn rest(&mut self, life: &Life, members: &Members) {
        let rest = self.history.rest;
        let member = &members.clients[self.number as usize];
        if !member.stays(Target::User(life.user), rest, rest) {
            let what = "not connected when the run came to rest".to_owned();
            self.violation(Rule::Stranded, Target::User(life.user), rest, what);
        }
        for target in member.spans.keys() {
            if let Some(&reached) = self.reached.get(target)
                && member.stays(*target, rest, rest)
            {
                self.missing(*target, reached, u64::MAX, rest);
            }
        }
    }

    fn violation(&mut self, rule: Rule, target: Target, at: u64, what: String) {
        let (client, target) = (Some(self.number), Some(target));
        self.report.violations.push(Violation { rule, client, target, at, what });
    }
}
