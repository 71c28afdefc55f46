//! The restore thread: brings tasks up to their changelogs, several at a time, as long as it takes.
//!
//! Changelogs with little to read have their turn at once, then those with least: a restarted instance processes within
//! moments where its disk was kept, while a lost store is still read. The number of large ones at a time is bounded, because
//! each collects what it writes (rule R-25).

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use crate::clock::Instant;
use crate::error::{Dependency, FatalError};
use crate::kafka::Found;
use crate::position::TopicPartition;
use crate::store::StateDirectory;
use crate::telemetry::RestoreProgress;
use crate::topology::Topology;

use super::super::options::Options;
use super::fetchers::Fetchers;
use super::job::{Job, Means, Phase, Trouble};
use super::meter::PERIOD;
use super::parts::Parts;
use super::takeover::Takeover;
use super::{Command, Order, Outcome, Report, Role};

/// How long one look for records lasts; also how long a stop takes to be seen.
const LOOK: Duration = Duration::from_millis(10);

pub(super) struct Worker {
    pub(super) means: Means,
    pub(super) fetchers: Fetchers,
    commands: Receiver<Command>,
    reports: Sender<Report>,
    pub(super) jobs: Vec<Job>,
    takeover: Takeover,
    told_at: Instant,
    /// The cluster was told to be away.
    pub(super) away: bool,
}

impl Worker {
    pub(super) fn new(
        topology: Topology,
        options: Options,
        directory: Arc<StateDirectory>,
        fetchers: Fetchers,
        collected_bytes: usize,
        (commands, reports): (Receiver<Command>, Sender<Report>),
    ) -> Self {
        // While copies are read for the first time, what is to be processed may come and be read beside them.
        let parts = Parts::of(collected_bytes, options.standbys > 0);
        let means = Means { topology, options, directory, parts };
        let takeover = Takeover::default();
        Worker { means, fetchers, commands, reports, jobs: Vec::new(), takeover, told_at: Instant::now(), away: false }
    }

    /// Until the stream thread has gone.
    pub(super) fn run(mut self) {
        while self.wait_for_orders() {
            self.go_on(LOOK);
        }
        self.close();
    }

    /// The same once, without any wait.
    pub(super) fn step(&mut self) {
        if self.take_orders() && !self.jobs.is_empty() {
            self.go_on(Duration::ZERO);
        }
    }

    fn go_on(&mut self, wait: Duration) {
        self.take_stops();
        self.open();
        self.take_turns();
        self.look(wait);
        self.look_at_followed(wait);
        self.takeover.look(&self.jobs, &self.means, Instant::now());
        self.finish();
        self.tell();
    }

    /// Closes all states; they keep what was read.
    pub(super) fn close(&mut self) {
        self.jobs.iter_mut().for_each(|job| job.close(&mut self.fetchers));
    }

    /// False when there will be no more. Waits while there is nothing else to do.
    fn wait_for_orders(&mut self) -> bool {
        if self.jobs.is_empty() {
            match self.commands.recv() {
                Ok(Command::Restore(order)) => self.take(order),
                Ok(Command::End) | Err(_) => return false,
            }
        }
        self.take_orders()
    }

    /// False when there will be no more.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Restore(order)) => self.take(order),
                Err(TryRecvError::Empty) => return true,
                Ok(Command::End) | Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn take(&mut self, order: Order) {
        let now = Instant::now();
        let Some(number) = self.jobs.iter().position(|job| job.id == order.id) else {
            return self.jobs.push(Job::new(order, now));
        };
        let job = &mut self.jobs[number];
        match (job.role, order.role) {
            (_, Role::Active) => {
                // What it has read until now: from here on it is counted anew.
                tell(&self.means, job, now);
                let result = job.promote(order, &mut self.fetchers, now);
                self.settle(number, result);
            }
            // It was not wanted any more, and now it is.
            (Role::Standby, Role::Standby) => job.ordered(order, now),
            // It is on its way to be processed here.
            (Role::Active, Role::Standby) => {}
        }
    }

    fn take_stops(&mut self) {
        let now = Instant::now();
        for mut job in self.jobs.extract_if(.., |job| job.is_stopped()) {
            tell(&self.means, &mut job, now);
            job.close(&mut self.fetchers);
            match job.role {
                // The stream thread has gone if it does not take it.
                Role::Active => _ = self.reports.send(Report { id: job.id, outcome: Outcome::Stopped }),
                Role::Standby => self.means.standby_ended(job.id),
            }
        }
    }

    fn open(&mut self) {
        let now = Instant::now();
        let Worker { jobs, means, fetchers, .. } = self;
        let opened = jobs.iter_mut().enumerate().map(|(number, job)| (number, job.open(means, fetchers, now)));
        let failed: Vec<_> = opened.filter_map(|(number, result)| Some((number, result.err()?))).collect();
        // From the end, so that the numbers hold.
        failed.into_iter().rev().for_each(|(number, error)| self.fail(number, error));
    }

    /// Begins to read what may have its turn now, the smallest first.
    fn take_turns(&mut self) {
        loop {
            let all = || {
                self.jobs
                    .iter()
                    .enumerate()
                    .flat_map(|(job, own)| own.reads.iter().enumerate().map(move |(n, read)| ((job, n), read)))
            };
            // What is to be processed goes first; standbys have their turn when all of it is there.
            let role = |job: usize| self.jobs[job].role;
            let least_role = self.jobs.iter().map(|job| job.role).min().unwrap_or(Role::Active);
            let reading = |is_small| {
                let own = all().filter(|((job, _), read)| read.phase == Phase::Reading && role(*job) == least_role);
                own.filter(|(_, read)| read.is_small == is_small).count()
            };
            let room = |remaining| {
                let is_small = Parts::is_small(remaining);
                reading(is_small) < self.means.parts.at_once(is_small)
            };
            let waiting = all().filter(|((job, _), read)| read.phase == Phase::Waiting && role(*job) == least_role);
            let least = waiting.map(|(at, read)| (read.meter.remaining(), at)).min();
            let Some((_, (job, number))) = least.filter(|(remaining, _)| room(*remaining)) else { return };
            let result = self.jobs[job].read(number, &self.means, &mut self.fetchers);
            self.settle(job, result);
        }
    }

    /// One look at what has come.
    fn look(&mut self, wait: Duration) {
        let Worker { jobs, means, fetchers, .. } = self;
        let now = Instant::now();
        let all_follow = jobs.iter().all(|job| job.reads.iter().all(|read| read.phase == Phase::Following));
        let of =
            |jobs: &[Job], at: &TopicPartition| jobs.iter().position(|job| job.reads.iter().any(|read| read.at == *at));
        let telemetry = &means.options.telemetry;
        let (number, result) = match fetchers.restored.poll(if all_follow { Duration::ZERO } else { wait }) {
            Found::Idle => return,
            Found::Records(mut records) => {
                let Some(number) = of(jobs, records.at()) else { return };
                (number, jobs[number].apply(&mut records))
            }
            Found::Bounds { at, bounds } => {
                let Some(number) = of(jobs, &at) else { return };
                (number, jobs[number].bounded(&at, bounds, now))
            }
            Found::End { at, next, high } => {
                let Some(number) = of(jobs, &at) else { return };
                let ended = jobs[number].ended(&at, next, high, fetchers);
                (number, ended.map(|waits| waits.iter().for_each(|why| telemetry.restore_waits(jobs[number].id, why))))
            }
            Found::Unfit { at } => {
                let Some(number) = of(jobs, &at) else { return };
                (number, Err(Trouble::Unfit))
            }
            Found::Missing(reason) => return telemetry.topic_missing(&reason),
            Found::Away(reason) => {
                self.away = true;
                return telemetry.dependency_away(&Dependency::Kafka, &reason);
            }
            // Of which task, it does not say; it is the end of all that is to be processed.
            Found::Fatal(error) => {
                let active = jobs.iter().position(|job| job.role == Role::Active);
                (active.unwrap_or(0), Err(Trouble::Fatal(error)))
            }
        };
        if std::mem::take(&mut self.away) {
            self.means.options.telemetry.dependency_back(&Dependency::Kafka);
        }
        self.settle(number, result);
    }

    pub(super) fn settle(&mut self, number: usize, result: Result<(), Trouble>) {
        let Err(trouble) = result else { return };
        let Some(job) = self.jobs.get_mut(number) else { return };
        tell(&self.means, job, Instant::now());
        if let Err(error) = job.again(trouble, &self.means, &mut self.fetchers, Instant::now()) {
            self.fail(number, error);
        }
    }

    fn fail(&mut self, number: usize, error: FatalError) {
        let mut job = self.jobs.remove(number);
        job.close(&mut self.fetchers);
        if job.role == Role::Standby {
            // What is wrong with it is said again, and ends the application, when the task is to be processed here.
            tracing::warn!(target: "headrace::runtime", task = %job.id, %error, "no standby");
            return self.means.standby_ended(job.id);
        }
        _ = self.reports.send(Report { id: job.id, outcome: Outcome::Failed(error) });
    }

    /// Hands back what is restored.
    fn finish(&mut self) {
        let now = Instant::now();
        let restored: Vec<Job> = self.jobs.extract_if(.., |job| job.is_restored()).collect();
        for mut job in restored {
            tell(&self.means, &mut job, now);
            let id = job.id;
            let Some(restored) = job.into_restored(now) else { continue };
            if let Err(unsent) = self.reports.send(Report { id, outcome: Outcome::Restored(Box::new(restored)) }) {
                // The stream thread has gone: the state is dropped, which is safe.
                drop(unsent);
            }
        }
    }

    /// Tells the progress, once in a while (rule R-23).
    fn tell(&mut self) {
        let now = Instant::now();
        if now < self.told_at + PERIOD {
            return;
        }
        self.told_at = now;
        let Worker { jobs, means, .. } = self;
        jobs.iter_mut().for_each(|job| tell(means, job, now));
        means.options.telemetry.show_restores();
    }
}

fn tell(means: &Means, job: &mut Job, now: Instant) {
    let telemetry = &means.options.telemetry;
    let mut of_task = RestoreProgress::default();
    for read in job.reads.iter_mut().filter(|read| read.phase != Phase::Asked) {
        let store = means.topology.stores()[read.store.0].spec.name.as_str();
        let progress = read.meter.look(now);
        if job.role == Role::Standby {
            let behind = read.behind_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            telemetry.standby_progress(job.id, store, read.meter.untold(), behind);
            continue;
        }
        telemetry.restore_progress(job.id, store, read.meter.untold(), progress);
        of_task = of_task + progress;
    }
    if !job.is_stopped() && of_task.total > 0 {
        telemetry.task_restoring(job.id, of_task);
    }
}
