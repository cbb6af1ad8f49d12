//! A deploy of everything: all gateways, then all routers, then all NATS servers, one after the other, in order.

use std::time::Duration;

use holdfast_harness::wait::{pause, within};

use super::inflict::leave;
use crate::fleet::Fleet;
use crate::history::Harm;
use crate::workload::Recorder;

/// How long the fleet may take to be whole again after each step.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two steps.
const CALM: Duration = Duration::from_secs(2);

/// Restarts everything. Tells `say` what it does.
///
/// # Errors
/// The first step that failed.
pub async fn rolling(fleet: &Fleet, recorder: &Recorder, say: impl Fn(&str)) -> Result<(), String> {
    for slot in fleet.gateways.iter().chain(&fleet.routers) {
        let Some(running) = slot.running() else { continue };
        let from = recorder.now();
        say(&format!("{} is restarted", slot.name()));
        leave(slot, &running).await?;
        slot.clear(fleet);
        slot.start(fleet).await;
        fleet.whole(PATIENCE).await?;
        recorder.window(&format!("{} restarted", slot.name()), Harm::Orderly, from);
        pause(CALM).await;
    }
    let count = fleet.nats_addresses().len();
    for number in 0..count {
        let from = recorder.now();
        say(&format!("NATS server {number} is restarted"));
        {
            let mut nats = fleet.nats().await;
            let process = nats.server(number).process();
            // One of a cluster sends its clients away first; one alone has nowhere to send them.
            process.signal(if count > 1 { "USR2" } else { "TERM" });
            let gone = async || process.end().map(drop).ok_or_else(|| process.tail(5));
            within(PATIENCE, "the server ends", gone).await;
            nats.restart(number).await;
            nats.serves().await;
        }
        fleet.whole(PATIENCE).await?;
        recorder.window(&format!("NATS server {number} restarted"), Harm::Lossy, from);
        pause(CALM).await;
    }
    Ok(())
}
