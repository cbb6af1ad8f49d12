//! What a load balancer would do: looks which gateways are ready, and names one of those.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use holdfast_harness::wait::pause;

use super::{Fleet, is_ready};
use crate::random::Random;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(200);

/// The gateways that were ready when last looked at.
#[derive(Debug, Default)]
pub struct Balancer {
    ready: Mutex<Vec<SocketAddr>>,
}

impl Balancer {
    /// A gateway, if there is one.
    pub fn pick(&self, random: &mut Random) -> Option<SocketAddr> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_empty() { None } else { Some(ready[random.below(ready.len())]) }
    }

    /// Looks once.
    pub async fn look(&self, fleet: &Fleet) {
        let looks = fleet
            .gateways
            .iter()
            .filter_map(super::Slot::running)
            .map(|running| async move { is_ready(running.admin()).await.ok().map(|()| running.listen()) });
        let ready = join_all(looks).await.into_iter().flatten().collect();
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = ready;
    }

    /// Looks again and again.
    pub async fn run(self: Arc<Self>, fleet: Arc<Fleet>) {
        loop {
            self.look(&fleet).await;
            pause(INTERVAL).await;
        }
    }
}
