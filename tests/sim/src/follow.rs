//! One client's view of the kept messages of one target: where it is, and the promise that it gets every one of them, in
//! order, once, or is told that it does not.
//!
//! A client that is told of a gap stays where it was and asks again from there; what comes meanwhile moves nothing.

use serde_json::Value;

use crate::client::Number;
use crate::log::{Log, Place};

/// Who follows what, for comparison with the truth.
#[derive(Debug, Clone, Copy)]
pub struct Truth<'a> {
    /// All that was ever stored.
    pub log: &'a Log,
    /// The subject that is followed.
    pub subject: &'a str,
    /// The user who follows.
    pub user: &'a str,
    /// The world's time.
    pub now_ms: u64,
}

/// A target as one client follows it.
#[derive(Debug, Clone, Default)]
pub struct Follow {
    /// Everything up to here it has, or was told that it cannot have; `None` where nobody has named a place.
    pub place: Option<Place>,
    /// The last message that came, whole or not.
    last: Option<Place>,
    /// It was told of a gap, or is about to resume: what comes is not all.
    pub broken: bool,
}

/// A place as frames name it.
pub fn place_of(value: &Value) -> Option<Place> {
    Some(Place { epoch: value["epoch"].as_str()?.to_owned(), seq: value["seq"].as_u64()? })
}

impl Follow {
    /// A client that comes back and will ask for what followed.
    pub const fn behind(place: Option<Place>) -> Self {
        Self { place, last: None, broken: true }
    }

    /// The answer to a join or an `auth`, with what the client had asked to resume behind. Returns whether it was told
    /// that something is lost.
    ///
    /// # Errors
    /// The answer contradicts itself.
    pub fn begin(&mut self, truth: Truth<'_>, since: Option<Place>, answer: &Value) -> Result<bool, String> {
        let position = place_of(&answer["position"]);
        if let Some(position) = &position
            && truth.log.age(&position.epoch).is_none()
        {
            return Err("a position in an epoch that never was".to_owned());
        }
        self.broken = false;
        match (since, answer["recovered"].as_bool()) {
            (Some(since), Some(true)) => {
                if position.as_ref().is_some_and(|position| position.epoch != since.epoch || position.seq < since.seq) {
                    return Err("recovered to a place before the one asked for".to_owned());
                }
                self.last = Some(since.clone());
                self.place = Some(since);
                Ok(false)
            }
            (Some(_), told) => {
                self.place.clone_from(&position);
                self.last = position;
                Ok(told == Some(false))
            }
            (None, Some(_)) => Err("recovered what nobody asked for".to_owned()),
            (None, None) => {
                self.place.clone_from(&position);
                self.last = position;
                Ok(false)
            }
        }
    }

    /// A kept message.
    ///
    /// # Errors
    /// A promise is broken.
    pub fn take(&mut self, truth: Truth<'_>, number: Number, at: Place) -> Result<(), String> {
        let logged = truth.log.at(truth.subject, &at).ok_or("a kept message that was never stored there")?;
        if logged.number != number {
            return Err(format!("another message at that place than {:?}", logged.number));
        }
        if let Some(last) = &self.last {
            let (before, now) = (truth.log.age(&last.epoch), truth.log.age(&at.epoch));
            if now < before || (now == before && at.seq <= last.seq) {
                return Err(format!("a kept message twice or swapped, after {last:?}"));
            }
        }
        self.last = Some(at.clone());
        if self.broken {
            return Ok(());
        }
        if let Some(place) = &self.place
            && let Some(seq) = truth.log.missed(truth.subject, place, Some(&at), truth.user, truth.now_ms)
        {
            return Err(format!("kept message {seq} is missing, after {place:?}"));
        }
        self.place = Some(at);
        Ok(())
    }

    /// A kept message that the client should have by now, and has not.
    pub fn owed(&self, truth: Truth<'_>) -> Option<u64> {
        let place = self.place.as_ref().filter(|_| !self.broken)?;
        truth.log.missed(truth.subject, place, None, truth.user, truth.now_ms)
    }
}
