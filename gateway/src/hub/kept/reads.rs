//! Reads of the stream that are under way for somebody: who goes on with an answer, and how a read ends. One loop for all
//! of them; what each does with its answers is its own.

use holdfast_protocol::subject::Subjects;

use super::READ_MS;
use super::history::Page;
use super::job::Job;
use super::stream::Step;
use crate::clock::Now;
use crate::hub::core::Hub;
use crate::hub::edge::{Edge, Publication, Received};
use crate::hub::upstream::Purpose;
use crate::session::Failure;

/// What is being read.
#[derive(Debug)]
pub(super) enum Task {
    /// What a target missed.
    CatchUp(Job),
    /// A page of a room's past.
    Page(Page),
}

impl Task {
    fn ask(&self, stream: &str) -> Publication {
        match self {
            Self::CatchUp(job) => job.ask(stream),
            Self::Page(page) => page.ask(stream),
        }
    }

    fn take(&mut self, subjects: &Subjects, message: &Received) -> Step {
        match self {
            Self::CatchUp(job) => job.take(subjects, message),
            Self::Page(page) => page.take(subjects, message),
        }
    }
}

impl Hub {
    /// Sends the task's next request, and keeps the task.
    pub(super) fn read_on(&mut self, now: Now, edge: &mut dyn Edge, number: u64, task: Task) {
        let stream = self.kept.stream.as_deref().unwrap_or_default();
        self.cells.kept_reads.add(1);
        match self.upstream.ask(edge, Purpose::Read(number), task.ask(stream), now.ms + READ_MS) {
            Ok(()) => drop(self.kept.tasks.insert(number, task)),
            Err(failure) => self.fail(now, edge, task, &failure),
        }
    }

    /// An answer; whether the same request has more to come.
    pub(in crate::hub) fn on_read(&mut self, now: Now, edge: &mut dyn Edge, number: u64, message: &Received) -> bool {
        let Some(mut task) = self.kept.tasks.remove(&number) else { return false };
        match task.take(&self.subjects, message) {
            Step::More => {
                self.kept.tasks.insert(number, task);
                return true;
            }
            Step::Again | Step::Behind => self.read_on(now, edge, number, task),
            step @ (Step::Done | Step::TooMuch) => match task {
                Task::CatchUp(job) => self.finish_job(now, edge, job, step == Step::Done),
                Task::Page(page) => Self::finish_page(edge, page, step == Step::Done),
            },
            Step::Another(info) => {
                // With the others, it is ended as one of a stream that is no more.
                self.kept.tasks.insert(number, task);
                self.learn_epoch(now, edge, &info);
            }
            Step::Failed => self.fail(now, edge, task, &Failure::Unavailable),
        }
        false
    }

    /// The request came to nothing.
    pub(in crate::hub) fn read_failed(&mut self, now: Now, edge: &mut dyn Edge, number: u64, failure: &Failure) {
        if let Some(task) = self.kept.tasks.remove(&number) {
            self.fail(now, edge, task, failure);
        }
    }

    pub(super) fn fail(&mut self, now: Now, edge: &mut dyn Edge, task: Task, failure: &Failure) {
        self.cells.kept_reads_failed.add(1);
        match task {
            Task::CatchUp(job) => self.fail_job(now, edge, job, failure),
            Task::Page(page) => Self::refuse_page(edge, page, failure.clone()),
        }
    }

    /// All reads come to nothing, and what is held is forgotten: it will be read again.
    pub(in crate::hub) fn fail_reads(&mut self, now: Now, edge: &mut dyn Edge, failure: &Failure) {
        self.kept.held.clear();
        self.kept.reached = 0;
        let tasks: Vec<_> = self.kept.tasks.drain().map(|(_, task)| task).collect();
        for mut task in tasks {
            if let Task::CatchUp(job) = &mut task {
                job.forget_holes();
            }
            self.fail(now, edge, task, failure);
        }
    }

    /// The stream is another one: what was read of the old one is worth nothing. Who waits for it begins anew, without
    /// what was missed.
    pub(super) fn restart_reads(&mut self, now: Now, edge: &mut dyn Edge) {
        let tasks: Vec<_> = self.kept.tasks.drain().map(|(_, task)| task).collect();
        for task in tasks {
            match task {
                Task::CatchUp(job) => self.restart_job(now, edge, job),
                Task::Page(page) => Self::refuse_page(edge, page, Failure::Unavailable),
            }
        }
    }
}
