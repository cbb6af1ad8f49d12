//! Our own coming or going: which step is told when. The next one is told only when the one before has come back in all
//! streams, so that each has the room it needs however late anybody reads.

use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::{Lane, MoveStep};

/// From `Count` to `Ready`: whoever wants to move at the same time has been heard by then, and what was under way when the
/// counting began has arrived.
const COUNT_MS: u64 = 60;
/// From `Start` to `End`: what was under way when new owners began to keep has arrived.
const START_MS: u64 = 120;
/// From `End` to `Close`: so have second copies of what old owners handled last.
const END_MS: u64 = 100;
/// A step that has not come back for so long is lost.
const LOST_MS: u64 = 2_000;

/// A move of ours.
#[derive(Debug)]
pub(in crate::core) struct Mover {
    pub(in crate::core) number: u64,
    /// Who shares the partitions before and after.
    pub(in crate::core) sets: (Vec<NodeId>, Vec<NodeId>),
    step: MoveStep,
    told_ms: u64,
    /// In which streams it has come back, of which: one bit each.
    back: u8,
    streams: u8,
    back_ms: Option<u64>,
}

impl Mover {
    /// `Count` is told now.
    pub(in crate::core) fn new(number: u64, sets: (Vec<NodeId>, Vec<NodeId>), kinds: &[Lane], now_ms: u64) -> Self {
        let streams = kinds.iter().fold(0, |bits, kind| bits | bit(*kind));
        Self { number, sets, step: MoveStep::Count, told_ms: now_ms, back: 0, streams, back_ms: None }
    }

    /// A step of ours has come back.
    pub(in crate::core) fn heard(&mut self, lane: Lane, number: u64, step: MoveStep, now_ms: u64) {
        if number == self.number && step == self.step {
            self.back |= bit(lane);
            if self.back == self.streams {
                self.back_ms.get_or_insert(now_ms);
            }
        }
    }

    /// The step that is to be told now.
    pub(in crate::core) fn next(&self, now_ms: u64) -> Option<MoveStep> {
        let since_ms = match (self.back_ms, self.step) {
            (Some(back_ms), _) => back_ms,
            // Old owners have stopped or will: whoever has heard of it must come to its end.
            (None, MoveStep::Start | MoveStep::End) if now_ms >= self.told_ms + LOST_MS => 0,
            (None, MoveStep::Count | MoveStep::Ready) if now_ms >= self.told_ms + LOST_MS => {
                return Some(MoveStep::Cancel);
            }
            (None, _) => return None,
        };
        let (pause_ms, next) = match self.step {
            MoveStep::Count => (COUNT_MS, MoveStep::Ready),
            MoveStep::Ready => (0, MoveStep::Start),
            MoveStep::Start => (START_MS, MoveStep::End),
            MoveStep::End => (END_MS, MoveStep::Close),
            MoveStep::Close | MoveStep::Cancel => return None,
        };
        (now_ms >= since_ms + pause_ms).then_some(next)
    }

    /// The step is told now.
    pub(in crate::core) const fn tell(&mut self, step: MoveStep, now_ms: u64) {
        (self.step, self.told_ms, self.back, self.back_ms) = (step, now_ms, 0, None);
    }

    /// Whether nobody has given up or kept anything for it yet.
    pub(in crate::core) const fn can_cancel(&self) -> bool {
        matches!(self.step, MoveStep::Count | MoveStep::Ready)
    }

    /// Whether nothing is left to be told.
    pub(in crate::core) const fn is_over(&self) -> bool {
        matches!(self.step, MoveStep::Close | MoveStep::Cancel)
    }
}

const fn bit(lane: Lane) -> u8 {
    1 << lane as u8
}
