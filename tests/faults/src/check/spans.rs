//! Who was in what and when, as the clients themselves know it, and what they saw.

use std::collections::{BTreeMap, HashMap};

use crate::history::{ClientNumber, Event, History, Life, Name, Target};

/// After a client has gone, how long a gateway may still take it to be there.
const GHOST_MS: u64 = 15_000;

/// A time in a target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// It may be counted as a member from here …
    pub(crate) asked: u64,
    /// … it is one from here …
    pub(crate) from: u64,
    /// … until here …
    pub(crate) to: u64,
    /// … and may still be counted until here.
    pub(crate) ghost: u64,
}

/// One client's memberships and what it saw.
#[derive(Debug, Default)]
pub(crate) struct Member {
    pub(crate) spans: HashMap<Target, Vec<Span>>,
    /// Times of each message seen.
    pub(crate) seen: HashMap<(Target, Name), u64>,
    /// Gaps told.
    pub(crate) gaps: Vec<(u64, Option<Target>)>,
    /// Messages it acknowledged.
    pub(crate) acked: Vec<Name>,
}

/// All clients.
#[derive(Debug, Default)]
pub(crate) struct Members {
    pub(crate) clients: Vec<Member>,
    by_target: BTreeMap<Target, Vec<ClientNumber>>,
}

impl Members {
    pub(crate) fn of(history: &History) -> Self {
        let mut members = Self::default();
        for (number, life) in (0..).zip(&history.clients) {
            let member = member(life, history.end);
            for target in member.spans.keys() {
                members.by_target.entry(*target).or_default().push(number);
            }
            members.clients.push(member);
        }
        members
    }

    /// Those who were ever in a target.
    pub(crate) fn of_target(&self, target: Target) -> impl Iterator<Item = (ClientNumber, &Member)> {
        let numbers = self.by_target.get(&target).map_or(&[][..], Vec::as_slice);
        numbers.iter().map(|number| (*number, &self.clients[*number as usize]))
    }
}

impl Member {
    /// Whether it was in the target all the time from `from` to `to`.
    pub(crate) fn stays(&self, target: Target, from: u64, to: u64) -> bool {
        self.spans.get(&target).is_some_and(|spans| spans.iter().any(|span| span.from <= from && to <= span.to))
    }

    /// How often it may be counted as a member at some time from `from` to `to`: more than one connection may be its.
    pub(crate) fn possible(&self, target: Target, from: u64, to: u64) -> u64 {
        let spans = self.spans.get(&target).map_or(&[][..], Vec::as_slice);
        spans.iter().filter(|span| span.asked <= to && from <= span.ghost).count() as u64
    }

    /// Whether it was told of a gap in the target.
    pub(crate) fn told(&self, target: Target, from: u64, to: u64) -> bool {
        let here = |gap: &(u64, Option<Target>)| from <= gap.0 && gap.0 <= to && gap.1.is_none_or(|of| of == target);
        self.gaps.iter().any(here)
    }
}

/// Spans that have begun: asked, and since when if it is answered.
type Open = HashMap<Target, (u64, Option<u64>)>;

fn member(life: &Life, end: u64) -> Member {
    let mut member = Member::default();
    let mut open = Open::new();
    let user = Target::User(life.user);
    for entry in &life.entries {
        let at = entry.at;
        match &entry.event {
            Event::Opening(_) => drop(open.insert(user, (at, None))),
            Event::Welcome { .. } => open.entry(user).or_insert((at, None)).1 = Some(at),
            Event::Joining(room, since) => {
                let room = Target::Room(*room);
                // With a position it is a leave and a join in one step.
                if since.is_some() {
                    close(&mut member, &mut open, room, at);
                }
                open.entry(room).or_insert((at, None));
            }
            Event::Joined(room, _) => {
                open.entry(Target::Room(*room)).or_insert((at, None)).1.get_or_insert(at);
            }
            Event::Leaving(room) => close(&mut member, &mut open, Target::Room(*room), at),
            Event::Ended(..) | Event::Dropped | Event::NotOpened(_) => {
                for target in open.keys().copied().collect::<Vec<_>>() {
                    close(&mut member, &mut open, target, at);
                }
            }
            Event::Seen { target, name, .. } => drop(member.seen.entry((*target, *name)).or_insert(at)),
            Event::Gap(target) => member.gaps.push((at, *target)),
            Event::Acked(name) => member.acked.push(*name),
            Event::NotJoined(..)
            | Event::Left(_)
            | Event::GoAway(_)
            | Event::Sending(_)
            | Event::Sent(_)
            | Event::NotSent(..) => {}
        }
    }
    for target in open.keys().copied().collect::<Vec<_>>() {
        close(&mut member, &mut open, target, end);
    }
    member
}

fn close(member: &mut Member, open: &mut Open, target: Target, at: u64) {
    if let Some((asked, from)) = open.remove(&target) {
        // Never welcomed is never there for sure.
        let (from, to) = from.map_or((1, 0), |from| (from, at));
        let span = Span { asked, from, to, ghost: at + GHOST_MS };
        member.spans.entry(target).or_default().push(span);
    }
}
