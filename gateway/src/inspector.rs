//! Asks all shards for an operator, past the hub, and puts their answers together.
//!
//! Holds no shard alive: once the hub lets them end, nothing is found any more. Knows no HTTP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_protocol::id::ConnectionId;
use tokio::sync::mpsc;

use crate::link::{Inquiry, Inspect, Inspected, ShardProfile, ToShard, Whose};

/// A shard that takes longer has other worries.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions for one page: each shard looks at a bounded number of connections for one.
const ROUNDS_MAX: usize = 64;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// A shard did not answer in time.
    #[error("a shard does not answer")]
    Busy,
    /// The process ends.
    #[error("the process ends")]
    Ending,
}

/// Where a page begins: a shard, and a slot there. As text `shard.slot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    shard: u16,
    slot: u32,
}

impl Place {
    /// From its text.
    pub fn parse(text: &str) -> Option<Self> {
        let (shard, slot) = text.split_once('.')?;
        Some(Self { shard: shard.parse().ok()?, slot: slot.parse().ok()? })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.shard, self.slot)
    }
}

/// Connections, each as JSON, and where to go on.
#[derive(Debug, Default)]
pub struct Page {
    /// The connections.
    pub entries: Vec<Box<str>>,
    /// None where that was all. A page may be empty and not the last.
    pub next: Option<Place>,
}

/// Asks shards. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inspector {
    shards: Arc<[mpsc::WeakSender<Vec<ToShard>>]>,
    patience: Duration,
}

impl Inspector {
    /// Of these shards.
    pub fn new(shards: &[mpsc::Sender<Vec<ToShard>>]) -> Self {
        Self { shards: shards.iter().map(mpsc::Sender::downgrade).collect(), patience: PATIENCE }
    }

    /// A page of connections. Cancel safe, as all of these are.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn list(
        &self,
        of: Whose,
        address: Option<IpAddr>,
        after: Place,
        limit: usize,
    ) -> Result<Page, Unanswered> {
        let mut page = Page::default();
        let mut at = after;
        for _ in 0..ROUNDS_MAX {
            let Some(shard) = self.shards.get(usize::from(at.shard)) else { return Ok(page) };
            if page.entries.len() >= limit {
                break;
            }
            let left = limit - page.entries.len();
            let ask = Inspect::List { of: of.clone(), address, from: at.slot, limit: left };
            let Inspected::Page { entries, next } = self.ask_one(shard, ask).await? else {
                return Err(Unanswered::Busy);
            };
            page.entries.extend(entries);
            at = match next {
                Some(slot) => Place { slot, ..at },
                None => Place { shard: at.shard + 1, slot: 0 },
            };
        }
        page.next = (usize::from(at.shard) < self.shards.len()).then_some(at);
        Ok(page)
    }

    /// One connection as JSON.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn find(&self, connection: ConnectionId) -> Result<Option<Box<str>>, Unanswered> {
        let answers = self.ask_all(Inspect::Find(connection)).await?;
        Ok(answers.into_iter().find_map(|answer| match answer {
            Inspected::Found(found) => found,
            Inspected::Page { .. } | Inspected::Disconnected(_) | Inspected::Profile(_) => None,
        }))
    }

    /// Closes one connection; whether it was here.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn disconnect(&self, connection: ConnectionId, code: u16, reason: String) -> Result<bool, Unanswered> {
        let answers = self.ask_all(Inspect::Disconnect { connection, code, reason }).await?;
        Ok(answers.iter().any(|answer| matches!(answer, Inspected::Disconnected(true))))
    }

    /// How each shard is.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn profiles(&self) -> Result<Vec<ShardProfile>, Unanswered> {
        let answers = self.ask_all(Inspect::Profile).await?;
        let mut profiles: Vec<_> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                Inspected::Profile(profile) => Some(profile),
                Inspected::Page { .. } | Inspected::Found(_) | Inspected::Disconnected(_) => None,
            })
            .collect();
        profiles.sort_unstable_by_key(|profile| profile.shard);
        Ok(profiles)
    }

    /// Whether each shard still answers, or has been let end.
    pub async fn are_all_there(&self) -> bool {
        !matches!(self.profiles().await, Err(Unanswered::Busy))
    }

    async fn ask_all(&self, ask: Inspect) -> Result<Vec<Inspected>, Unanswered> {
        let ask = Arc::new(ask);
        let (answer, mut answers) = mpsc::channel(self.shards.len().max(1));
        for shard in self.shards.iter() {
            self.send(shard, Inquiry { ask: Arc::clone(&ask), answer: answer.clone() }).await?;
        }
        drop(answer);
        let mut all = Vec::new();
        while all.len() < self.shards.len() {
            all.push(self.patiently(answers.recv()).await?.ok_or(Unanswered::Ending)?);
        }
        Ok(all)
    }

    async fn ask_one(&self, shard: &mpsc::WeakSender<Vec<ToShard>>, ask: Inspect) -> Result<Inspected, Unanswered> {
        let (answer, mut answers) = mpsc::channel(1);
        self.send(shard, Inquiry { ask: Arc::new(ask), answer }).await?;
        self.patiently(answers.recv()).await?.ok_or(Unanswered::Ending)
    }

    async fn send(&self, shard: &mpsc::WeakSender<Vec<ToShard>>, inquiry: Inquiry) -> Result<(), Unanswered> {
        let shard = shard.upgrade().ok_or(Unanswered::Ending)?;
        self.patiently(shard.send(vec![ToShard::Inspect(inquiry)])).await?.map_err(|_| Unanswered::Ending)
    }

    async fn patiently<T>(&self, what: impl Future<Output = T>) -> Result<T, Unanswered> {
        tokio::time::timeout(self.patience, what).await.map_err(|_| Unanswered::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_daemon::shutdown::Tasks;

    /// Shards that hold so many connections each, two to a question.
    fn shards(tasks: &Tasks, held: &[u32]) -> Vec<mpsc::Sender<Vec<ToShard>>> {
        let start = |(number, held): (usize, u32)| {
            let (sender, mut receiver) = mpsc::channel::<Vec<ToShard>>(4);
            tasks.spawn("shard", async move {
                while let Some(batch) = receiver.recv().await {
                    for message in batch {
                        let ToShard::Inspect(Inquiry { ask, answer }) = message else { continue };
                        let Inspect::List { from, limit, .. } = &*ask else { continue };
                        let end = held.min(from + u32::try_from((*limit).min(2)).expect("few"));
                        let entries = (*from..end).map(|slot| format!("{number}.{slot}").into()).collect();
                        let next = (end < held).then_some(end);
                        answer.try_send(Inspected::Page { entries, next }).expect("a place for each answer");
                    }
                }
            });
            sender
        };
        held.iter().copied().enumerate().map(start).collect()
    }

    async fn list(inspector: &Inspector, after: Place, limit: usize) -> (Vec<String>, Option<String>) {
        let page = inspector.list(Whose::All, None, after, limit).await.expect("answered");
        (page.entries.iter().map(|entry| entry.to_string()).collect(), page.next.map(|next| next.to_string()))
    }

    #[tokio::test]
    async fn pages_go_through_all_shards_and_say_where_to_go_on() {
        let tasks = Tasks::new();
        let shards = shards(&tasks, &[3, 0, 2]);
        let inspector = Inspector::new(&shards);

        assert_eq!(
            list(&inspector, Place::default(), 10).await,
            (["0.0", "0.1", "0.2", "2.0", "2.1"].map(str::to_owned).into(), None)
        );
        let (first, next) = list(&inspector, Place::default(), 2).await;
        assert_eq!((first, next.as_deref()), (vec!["0.0".to_owned(), "0.1".to_owned()], Some("0.2")));
        let after = Place::parse("0.2").expect("a place");
        assert_eq!(list(&inspector, after, 10).await.0, ["0.2", "2.0", "2.1"]);
    }

    #[tokio::test]
    async fn shards_that_have_ended_are_told_apart_from_those_that_do_not_answer() {
        let (silent, _kept) = mpsc::channel(1);
        let mut silent = vec![silent];
        let inspector = Inspector { patience: Duration::from_millis(20), ..Inspector::new(&silent) };
        assert_eq!(inspector.profiles().await, Err(Unanswered::Busy));
        assert!(!inspector.are_all_there().await);

        silent.clear();
        assert_eq!(inspector.profiles().await, Err(Unanswered::Ending));
        assert!(inspector.are_all_there().await);
    }
}
