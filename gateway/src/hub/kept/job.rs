//! One catching-up of a target: the state of the stream, a read of what was missed, and all who wait for it.
//!
//! While it runs, live copies go on to members as always and are noted here too. At its end each waiter gets, in one
//! message to its shard, what lies between its own position and the target's place: nothing twice, nothing left out,
//! whatever came meanwhile.

use std::sync::Arc;

use holdfast_protocol::kept;
use holdfast_protocol::position::{Position, Recovery, Start};
use holdfast_protocol::subject::Subjects;
use holdfast_protocol::wire::{Target as WireTarget, Text};

use super::reads::Task;
use super::resumer::Resumer;
use super::stream::{self, Info, Read, Step};
use super::{JOBS_MAX, Place, READ_MESSAGES_MAX, Target, seq_of};
use crate::clock::Now;
use crate::hub::core::Hub;
use crate::hub::edge::{Edge, Publication, Received};
use crate::hub::roster::Kind;
use crate::link::{Granted, Replay, SharedDelivery, ToShard};
use crate::session::{Failure, Outcome};

/// How often a batch is asked for again where the replica that answered had less than the leader. Each time another one
/// may answer.
pub(super) const STALE_MAX: u8 = 24;

/// What was asked last. The state of the stream comes before the read, to know where to begin, and again behind it: what
/// went meanwhile is not in the read.
#[derive(Debug)]
enum Phase {
    Info,
    /// The leader's last message of the subject.
    Last,
    Oldest,
    Read,
    InfoAgain,
    OldestAgain,
}

/// A catching-up under way.
#[derive(Debug)]
pub(super) struct Job {
    target: Target,
    subject: String,
    /// The stream's incarnation. A job does not outlive it.
    epoch: Text,
    phase: Phase,
    read: Read,
    info: Option<Info>,
    oldest: Option<u64>,
    /// What routers had processed when the job began: a leader that knows less of it is none any more.
    mark: u64,
    /// The subject's last message when the job began: a read that does not have it was answered by a replica that lags.
    last: u64,
    /// Answers that were behind.
    stale: u8,
    /// Where the read begins: after this. Set when it begins.
    from: u64,
    /// Live copies since the job began.
    live: Vec<Arc<SharedDelivery>>,
    /// More live copies came than are noted: nobody can be served.
    overrun: bool,
    /// The target was left and came anew meanwhile: copies went past this node that are neither read nor noted.
    is_broken: bool,
    resumers: Vec<Resumer>,
    /// Those who came when the read had begun behind their position.
    late: Vec<Resumer>,
}

impl Hub {
    /// Lets somebody wait until the target has caught up. The target's place is known.
    pub(in crate::hub) fn catch_up(&mut self, now: Now, edge: &mut dyn Edge, target: Target, resumer: Resumer) {
        // What the newcomer has seen and the members here may not have must go to the members before it is one of them:
        // afterwards it would get that again.
        let since = resumer.since();
        let mut least = since;
        let mut resumers = Vec::new();
        if let Some(Place::At(place)) = self.roster.place(target.0, &target.1)
            && *place < least
        {
            least = *place;
            resumers.push(Resumer::Suspicion { since: least });
        }
        resumers.push(resumer);
        if let Some(job) = self.kept.job_of(&target) {
            let is_before = !matches!(job.phase, Phase::Info | Phase::Last | Phase::Oldest) && least < job.from;
            // The stream was looked at before this position came to be: the look cannot tell that all is there.
            let is_news = since != u64::MAX && job.info.as_ref().is_some_and(|info| since > info.last);
            let list = if is_before || is_news { &mut job.late } else { &mut job.resumers };
            list.append(&mut resumers);
            return;
        }
        self.start_job(now, edge, target, resumers);
    }

    /// The same, from where its position is in the present epoch. One in another epoch is behind everything: the answer is
    /// what is first now.
    pub(in crate::hub) fn catch_up_anew(&mut self, now: Now, edge: &mut dyn Edge, target: &Target, resumer: Resumer) {
        let resumer = resumer.in_epoch(self.kept.epoch.as_ref());
        self.catch_up(now, edge, target.clone(), resumer);
    }

    fn start_job(&mut self, now: Now, edge: &mut dyn Edge, target: Target, resumers: Vec<Resumer>) {
        let (kind, name) = &target;
        let wire = match kind {
            Kind::User => WireTarget::User((&**name).into()),
            Kind::Room => WireTarget::Room((&**name).into()),
        };
        let subject = kept::subject_of(&self.subjects, &wire).unwrap_or_default();
        let job = Job {
            target: target.clone(),
            epoch: self.kept.epoch.clone().unwrap_or_default(),
            phase: Phase::Info,
            read: Read::new(subject.clone(), 1),
            subject,
            info: None,
            oldest: None,
            mark: self.highest_mark(now),
            last: 0,
            stale: 0,
            from: 0,
            live: Vec::new(),
            overrun: false,
            is_broken: false,
            resumers,
            late: Vec::new(),
        };
        if self.kept.tasks.len() >= JOBS_MAX {
            self.fail(now, edge, Task::CatchUp(job), &Failure::Unavailable);
            return;
        }
        let number = self.kept.next_number();
        self.kept.by_target.insert(target, number);
        self.read_on(now, edge, number, Task::CatchUp(job));
    }

    pub(super) fn finish_job(&mut self, now: Now, edge: &mut dyn Edge, mut job: Job, whole: bool) {
        self.kept.by_target.remove(&job.target);
        let (kind, name) = job.target.clone();
        let read = std::mem::take(&mut job.read.messages);
        let mut messages: Vec<_> = read.into_iter().map(|delivery| Arc::new(SharedDelivery::kept(delivery))).collect();
        let (info, oldest) = (job.info.clone(), job.oldest);
        let whole = whole && !job.overrun;
        let covers = |since: u64| whole && info.as_ref().is_some_and(|info| info.covers(since, oldest));
        // What is held behind a hole goes to the members with it, and to those who wait from here.
        let held = self.kept.held.get(&job.target).cloned().unwrap_or_default();
        // The hole first: it moves the target's place.
        let mut resumers = Vec::new();
        if job.is_broken {
            // They are of the new members, or wait for what only a new read can tell.
            job.late.splice(0..0, job.resumers.extract_if(.., |resumer| !resumer.is_of_target()));
        }
        for resumer in job.resumers {
            match resumer {
                Resumer::Hole { since } => self.fill_hole(now, edge, &job.target, &messages, covers(since)),
                Resumer::Suspicion { since } if covers(since) => {
                    for shared in &messages {
                        self.advance(now, edge, &job.target, shared);
                    }
                }
                // Whether there was one, nobody can tell any more; the next copy may.
                Resumer::Suspicion { .. } => {}
                resumer => resumers.push(resumer),
            }
        }
        messages.append(&mut job.live);
        messages.extend(held);
        messages.sort_by_key(|shared| seq_of(&shared.delivery));
        messages.dedup_by_key(|shared| seq_of(&shared.delivery));
        let place = match self.roster.place(kind, &name) {
            Some(Place::At(place)) => *place,
            Some(Place::Unknown(_) | Place::Open) | None => 0,
        };
        messages.truncate(messages.partition_point(|shared| seq_of(&shared.delivery) <= place));
        let messages: Arc<[_]> = messages.into();
        for resumer in resumers {
            let since = resumer.since();
            let granted = if covers(since) {
                self.cells.kept_resumed.add(1);
                let skip = messages.partition_point(|shared| seq_of(&shared.delivery) <= since);
                let start = Start { position: self.position(place.max(since)), recovery: Some(Recovery::Whole) };
                let replay = Replay { messages: Arc::clone(&messages), skip };
                Granted { start, replay, is_ahead: since > place }
            } else {
                self.cells.kept_unrecovered.add(1);
                let first = info.as_ref().and_then(|info| self.position(info.first));
                let recovery = Some(Recovery::Lost { first });
                Granted { start: Start { position: self.position(place), recovery }, ..Granted::default() }
            };
            Self::grant(edge, resumer, Ok(granted));
        }
        if !job.late.is_empty() {
            self.start_job(now, edge, job.target, job.late);
        }
    }

    pub(super) fn fail_job(&mut self, now: Now, edge: &mut dyn Edge, job: Job, failure: &Failure) {
        self.kept.by_target.remove(&job.target);
        for resumer in job.resumers.into_iter().chain(job.late) {
            match resumer {
                Resumer::Hole { .. } => self.fill_hole(now, edge, &job.target, &[], false),
                Resumer::Suspicion { .. } => {}
                Resumer::Join { conn, on_behalf, room, .. } => {
                    self.refuse_join(now, edge, conn, on_behalf, room, failure.clone());
                }
                Resumer::Bind { conn, id, user, .. } => self.refuse_bind(now, edge, conn, id, user, failure.clone()),
                replay @ Resumer::Replay { .. } => Self::grant(edge, replay, Err(failure.clone())),
            }
        }
    }

    /// The stream is another one: whoever waits is served from it, with what they missed only where their place is in it.
    pub(super) fn restart_job(&mut self, now: Now, edge: &mut dyn Edge, mut job: Job) {
        self.kept.by_target.remove(&job.target);
        job.forget_holes();
        for resumer in job.resumers.into_iter().chain(job.late) {
            self.catch_up_anew(now, edge, &job.target, resumer);
        }
    }

    fn grant(edge: &mut dyn Edge, resumer: Resumer, result: Outcome<Granted>) {
        let (conn, message) = match resumer {
            Resumer::Join { conn, on_behalf, room, .. } => (conn, ToShard::Joined { conn, on_behalf, room, result }),
            Resumer::Bind { conn, id, user, .. } => (conn, ToShard::Bound { conn, id, user, result }),
            Resumer::Replay { conn, room, asked, .. } => (conn, ToShard::Replayed { conn, room, since: asked, result }),
            Resumer::Hole { .. } | Resumer::Suspicion { .. } => return,
        };
        edge.to_shard(conn.shard, message);
    }

    /// The furthest that any live router has processed the stream.
    pub(super) fn highest_mark(&self, now: Now) -> u64 {
        self.kept.epoch.as_ref().map_or(0, |epoch| self.routers.marks(now.ms, epoch).max().unwrap_or(0))
    }

    /// A place in the present epoch.
    pub(in crate::hub) fn position(&self, seq: u64) -> Option<Position> {
        Position::new(self.kept.epoch.as_ref()?, seq)
    }
}

impl Job {
    /// The request of the present phase.
    pub(super) fn ask(&self, stream: &str) -> Publication {
        match &self.phase {
            Phase::Info | Phase::InfoAgain => stream::ask_info(stream, Some(&self.subject)),
            Phase::Last => stream::ask_last(stream, &self.subject),
            Phase::Oldest | Phase::OldestAgain => stream::ask_oldest(stream, &self.subject),
            Phase::Read => self.read.ask(stream),
        }
    }

    /// An answer.
    pub(super) fn take(&mut self, subjects: &Subjects, message: &Received) -> Step {
        self.advance(subjects, message).unwrap_or_else(|step| step)
    }

    /// The step that follows; what ends the job early as an error.
    fn advance(&mut self, subjects: &Subjects, message: &Received) -> Result<Step, Step> {
        match self.phase {
            Phase::Info => {
                let info = stream::look(message, &self.epoch)?;
                if info.last < self.mark {
                    return Ok(self.answered_behind());
                }
                self.info = Some(info);
                self.phase = Phase::Last;
            }
            Phase::Last => {
                self.last = stream::parse_place(&message.payload).ok_or(Step::Failed)?;
                if self.needs_oldest() {
                    self.phase = Phase::Oldest;
                } else {
                    self.begin_read();
                }
            }
            Phase::Oldest => {
                self.note_oldest(message)?;
                self.begin_read();
            }
            Phase::Read => match self.read.take(subjects, &self.epoch, message) {
                Step::Done if self.read.reached() < self.last => return Ok(self.answered_behind()),
                Step::Done => self.phase = Phase::InfoAgain,
                step => return Ok(step),
            },
            Phase::InfoAgain => {
                let info = stream::look(message, &self.epoch)?;
                if self.info.as_ref().is_some_and(|before| info.last < before.last) {
                    return Ok(self.answered_behind());
                }
                self.info = Some(info);
                if !self.needs_oldest() {
                    return Ok(Step::Done);
                }
                self.phase = Phase::OldestAgain;
            }
            Phase::OldestAgain => {
                self.note_oldest(message)?;
                return Ok(Step::Done);
            }
        }
        Ok(Step::Again)
    }

    fn needs_oldest(&self) -> bool {
        self.info.as_ref().is_some_and(Info::needs_oldest)
    }

    fn note_oldest(&mut self, message: &Received) -> Result<(), Step> {
        let oldest = stream::parse_place(&message.payload).ok_or(Step::Failed)?;
        self.oldest = Some(oldest).filter(|oldest| *oldest > 0);
        Ok(())
    }

    /// Whoever answered knows less than is known already: ask again, within reason.
    const fn answered_behind(&mut self) -> Step {
        self.stale += 1;
        if self.stale < STALE_MAX { Step::Again } else { Step::Failed }
    }

    /// Begins the read behind the least of the positions that wait and can still be served.
    fn begin_read(&mut self) {
        let info = self.info.as_ref();
        let served = self.resumers.iter().map(Resumer::since);
        let served = served.filter(|since| info.is_some_and(|info| info.covers(*since, self.oldest)));
        self.from = served.min().unwrap_or_else(|| info.map_or(0, |info| info.last));
        self.read = Read::new(self.subject.clone(), self.from + 1);
        self.phase = Phase::Read;
    }

    /// Nobody waits for holes any more.
    pub(super) fn forget_holes(&mut self) {
        self.resumers.retain(|resumer| !resumer.is_of_target());
        self.late.retain(|resumer| !resumer.is_of_target());
    }
}

impl super::Kept {
    fn job_of(&mut self, target: &Target) -> Option<&mut Job> {
        match self.tasks.get_mut(self.by_target.get(target)?)? {
            Task::CatchUp(job) => Some(job),
            Task::Page(_) => None,
        }
    }

    /// The target's place is set anew, past what came meanwhile.
    pub(super) fn note_break(&mut self, target: &Target) {
        if let Some(job) = self.job_of(target) {
            job.is_broken = true;
        }
    }

    /// Notes a live copy for whoever waits for the target.
    pub(super) fn note(&mut self, target: &Target, shared: &Arc<SharedDelivery>) {
        if let Some(job) = self.job_of(target) {
            if job.live.len() < READ_MESSAGES_MAX {
                job.live.push(Arc::clone(shared));
            } else {
                job.overrun = true;
            }
        }
    }
}
