//! One kind of messages: who owns its partitions, the moves under way, and what is to be done with each message.

use holdfast_protocol::id::NodeId;
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::wire::{Handled, Move, MoveStep};
use smallvec::SmallVec;

use super::MoveId;
use super::inheritance::{Inheritance, Kept, Message};
use super::window::{Step, Window};
use crate::core::event::{Now, Request};
use crate::core::sections::Sections;

mod troubles;

/// Moves under way at the same time; more are not counted, and take place all the same.
const WINDOWS_MAX: usize = 4;
/// Reports of moves that we have not heard of yet.
const EARLY_MAX: usize = 256;
/// How long those are remembered.
const EARLY_MS: u64 = 5_000;
/// How long a former owner that lives may take to hand over.
const PATIENCE_MS: u64 = 5_000;
/// How long a mover that went may have left its last steps behind.
const ORPHAN_MS: u64 = 700;

/// What is to be done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) enum Decision {
    /// Another's.
    Ignore,
    /// Ours, now.
    Handle,
    /// Ours, when its former owner has handed over: it is kept.
    Keep {
        /// Too much is kept: what this one has left must be released.
        full: Option<NodeId>,
    },
    /// Its former owner has handled it.
    Second,
}

/// What one turn has to tell heirs.
#[derive(Debug)]
pub(in crate::core) struct Told {
    /// Of which move.
    pub(in crate::core) id: MoveId,
    /// What was handled.
    pub(in crate::core) keys: Vec<u64>,
    /// The partitions that were ours before, where this is the first of it.
    pub(in crate::core) first: Option<u64>,
    /// Whether that was the last of it.
    pub(in crate::core) is_last: bool,
    /// Whom.
    pub(in crate::core) heirs: Vec<NodeId>,
}

/// What counts of what happened; grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::core) struct Counted {
    /// Messages that were kept.
    pub(in crate::core) kept: u64,
    /// Of what was kept or heard, what the former owner had handled.
    pub(in crate::core) seconds: u64,
    /// Former owners that were not waited for any longer.
    pub(in crate::core) impatient: u64,
}

/// One kind of messages.
#[derive(Debug)]
pub(in crate::core) struct Lane {
    me: NodeId,
    sections: Sections,
    owners: Vec<NodeId>,
    /// Ours among the partitions, one bit each.
    mine: u64,
    windows: Vec<Window>,
    inheritances: Vec<Inheritance>,
    early: Vec<(u64, Handled)>,
    pub(in crate::core) counted: Counted,
}

impl Lane {
    pub(super) const fn new(me: NodeId, sections: Sections) -> Self {
        Self {
            me,
            sections,
            owners: Vec::new(),
            mine: 0,
            windows: Vec::new(),
            inheritances: Vec::new(),
            early: Vec::new(),
            counted: Counted { kept: 0, seconds: 0, impatient: 0 },
        }
    }

    /// Who shares the partitions, in order.
    pub(in crate::core) fn owners(&self) -> &[NodeId] {
        &self.owners
    }

    /// Our partitions, one bit each.
    pub(in crate::core) const fn mine(&self) -> u64 {
        self.mine
    }

    /// Whether no move is under way that we have heard of.
    pub(super) fn is_quiet(&self) -> bool {
        self.windows.is_empty() && self.inheritances.is_empty()
    }

    /// Messages that are kept.
    pub(super) fn kept(&self) -> usize {
        self.inheritances.iter().map(|inheritance| inheritance.kept.len()).sum()
    }

    /// Forgets everything.
    pub(super) fn discard(&mut self) {
        *self = Self { counted: self.counted, ..Self::new(self.me, self.sections) };
    }

    /// Takes the owners as told.
    pub(in crate::core) fn set_owners(&mut self, owners: &[NodeId]) {
        self.owners = owners.to_vec();
        self.owners.sort_unstable();
        self.owners.dedup();
        self.mine = (0..PARTITIONS)
            .filter(|partition| self.sections.owner_of(*partition, &self.owners) == Some(self.me))
            .fold(0, |mine, partition| mine | 1 << partition);
    }

    // --- messages ---

    /// What is to be done with a message of the partition.
    pub(in crate::core) fn decide(
        &mut self,
        now: Now,
        partition: usize,
        request: &Request<'_>,
        fingerprint: impl FnOnce(&Request<'_>) -> u64,
    ) -> Decision {
        let bit = 1 << partition;
        if self.windows.is_empty() && self.inheritances.is_empty() {
            return if self.mine & bit == 0 { Decision::Ignore } else { Decision::Handle };
        }
        let key = fingerprint(request);
        let mut occurrences: SmallVec<[u32; WINDOWS_MAX]> = SmallVec::new();
        for window in &mut self.windows {
            occurrences.push(if window.moving & bit == 0 { u32::MAX } else { window.count(key) });
        }
        if !self.is_ours(partition) {
            return Decision::Ignore;
        }
        let losing = |window: &Window| window.is_open() && window.losing & bit != 0;
        if let Some(inheritance) = self.inheritances.iter_mut().find(|it| it.partitions & bit != 0) {
            let at = self.windows.iter().position(|window| window.id == inheritance.id);
            let occurrence = at.map_or(u32::MAX, |at| occurrences[at]);
            let told_to = self.windows.iter().filter(|window| losing(window)).map(|window| window.id).collect();
            let message = Message::new(now, request);
            self.counted.kept += 1;
            let full = inheritance.keep(Kept { message, key, occurrence, told_to });
            return Decision::Keep { full: full.then_some(inheritance.former) };
        }
        let gaining = |window: &Window| window.step != Step::Counting && window.gaining & bit != 0;
        if let Some(at) = self.windows.iter().position(gaining)
            && occurrences[at] <= self.windows[at].told.get(key)
        {
            self.counted.seconds += 1;
            return Decision::Second;
        }
        self.windows.iter_mut().filter(|window| losing(window)).for_each(|window| window.note(key));
        Decision::Handle
    }

    /// Whether messages of the partition are ours, now or when they have been handed over.
    fn is_ours(&self, partition: usize) -> bool {
        let bit = 1 << partition;
        match self.windows.iter().find(|window| window.step == Step::Started && window.moving & bit != 0) {
            Some(window) => (window.gaining | window.losing) & bit != 0,
            None => self.mine & bit != 0,
        }
    }

    /// Whether it is ours to speak for the partition: nobody has to hand it over first.
    pub(in crate::core) fn speaks(&self, partition: usize) -> bool {
        self.is_ours(partition) && self.inheritances.iter().all(|it| it.partitions & 1 << partition == 0)
    }

    // --- moves ---

    /// A step of a move. What is released by it is appended to `released`.
    pub(in crate::core) fn step(&mut self, now_ms: u64, step: &Move, released: &mut Vec<Message>) {
        let id = (step.mover, step.number);
        match step.step {
            MoveStep::Count => self.count(now_ms, id, step),
            MoveStep::Ready => {}
            MoveStep::Start => self.start(now_ms, id, step),
            MoveStep::End => self.end(now_ms, id, step),
            MoveStep::Close => {
                if let Some(window) = self.window(id) {
                    window.closed = true;
                }
            }
            MoveStep::Cancel => {
                self.windows.retain(|window| window.id != id);
                // The former owner goes on.
                self.inheritances.retain(|inheritance| inheritance.id != id);
            }
        }
        self.tidy();
        self.release_over(released);
    }

    fn window(&mut self, id: MoveId) -> Option<&mut Window> {
        self.windows.iter_mut().find(|window| window.id == id)
    }

    fn count(&mut self, now_ms: u64, id: MoveId, step: &Move) {
        if self.windows.len() >= WINDOWS_MAX || self.window(id).is_some() {
            return;
        }
        self.windows.push(Window::new((self.me, self.sections), step, now_ms));
        let early: Vec<Handled> = self
            .early
            .extract_if(.., |(_, handled)| (handled.mover, handled.number) == id)
            .map(|(_, handled)| handled)
            .collect();
        for handled in early {
            self.note_handled(now_ms, handled);
        }
    }

    fn start(&mut self, now_ms: u64, id: MoveId, step: &Move) {
        if self.windows.iter().any(|window| window.step == Step::Started) {
            // Two at once: the first counts, and the mover of the other sees that too.
            return;
        }
        self.count(now_ms, id, step);
        let (me, owners) = (self.me, self.owners.clone());
        let Some(window) = self.window(id) else { return };
        window.set(me, &step.before, &step.after);
        (window.step, window.since_ms) = (Step::Started, now_ms);
        window.first_due = window.losing != 0;
        // Who was given up meanwhile hands nothing over.
        window.over.extend(step.before.iter().copied().filter(|owner| !owners.contains(owner)));
        self.inherit(now_ms, id);
    }

    /// Begins to keep what is to be ours after a move.
    fn inherit(&mut self, now_ms: u64, id: MoveId) {
        let Some(window) = self.windows.iter().find(|window| window.id == id) else { return };
        for (former, partitions) in window.formers() {
            if window.over.contains(&former) {
                continue;
            }
            match self.inheritances.iter_mut().find(|it| it.former == former && it.id == id) {
                Some(inheritance) => inheritance.partitions |= partitions,
                None => self.inheritances.push(Inheritance::new(former, id, partitions, now_ms)),
            }
        }
    }

    fn end(&mut self, now_ms: u64, id: MoveId, step: &Move) {
        self.count(now_ms, id, step);
        let given_up: Vec<NodeId> = step.before.iter().copied().filter(|owner| !self.owners.contains(owner)).collect();
        let after: Vec<NodeId> = step.after.iter().copied().filter(|owner| !given_up.contains(owner)).collect();
        if let Some(window) = self.window(id) {
            window.step = Step::Ended;
            window.mark_due = window.losing != 0;
        }
        self.set_owners(&after);
    }

    /// A former owner tells what it has handled.
    pub(in crate::core) fn on_handled(&mut self, now_ms: u64, handled: Handled, released: &mut Vec<Message>) {
        if self.window((handled.mover, handled.number)).is_some() {
            self.note_handled(now_ms, handled);
            self.release_over(released);
            self.tidy();
        } else if self.early.len() < EARLY_MAX {
            self.early.push((now_ms, handled));
        }
    }

    fn note_handled(&mut self, _now_ms: u64, handled: Handled) {
        let Some(window) = self.window((handled.mover, handled.number)) else { return };
        for key in handled.keys {
            window.told.add(key);
        }
        if handled.end.is_some() {
            window.over.push(handled.from);
        }
    }

    /// Releases what former owners have left that handle nothing any more.
    fn release_over(&mut self, released: &mut Vec<Message>) {
        while let Some(at) = self.inheritances.iter().position(|inheritance| {
            self.windows.iter().any(|it| it.id == inheritance.id && it.over.contains(&inheritance.former))
        }) {
            self.release(at, released);
        }
    }

    fn release(&mut self, at: usize, released: &mut Vec<Message>) {
        let inheritance = self.inheritances.remove(at);
        for Kept { message, key, occurrence, told_to } in inheritance.kept {
            let window = self.windows.iter().find(|window| window.id == inheritance.id);
            if window.is_some_and(|window| occurrence <= window.told.get(key)) {
                self.counted.seconds += 1;
                continue;
            }
            for id in told_to {
                if let Some(window) = self.window(id) {
                    window.note(key);
                }
            }
            released.push(message);
        }
    }

    /// Does not wait for a former owner any longer.
    pub(in crate::core) fn give_up_waiting(&mut self, former: NodeId, released: &mut Vec<Message>) {
        while let Some(at) = self.inheritances.iter().position(|inheritance| inheritance.former == former) {
            self.counted.impatient += 1;
            let id = self.inheritances[at].id;
            if let Some(window) = self.window(id) {
                window.over.push(former);
            }
            self.release(at, released);
        }
        self.tidy();
    }

    /// What heirs are to be told, now that what was handled so far has been handed to the bus.
    pub(in crate::core) fn tell(&mut self) -> Vec<Told> {
        if self.windows.is_empty() {
            return Vec::new();
        }
        let mut told = Vec::new();
        for window in &mut self.windows {
            // What we inherit ourselves has to come first.
            let waits = self.inheritances.iter().any(|it| it.partitions & window.losing != 0);
            let is_last = window.mark_due && !waits;
            let begun = window.step != Step::Counting;
            if begun && (is_last || window.first_due || !window.handled.is_empty()) {
                window.mark_due &= !is_last;
                let first = std::mem::take(&mut window.first_due).then(|| window.ours_before(self.me));
                let heirs = window.after.iter().copied().filter(|heir| *heir != self.me).collect();
                told.push(Told { id: window.id, keys: std::mem::take(&mut window.handled), first, is_last, heirs });
            }
        }
        self.tidy();
        told
    }

    /// Whether nothing of our former partitions is left to be told.
    pub(in crate::core) fn has_told(&self) -> bool {
        self.windows.iter().all(|window| !window.mark_due && window.handled.is_empty())
    }

    /// Forgets moves that are through.
    fn tidy(&mut self) {
        let inheritances = &self.inheritances;
        self.windows.retain(|window| {
            let needed = window.mark_due || inheritances.iter().any(|it| it.id == window.id);
            !(window.closed && window.step != Step::Started && !needed)
        });
    }

    /// Whether our move must not begin: another has begun, or one as young comes first, or the owners are others by now.
    pub(in crate::core) fn yields(&self, me: MoveId) -> bool {
        let comes_first = |it: &Window| it.id != me && (it.step != Step::Counting || it.id.0 < me.0);
        let ours = self.windows.iter().find(|it| it.id == me);
        self.windows.iter().any(comes_first) || ours.is_none_or(|it| it.before != self.owners)
    }

    /// From when on a move's messages were kept by us, and the partitions that its former owner has left to us.
    pub(in crate::core) fn inherited_from(&self, id: MoveId, former: NodeId) -> Option<(u64, u64)> {
        let window = self.windows.iter().find(|window| window.id == id)?;
        let (_, partitions) = window.formers().into_iter().find(|(it, _)| *it == former)?;
        Some((window.since_ms, partitions))
    }
}
