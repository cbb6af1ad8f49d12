//! The bounds of the contract as they are observed: measured and reported, never asserted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use holdfast_harness::service::Answer;
use holdfast_harness::wait::pause;
use holdfast_harness::{Service, To};
use holdfast_protocol::token;
use tokio::time::{Instant, timeout};

use crate::check::Percentiles;

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);
/// When a measurement is given up.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long one probe waits.
const PROBE_TIMEOUT: Duration = Duration::from_millis(150);

/// Takes times; one for a run.
#[derive(Debug)]
pub struct Measurer {
    service: Service,
    /// A key of each partition, nobody's.
    keys: Vec<String>,
    taken: Mutex<BTreeMap<String, Vec<u64>>>,
}

impl Measurer {
    /// Over this connection.
    pub fn new(service: Service) -> Self {
        let key = |partition: usize| {
            let keys = (0..).map(|number| format!("probe-{number}"));
            keys.into_iter().find(|key| token::partition_of_key(key) == partition)
        };
        Self { service, keys: (0..64).filter_map(key).collect(), taken: Mutex::default() }
    }

    /// A gateway has just died: waits until routers name it no more.
    pub async fn gateway_gone(&self, node: &str) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Ok(nodes) = self.service.try_query("nodes", "").await
                && !nodes.to_string().contains(node)
            {
                return self.take("roster rid of a killed gateway", start.elapsed());
            }
            pause(LOOK_INTERVAL).await;
        }
        self.take("roster rid of a killed gateway", PATIENCE);
    }

    /// A router has just gone: waits until each partition answers.
    pub async fn partitions_owned(&self, after: &str) {
        let start = Instant::now();
        let probe = |key: String| async move {
            let sending = self.service.send(To::User(key.clone())).answer();
            let answer = timeout(PROBE_TIMEOUT, sending).await;
            if matches!(answer, Ok(Answer::Reply(_))) { None } else { Some(key) }
        };
        let mut silent = self.keys.clone();
        while !silent.is_empty() && start.elapsed() < PATIENCE {
            silent = join_all(silent.into_iter().map(probe)).await.into_iter().flatten().collect();
        }
        self.take(&format!("each partition answers after {after}"), start.elapsed());
    }

    /// Writes down a time.
    pub fn take(&self, what: &str, time: Duration) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.entry(what.to_owned()).or_default().push(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    /// What was measured.
    pub fn figures(&self) -> BTreeMap<String, Percentiles> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.iter().map(|(what, times)| (what.clone(), Percentiles::of(times.clone()))).collect()
    }
}
