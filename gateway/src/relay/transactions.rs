//! Transactions of a back end: what it sends in one waits for its COMMIT, and is then published in order. Nothing makes
//! that atomic on the bus. Bounded in number, frames and bytes.

use holdfast_protocol::dialect::stomp::Frame;

/// Transactions at once.
const OPEN_MAX: usize = 16;
/// Frames in all of them.
const FRAMES_MAX: usize = 1024;
/// Bytes of bodies in all of them.
const BODY_BYTES_MAX: usize = 4 << 20;

const UNKNOWN: &str = "there is no such transaction";

/// Those of one session that are open.
#[derive(Debug, Default)]
pub(super) struct Transactions(Vec<(String, Vec<Frame>)>);

impl Transactions {
    /// BEGIN.
    pub(super) fn begin(&mut self, name: Option<&str>) -> Result<(), &'static str> {
        let name = name.ok_or("BEGIN needs a transaction")?;
        if self.0.iter().any(|(known, _)| known == name) {
            return Err("the transaction has begun already");
        }
        if self.0.len() >= OPEN_MAX {
            return Err("too many transactions");
        }
        self.0.push((name.to_owned(), Vec::new()));
        Ok(())
    }

    /// A frame of one.
    pub(super) fn add(&mut self, name: &str, frame: &Frame) -> Result<(), &'static str> {
        let held = self.0.iter().flat_map(|(_, frames)| frames);
        let (frames, bytes) =
            held.fold((1, frame.body.len()), |(frames, bytes), held| (frames + 1, bytes + held.body.len()));
        if frames > FRAMES_MAX || bytes > BODY_BYTES_MAX {
            return Err("too much in transactions");
        }
        let (_, frames) = self.0.iter_mut().find(|(known, _)| known == name).ok_or(UNKNOWN)?;
        frames.push(frame.clone());
        Ok(())
    }

    /// COMMIT or ABORT: what was in it.
    pub(super) fn end(&mut self, name: Option<&str>) -> Result<Vec<Frame>, &'static str> {
        let at = self.0.iter().position(|(known, _)| Some(known.as_str()) == name).ok_or(UNKNOWN)?;
        Ok(self.0.remove(at).1)
    }
}
