//! What a lane does where a move does not go as planned: routers that are lost in the middle of it, and steps and reports that
//! never come. Knows nothing of messages but that they are released.

use holdfast_protocol::id::NodeId;

use super::{EARLY_MS, Inheritance, Lane, Message, MoveId, ORPHAN_MS, PATIENCE_MS, Step};

impl Lane {
    /// A router has gone without handing over, or has gone after it did.
    pub(in crate::core) fn lose(&mut self, now_ms: u64, router: NodeId, released: &mut Vec<Message>) {
        let mut owners = std::mem::take(&mut self.owners);
        owners.retain(|owner| *owner != router);
        self.set_owners(&owners);
        let me = self.me;
        let mut again = Vec::new();
        self.windows.retain_mut(|window| {
            let is_mover = window.id.0 == router;
            let leaves = window.before.contains(&router);
            match window.step {
                Step::Counting if is_mover => return false,
                Step::Counting => {
                    let without = |set: &[NodeId]| set.iter().copied().filter(|it| *it != router).collect::<Vec<_>>();
                    let (before, after) = (without(&window.before), without(&window.after));
                    window.set(me, &before, &after);
                }
                // One that was about to come: all is as it was.
                Step::Started if is_mover && !leaves => return false,
                Step::Started if is_mover => (window.step, window.closed) = (Step::Ended, true),
                Step::Started if !leaves => {
                    // An heir: another takes its place.
                    let before = window.before.clone();
                    let after: Vec<_> = window.after.iter().copied().filter(|it| *it != router).collect();
                    window.set(me, &before, &after);
                    again.push(window.id);
                }
                Step::Started => {}
                Step::Ended => window.closed |= is_mover,
            }
            window.over.push(router);
            true
        });
        for id in again {
            self.inherit(now_ms, id);
        }
        self.release_over(released);
        self.tidy();
    }

    /// A router that moves says that it is through; its last steps may still be unread. `false` where we know of no move
    /// of its own.
    pub(in crate::core) fn orphan(&mut self, now_ms: u64, mover: NodeId) -> bool {
        let mut any = false;
        for window in self.windows.iter_mut().filter(|window| window.id.0 == mover) {
            window.orphaned_ms.get_or_insert(now_ms);
            any = true;
        }
        any
    }

    /// What time brings: nobody is waited for for ever.
    pub(in crate::core) fn expire(&mut self, now_ms: u64, released: &mut Vec<Message>) {
        self.early.retain(|(at_ms, _)| now_ms < at_ms + EARLY_MS);
        if self.windows.is_empty() && self.inheritances.is_empty() {
            return;
        }
        let gone = self.windows.iter().find(|it| it.orphaned_ms.is_some_and(|at_ms| now_ms >= at_ms + ORPHAN_MS));
        if let Some(mover) = gone.map(|window| window.id.0) {
            self.lose(now_ms, mover, released);
        }
        let late = |inheritance: &Inheritance| now_ms >= inheritance.since_ms + PATIENCE_MS;
        while let Some(former) = self.inheritances.iter().find(|it| late(it)).map(|it| it.former) {
            self.give_up_waiting(former, released);
        }
        let old: Vec<MoveId> =
            self.windows.iter().filter(|it| now_ms >= it.since_ms + 2 * PATIENCE_MS).map(|it| it.id).collect();
        for id in old {
            let Some(window) = self.window(id) else { continue };
            (window.closed, window.mark_due) = (true, false);
            if window.step == Step::Started {
                window.step = Step::Ended;
                let after = window.after.clone();
                self.set_owners(&after);
            }
        }
        self.tidy();
    }
}
