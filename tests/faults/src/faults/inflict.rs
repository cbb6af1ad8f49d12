//! Does a fault and undoes it. The rest of the fleet heals by itself: waiting for that is the caller's business.

use std::sync::Arc;
use std::time::Duration;

use harness::proxy::Link;
use harness::wait::{pause, within};
use holdfast_harness as harness;

use super::{Fault, Kind};
use crate::fleet::{Fleet, Running, Slot};
use crate::measure::Measurer;
use crate::report::say;

/// How long a process may take to leave in order.
const LEAVE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a process stays away after it was killed.
const AWAY: Duration = Duration::from_millis(500);

/// Inflicts one fault, to its end.
///
/// # Errors
/// What the victim did that it should not: an exit code, a refusal to leave.
pub async fn inflict(fault: Fault, fleet: &Fleet, measurer: &Measurer) -> Result<(), String> {
    let length = Duration::from_millis(fault.for_ms);
    let gateway = || fleet.gateways.get(fault.victim % fleet.gateways.len()).and_then(with_process);
    let router = || {
        let running: Vec<_> = fleet.routers.iter().filter_map(with_process).collect();
        running.get(fault.victim % running.len().max(1)).cloned()
    };
    let nobody = || "there is no victim".to_owned();
    let ours = if fault.kind.name().ends_with("gateway") { gateway().or_else(router) } else { router() };
    let (slot, running) = ours.ok_or_else(nobody)?;
    match fault.kind {
        Kind::KillGateway => {
            running.kill();
            measurer.gateway_gone(running.node()).await;
            restart(slot, fleet).await;
        }
        Kind::KillRouter => {
            running.kill();
            measurer.partitions_owned("a router is killed").await;
            restart(slot, fleet).await;
        }
        Kind::FreezeGateway | Kind::FreezeRouter => {
            running.freeze().await;
            pause(length).await;
            running.thaw();
        }
        Kind::CutGateway | Kind::CutRouter => away(&running, Link::Cut, length).await,
        Kind::StallGateway | Kind::StallRouter => away(&running, Link::Stalled, length).await,
        Kind::DrainGateway => {
            leave(slot, &running).await?;
            restart(slot, fleet).await;
        }
        Kind::ChangeRouter => change_router(slot, &running, fleet).await?,
        Kind::KillNats | Kind::LameDuckNats | Kind::IsolateNats | Kind::FreezeNats => {
            harm_nats(fault.kind, fault.victim, length, fleet).await;
        }
        Kind::MoveLeader => {
            let service = fleet.service(fault.victim).await;
            let subject = "$JS.API.STREAM.LEADER.STEPDOWN.HF_KEPT";
            // With a server killed beside it there may be no leader who answers: then that was the move.
            if let Err(error) = service.bus().request(subject, "".into()).await {
                say(&format!("nobody answers who leads the stream: {error}"));
            }
        }
    }
    Ok(())
}

fn with_process(slot: &Slot) -> Option<(&Slot, Arc<Running>)> {
    Some((slot, slot.running()?))
}

async fn restart(slot: &Slot, fleet: &Fleet) {
    slot.clear(fleet);
    pause(AWAY).await;
    slot.start(fleet).await;
}

async fn away(running: &Running, link: Link, length: Duration) {
    running.link(link);
    pause(length).await;
    running.link(Link::Open);
}

/// SIGTERM, and its end with status 0.
pub(super) async fn leave(slot: &Slot, running: &Running) -> Result<(), String> {
    running.terminate();
    let what = format!("{} leaves", slot.name());
    let status = within(LEAVE_PATIENCE, &what, async || running.end().ok_or_else(|| running.tail(5))).await;
    if status.success() { Ok(()) } else { Err(format!("{} left with {status}", slot.name())) }
}

/// One comes first, so that there are never fewer than before.
async fn change_router(slot: &Slot, running: &Running, fleet: &Fleet) -> Result<(), String> {
    let free = fleet.routers.iter().find(|slot| slot.running().is_none());
    if let Some(free) = free {
        free.start(fleet).await;
        fleet.whole(Duration::from_secs(30)).await?;
    }
    leave(slot, running).await?;
    slot.clear(fleet);
    Ok(())
}

async fn harm_nats(kind: Kind, victim: usize, length: Duration, fleet: &Fleet) {
    let mut nats = fleet.nats().await;
    let number = victim % nats.len();
    match kind {
        Kind::KillNats => {
            nats.server(number).stop();
            pause(length.min(Duration::from_secs(3))).await;
            nats.restart(number).await;
        }
        Kind::LameDuckNats => {
            // The same as `nats-server --signal ldm=PID`.
            nats.server(number).process().signal("USR2");
            let process = nats.server(number).process();
            let gone = async || process.end().map(drop).ok_or_else(|| process.tail(5));
            within(LEAVE_PATIENCE, "the lame duck ends", gone).await;
            nats.restart(number).await;
        }
        Kind::IsolateNats => {
            nats.isolate(number, Link::Cut);
            pause(length).await;
            nats.isolate(number, Link::Open);
        }
        _ => {
            nats.server(number).process().freeze().await;
            pause(length).await;
            nats.server(number).process().thaw();
        }
    }
    nats.serves().await;
}
