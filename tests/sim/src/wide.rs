//! Work of more kinds, drawn from a generator of its own: what a seed does without it stays what it was.

use holdfast_protocol::subject::Target;

use crate::operations::{ROOMS, USERS};
use crate::world::World;

/// Most messages of a burst beyond the first two.
const BURST_MORE_MAX: u64 = 40;

impl World {
    /// A millisecond's worth of it.
    pub(crate) fn operate_widely(&mut self) {
        if self.extra.chance(6) {
            self.totals.steps += 1;
            self.burst();
        }
    }

    /// Messages for the same receivers at once: they may leave in rows.
    fn burst(&mut self) {
        let target = self.room_or_user();
        let (sure, index) = (self.sure(&target), self.extra.index(self.services.len()));
        for _ in 0..2 + self.extra.below(BURST_MORE_MAX) {
            self.totals.sent += 1;
            let sure = sure.clone();
            self.services[index].send(&mut self.bus, &mut self.extra, self.now_ms, &target, sure, false);
        }
    }

    fn room_or_user(&mut self) -> Target {
        if self.extra.chance(650) {
            Target::Room(self.extra.pick(&ROOMS).map_or_else(String::new, |room| (*room).to_owned()))
        } else {
            Target::User(self.extra.pick(&USERS).map_or_else(String::new, |user| (*user).to_owned()))
        }
    }
}
