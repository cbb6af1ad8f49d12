//! What `/readyz` says of the node.

use holdfast_daemon::admin::{Condition, Readiness};
use holdfast_daemon::bus::BusStatus;

use super::life::Serving;

/// What `/readyz` names.
#[derive(Debug)]
pub struct Conditions {
    /// The bus.
    pub bus: Condition,
    /// A live router.
    pub router: Condition,
    /// Not draining.
    pub serving: Condition,
    /// Not short of memory.
    pub memory: Condition,
}

impl Conditions {
    /// All of them, unmet.
    pub fn of(readiness: &Readiness) -> Self {
        Self {
            bus: readiness.condition("nats", "not connected yet"),
            router: readiness.condition("router", "not heard yet"),
            serving: readiness.condition("serving", "starting"),
            memory: readiness.condition("memory", "not looked at yet"),
        }
    }

    /// `bus` is asked only where there is none.
    pub(super) fn show(&self, serving: Serving, draining: bool, pressed: bool, bus: impl FnOnce() -> BusStatus) {
        if pressed {
            self.memory.unmet("short of memory, nobody new is let in");
        } else {
            self.memory.met();
        }
        match serving {
            Serving::NoBus => {
                self.bus.unmet(bus().unmet().unwrap_or_else(|| "not connected".to_owned()));
                self.router.unmet("no router");
            }
            Serving::NoRouter | Serving::Soon => {
                self.bus.met();
                self.router.unmet("no router");
            }
            Serving::Yes | Serving::Closed => {
                self.bus.met();
                self.router.met();
            }
        }
        if draining {
            self.serving.unmet("draining");
        } else {
            self.serving.met();
        }
    }
}
