//! Standbys: restores that do not end (rule R-24).
//!
//! ```text
//!  Standby  asked ─▶ waiting ─▶ reading ─▶ done ─▶ following ─▶ each portion written at once, with its position
//!                    after all that is to process      │ assigned here
//!  Active            asked ◀──── the state stays open ─┘
//! ```

use std::time::Duration;

use crate::clock::Instant;
use crate::error::Dependency;
use crate::kafka::{Bounds, Found};
use crate::position::{Offset, TopicPartition};

use super::Role;
use super::fetchers::Fetchers;
use super::job::{Job, Phase, Trouble};
use super::meter::Meter;
use super::worker::Worker;

/// What is followed is written portion by portion, so that nothing is collected (rule R-25).
const AT_ONCE: usize = 1;

impl Job {
    /// The task is to be processed here: what was followed is read to its end. Nothing is closed, and nothing is read again.
    pub(super) fn promote(
        &mut self,
        order: super::Order,
        fetchers: &mut Fetchers,
        now: Instant,
    ) -> Result<(), Trouble> {
        self.ordered(order, now);
        let Some(state) = &mut self.state else { return Ok(()) };
        for read in &mut self.reads {
            // Also what is being read: an end that was told before the assignment may lie before the last owner's last commit.
            if matches!(read.phase, Phase::Following | Phase::Done | Phase::Reading) {
                (read.meter, read.behind_since) = (Meter::new(now), None);
                fetchers.stop(&read.at);
                state.end_restore(read.store)?;
                read.phase = Phase::Asked;
                fetchers.begin(&read.at);
            }
        }
        Ok(())
    }

    /// Caught up once: follows from now on.
    pub(super) fn follow(&mut self, fetchers: &mut Fetchers) {
        let caught_up = self.role == Role::Standby && self.state.is_some();
        let Some(followed) = fetchers.followed.as_mut().filter(|_| caught_up) else { return };
        for read in self.reads.iter_mut().filter(|read| read.phase == Phase::Done) {
            read.phase = Phase::Following;
            followed.begin(&read.at);
        }
    }

    /// What there is of a changelog that is followed: it goes on where the state stands.
    fn followed_from(&mut self, at: &TopicPartition, found: &Bounds, fetchers: &mut Fetchers) -> Result<(), Trouble> {
        let read = self.reads.iter_mut().find(|read| read.at == *at && read.phase == Phase::Following);
        let (Some(state), Some(read), Some(followed)) = (&mut self.state, read, &mut fetchers.followed) else {
            return Ok(());
        };
        let next = state.changelog_next(read.store).unwrap_or(found.start);
        if next < found.start {
            return Err(Trouble::Unfit);
        }
        state.end_restore(read.store)?;
        state.begin_restore(read.store, 0, AT_ONCE)?;
        read.meter.begin(found.start, next, found.end.max(next), Instant::now());
        followed.read(at, next);
        Ok(())
    }

    /// All that there is was applied.
    fn followed_to(&mut self, at: &TopicPartition, next: Offset) -> Result<(), Trouble> {
        let read = self.reads.iter_mut().find(|read| read.at == *at && read.phase == Phase::Following);
        let (Some(state), Some(read)) = (&mut self.state, read) else { return Ok(()) };
        read.meter.reached(next);
        read.behind_since = None;
        // Past the markers of transactions, with what is left.
        state.restored_to(read.store, next)?;
        Ok(())
    }
}

impl Worker {
    /// One look at what is followed; with patience, if there is nothing else to do.
    pub(super) fn look_at_followed(&mut self, wait: Duration) {
        let Worker { jobs, means, fetchers, .. } = self;
        jobs.iter_mut().for_each(|job| job.follow(fetchers));
        if !jobs.iter().any(|job| job.reads.iter().any(|read| read.phase == Phase::Following)) {
            return;
        }
        let busy = jobs.iter().any(|job| job.role == Role::Active);
        let Some(followed) = &mut fetchers.followed else { return };
        let of =
            |jobs: &[Job], at: &TopicPartition| jobs.iter().position(|job| job.reads.iter().any(|read| read.at == *at));
        let telemetry = &means.options.telemetry;
        let (number, result) = match followed.poll(if busy { Duration::ZERO } else { wait }) {
            Found::Idle => return,
            Found::Records(mut records) => {
                let Some(number) = of(jobs, records.at()) else { return };
                (number, jobs[number].apply(&mut records))
            }
            Found::Bounds { at, bounds } => {
                let Some(number) = of(jobs, &at) else { return };
                (number, jobs[number].followed_from(&at, &bounds, fetchers))
            }
            Found::End { at, next, .. } => {
                let Some(number) = of(jobs, &at) else { return };
                (number, jobs[number].followed_to(&at, next))
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
            // Of which task, it does not say. A standby ends nothing; what is wrong is said by the tasks that process.
            Found::Fatal(error) => {
                return tracing::warn!(target: "headrace::runtime", %error, "following changelogs");
            }
        };
        if std::mem::take(&mut self.away) {
            self.means.options.telemetry.dependency_back(&Dependency::Kafka);
        }
        self.settle(number, result);
    }
}
