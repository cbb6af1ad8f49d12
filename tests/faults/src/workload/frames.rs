//! Frames of dialect json as a client of the workload reads them.

use std::borrow::Cow;

use serde::Deserialize;

use crate::history::{Name, Position};
use crate::workload::Recorder;

/// Any frame; only what a good client needs of it.
#[derive(Debug, Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    pub(super) id: Option<serde_json::Value>,
    #[serde(borrow)]
    pub(super) room: Option<Cow<'a, str>>,
    pub(super) data: Option<Data>,
    pub(super) seq: Option<u64>,
    #[serde(borrow)]
    pub(super) epoch: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) ack: bool,
    #[serde(default)]
    pub(super) all: bool,
    #[serde(borrow)]
    pub(super) position: Option<Place<'a>>,
    pub(super) recovered: Option<bool>,
    #[serde(borrow)]
    pub(super) code: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) retry: bool,
    pub(super) retry_after: Option<u64>,
    #[serde(borrow)]
    pub(super) connection: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) node: Option<Cow<'a, str>>,
}

/// A position on the wire.
#[derive(Debug, Deserialize)]
pub(super) struct Place<'a> {
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    seq: u64,
}

/// The payload of the workload's messages.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Data {
    #[serde(rename = "s")]
    source: u16,
    #[serde(rename = "n")]
    number: u32,
}

impl Place<'_> {
    pub(super) fn interned(&self, recorder: &Recorder) -> Position {
        Position { epoch: recorder.epoch(&self.epoch), seq: self.seq }
    }
}

impl Frame<'_> {
    pub(super) fn name(&self) -> Option<Name> {
        self.data.map(|data| Name { source: data.source, number: data.number })
    }

    /// Where a kept message is kept.
    pub(super) fn kept(&self, recorder: &Recorder) -> Option<Position> {
        Some(Position { epoch: recorder.epoch(self.epoch.as_deref()?), seq: self.seq? })
    }

    pub(super) fn position(&self, recorder: &Recorder) -> Option<Position> {
        self.position.as_ref().map(|place| place.interned(recorder))
    }

    /// The number under which something was asked.
    pub(super) fn asked(&self) -> Option<u64> {
        self.id.as_ref()?.as_u64()
    }
}

/// The payload of a message with this name.
pub(super) fn payload(name: Name) -> String {
    format!("{{\"s\":{},\"n\":{}}}", name.source, name.number)
}
