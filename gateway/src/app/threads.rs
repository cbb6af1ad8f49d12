//! The shards' threads: started with what each needs, and waited for.

use std::io;
use std::sync::Arc;
use std::thread;

use holdfast_daemon::logging::chain;
use holdfast_protocol::id::NodeId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::admission::Door;
use crate::auth::Verifier;
use crate::clock::Clock;
use crate::fallback::Desk;
use crate::handshake::Gatekeeper;
use crate::hub::shell;
use crate::link::{ToHub, ToShard};
use crate::metrics::ShardCells;
use crate::net::{self, Listening};
use crate::shard::runtime::{self, ShardParts};
use crate::shard::{Age, ShardSettings};

/// What all shards have in common.
pub(super) struct Common {
    pub(super) node: NodeId,
    pub(super) shards: u16,
    pub(super) age: Option<Age>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) gatekeeper: Arc<Gatekeeper>,
    pub(super) desk: Arc<Desk>,
    pub(super) door: Arc<Door>,
    pub(super) cells: Vec<Arc<ShardCells>>,
    pub(super) clock: Clock,
    pub(super) net: net::Settings,
    pub(super) connections_max: u64,
    pub(super) accepting: CancellationToken,
}

/// Shard threads under way.
pub(super) struct Started {
    threads: Vec<(u16, thread::JoinHandle<io::Result<()>>)>,
    to_shards: Vec<mpsc::Sender<Vec<ToShard>>>,
}

impl Started {
    /// One thread for each of these sets of sockets, and what all of them send to.
    pub(super) fn all(
        common: &Common,
        listening: Vec<Vec<Listening>>,
    ) -> Result<(Self, mpsc::Receiver<Vec<ToHub>>), AppError> {
        let (to_hub, from_shards) = mpsc::channel(shell::TO_HUB_QUEUE);
        let mut started = Self { threads: Vec::new(), to_shards: Vec::new() };
        for (number, listening) in (0_u16..).zip(listening) {
            let (to_shard, from_hub) = mpsc::channel(shell::TO_SHARD_QUEUE);
            let Common { node, shards, age, .. } = *common;
            started.start(ShardParts {
                settings: ShardSettings { node, number, shards, age },
                verifier: Arc::clone(&common.verifier),
                gatekeeper: Arc::clone(&common.gatekeeper),
                desk: Arc::clone(&common.desk),
                door: Arc::clone(&common.door),
                cells: common.cells.clone(),
                clock: common.clock,
                listening,
                net: common.net.clone(),
                connections_max: common.connections_max,
                accepting: common.accepting.clone(),
                to_hub: to_hub.clone(),
                from_hub,
            })?;
            started.to_shards.push(to_shard);
        }
        Ok((started, from_shards))
    }

    fn start(&mut self, parts: ShardParts) -> Result<(), AppError> {
        let number = parts.settings.number;
        let thread = thread::Builder::new()
            .name(format!("shard-{number}"))
            .spawn(move || runtime::run(parts))
            .map_err(|source| AppError::System { what: "start a shard's thread", source })?;
        self.threads.push((number, thread));
        Ok(())
    }

    /// What shards receive on.
    pub(super) fn channels(&self) -> &[mpsc::Sender<Vec<ToShard>>] {
        &self.to_shards
    }

    /// The same, for the hub: shards end when it drops them.
    pub(super) fn take_channels(&mut self) -> Vec<mpsc::Sender<Vec<ToShard>>> {
        std::mem::take(&mut self.to_shards)
    }

    /// Waits for the threads; their channels are closed by now, and each has its own bound on ending.
    pub(super) fn join(self) {
        for (shard, thread) in self.threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(shard, error = %chain(&error), "A shard failed"),
                Err(_) => tracing::error!(shard, "A shard panicked"),
            }
        }
    }
}
