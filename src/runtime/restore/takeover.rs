//! A dead owner's open transaction is ended at once, instead of by its time-out (rule R-31).
//!
//! It hides what comes after it from the restore, from the committed positions, and from every committed reader; by itself it
//! ends when the broker's patience is over, 15 s and more. The task is assigned to this thread now, so its last owner has
//! either given it up, with its pipeline drained, or was thrown out of the group, and the coordinator refuses what it had open
//! then. Nothing is lost by ending that. Who holds only that it was assigned the task, because it hangs, meets the transactions
//! of the present owner: these come and go, and none of them is in the way at one offset for as long as it takes.
//!
//! It is ended by taking over the transactional id under which it is open, as the owner's successor would. That fences
//! the owner if it lives, whatever it has open by now. So it is given a moment: one that is alive needs a few milliseconds to
//! end or abort what it has. Who needs longer hangs, and recovers as it would after any abort. A standby ends
//! nothing: its task has an owner.

use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};

use crate::clock::Instant;
use crate::kafka::{KafkaFailure, end_transactions_of_others};
use crate::position::TopicPartition;

use super::super::aside::ask;
use super::Role;
use super::job::{Job, Means};

/// How long an open transaction may be in the way of a restore before it is ended.
const PATIENCE: Duration = Duration::from_millis(500);
/// Until that is tried again, while it still is.
const AGAIN: Duration = Duration::from_secs(2);

/// The transactional ids that were taken over.
type Answer = Result<Vec<String>, KafkaFailure>;

/// The attempt under way; one at a time.
#[derive(Default)]
pub(super) struct Takeover {
    asked: Option<(TopicPartition, Receiver<Answer>)>,
    not_before: Option<Instant>,
}

impl Takeover {
    /// Looks whether a restore has been blocked for too long, and what has become of the last attempt.
    pub(super) fn look(&mut self, jobs: &[Job], means: &Means, now: Instant) {
        if let Some((at, answered)) = &self.asked {
            match answered.try_recv() {
                Err(TryRecvError::Empty) => return,
                Ok(Ok(ended)) => ended.iter().for_each(|id| means.options.telemetry.taken_over(at, id)),
                // It ends by its time-out then.
                Ok(Err(error)) => tracing::warn!(
                    target: "headrace::runtime", changelog = %at, %error, "ending the transaction of a dead owner"
                ),
                Err(TryRecvError::Disconnected) => {}
            }
            self.asked = None;
        }
        if self.not_before.is_some_and(|time| time > now) {
            return;
        }
        let of_owner = jobs.iter().filter(|job| job.role == Role::Active && !job.is_stopped());
        let late = |(_, since): (_, Instant)| now.saturating_duration_since(since) >= PATIENCE;
        let mut reads = of_owner.flat_map(|job| &job.reads);
        let Some(blocked) = reads.find(|read| read.blocked.is_some_and(late)) else { return };
        let (settings, at) = (means.options.kafka.clone(), blocked.at.clone());
        let simulated = means.options.simulated.clone();
        self.not_before = Some(now + AGAIN);
        let asked = ask(&means.options, "takeover", move || match simulated {
            Some(cluster) => cluster.end_transactions_of_others(&at),
            None => end_transactions_of_others(&settings, &at),
        });
        self.asked = asked.ok().map(|answered| (blocked.at.clone(), answered));
    }
}
