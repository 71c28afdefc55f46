//! The restore thread: brings tasks up to their changelogs, several at a time, as long as it takes.
//!
//! Changelogs with little to read have their turn at once, then those with least: a restarted instance processes within
//! moments where its disk was kept, while a lost store is still read. The number of large ones at a time is bounded, because
//! each collects what it writes (rule R-25).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use crate::error::{Dependency, FatalError};
use crate::kafka::{ChangelogFetcher, Found};
use crate::position::TopicPartition;
use crate::store::StateDirectory;
use crate::telemetry::RestoreProgress;
use crate::topology::Topology;

use super::super::options::Options;
use super::job::{Job, Means, Phase, Trouble};
use super::meter::PERIOD;
use super::{Order, Outcome, Report};

/// How long one look for records lasts; also how long a stop takes to be seen.
const LOOK: Duration = Duration::from_millis(10);
/// Changelogs with more than a few records that are read at a time.
const LARGE_AT_ONCE: usize = 2;
/// The same for those with a few.
const SMALL_AT_ONCE: usize = 64;
/// What a few are.
const SMALL_RECORDS: u64 = 2_000;
/// The least that a restore writes at once (rule R-23).
const MIN_BATCH_BYTES: usize = 4 << 20;

pub(super) struct Worker {
    means: Means,
    fetcher: ChangelogFetcher,
    orders: Receiver<Order>,
    reports: Sender<Report>,
    jobs: Vec<Job>,
    told_at: Instant,
    /// The cluster was told to be away.
    away: bool,
}

impl Worker {
    pub(super) fn new(
        topology: Topology,
        options: Options,
        directory: Arc<StateDirectory>,
        fetcher: ChangelogFetcher,
        collected_bytes: usize,
        (orders, reports): (Receiver<Order>, Sender<Report>),
    ) -> Self {
        let batch_bytes = (collected_bytes / LARGE_AT_ONCE).max(MIN_BATCH_BYTES);
        let means = Means { topology, options, directory, batch_bytes };
        Worker { means, fetcher, orders, reports, jobs: Vec::new(), told_at: Instant::now(), away: false }
    }

    /// Until the stream thread has gone.
    pub(super) fn run(mut self) {
        while self.take_orders() {
            self.take_stops();
            self.open();
            self.take_turns();
            self.look();
            self.finish();
            self.tell();
        }
        self.jobs.iter_mut().for_each(|job| job.close(&mut self.fetcher));
    }

    /// False when there will be no more. Waits while there is nothing else to do.
    fn take_orders(&mut self) -> bool {
        if self.jobs.is_empty() {
            match self.orders.recv() {
                Ok(order) => self.jobs.push(Job::new(order, Instant::now())),
                Err(_) => return false,
            }
        }
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.jobs.push(Job::new(order, Instant::now())),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn take_stops(&mut self) {
        let now = Instant::now();
        for mut job in self.jobs.extract_if(.., |job| job.is_stopped()) {
            tell(&self.means, &mut job, now);
            job.close(&mut self.fetcher);
            // The stream thread has gone if it does not take it.
            _ = self.reports.send(Report { id: job.id, outcome: Outcome::Stopped });
        }
    }

    fn open(&mut self) {
        let now = Instant::now();
        let Worker { jobs, means, fetcher, .. } = self;
        let opened = jobs.iter_mut().enumerate().map(|(number, job)| (number, job.open(means, fetcher, now)));
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
            let is_small = |remaining| remaining <= SMALL_RECORDS;
            let reading = |small| {
                let own = all().filter(|(_, read)| read.phase == Phase::Reading);
                own.filter(|(_, read)| is_small(read.meter.remaining()) == small).count()
            };
            let room = |remaining| match is_small(remaining) {
                true => reading(true) < SMALL_AT_ONCE,
                false => reading(false) < LARGE_AT_ONCE,
            };
            let waiting = all().filter(|(_, read)| read.phase == Phase::Waiting);
            let least = waiting.map(|(at, read)| (read.meter.remaining(), at)).min();
            let Some((_, (job, number))) = least.filter(|(remaining, _)| room(*remaining)) else { return };
            let result = self.jobs[job].read(number, &self.means, &mut self.fetcher);
            self.settle(job, result);
        }
    }

    /// One look at what has come.
    fn look(&mut self) {
        let Worker { jobs, means, fetcher, .. } = self;
        let now = Instant::now();
        let of =
            |jobs: &[Job], at: &TopicPartition| jobs.iter().position(|job| job.reads.iter().any(|read| read.at == *at));
        let telemetry = &means.options.telemetry;
        let (number, result) = match fetcher.poll(LOOK) {
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
                let ended = jobs[number].ended(&at, next, high, fetcher);
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
            // Of which task, it does not say; it is the end of all.
            Found::Fatal(error) => (0, Err(Trouble::Fatal(error))),
        };
        if std::mem::take(&mut self.away) {
            self.means.options.telemetry.dependency_back(&Dependency::Kafka);
        }
        self.settle(number, result);
    }

    fn settle(&mut self, number: usize, result: Result<(), Trouble>) {
        let Err(trouble) = result else { return };
        let Some(job) = self.jobs.get_mut(number) else { return };
        tell(&self.means, job, Instant::now());
        if let Err(error) = job.again(trouble, &self.means, &mut self.fetcher, Instant::now()) {
            self.fail(number, error);
        }
    }

    fn fail(&mut self, number: usize, error: FatalError) {
        let mut job = self.jobs.remove(number);
        job.close(&mut self.fetcher);
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
        telemetry.restore_progress(job.id, store, read.meter.untold(), progress);
        of_task = of_task + progress;
    }
    if !job.is_stopped() && of_task.total > 0 {
        telemetry.task_restoring(job.id, of_task);
    }
}
