//! What handlers that are called and handlers that ask have in common: an attempt lasts as long as something is heard of it,
//! what is heard of its progress is told, and it ends at once when nobody wants it any more.

use std::time::Duration;

use headrace::error::RecordError;
use headrace::processor::{Failed, Given, Job};
use headrace::record::Record;
use tokio::time::{Instant, timeout_at};

use crate::leases::{Lease, Leases, Word};
use crate::tasks::{Outcome, OutcomeKind, ReadyTask};
use crate::wishes::Wishes;

/// One attempt's work.
pub type Work = Job<String, Outcome>;

/// A queue's handlers, wherever they are.
#[derive(Debug, Clone)]
pub struct Handlers {
    /// The queue.
    pub queue: String,
    /// How long one may say nothing.
    pub silence: Duration,
    /// The attempts in their hands.
    pub leases: Leases,
    /// What is wanted of them.
    pub wishes: Wishes,
}

impl Handlers {
    /// Has an attempt worked on; without an outcome if it is stopped before.
    ///
    /// # Errors
    /// What `work` says.
    pub async fn attend(
        &self,
        record: &Record<String, ReadyTask>,
        job: &Work,
        work: impl Future<Output = Result<Outcome, Failed>>,
    ) -> Given<String, Outcome> {
        let ready = &record.value;
        tokio::select! {
            biased;
            // The task has ended, and its result is where results are.
            () = self.wishes.stopped(ready, &job.lookups) => Ok(Vec::new()),
            outcome = work => Ok(vec![record.map(ready.lane.clone(), outcome?)]),
        }
    }

    /// What a handler says at last of its attempt, or that it has said nothing for too long.
    ///
    /// # Errors
    /// Its progress could not be told.
    pub async fn last_word(
        &self,
        record: &Record<String, ReadyTask>,
        job: &Work,
        lease: &mut Lease,
    ) -> Result<Outcome, Failed> {
        let ready = &record.value;
        loop {
            match timeout_at(Instant::now() + self.silence, lease.word()).await {
                Ok(Word::Ended { kind, result, error }) => return Ok(ready.outcome(kind, result, error)),
                Ok(Word::Working { progress: None }) => {}
                Ok(Word::Working { progress }) => {
                    let outcome = Outcome { progress, ..ready.outcome(OutcomeKind::Progress, None, None) };
                    job.tell(vec![record.map(ready.lane.clone(), outcome)]).await?;
                }
                Err(_) => {
                    let reason = format!("its handler has said nothing for {:?}", self.silence);
                    return Ok(ready.outcome(OutcomeKind::Failed, None, Some(reason)));
                }
            }
        }
    }
}

/// The attempt has failed, whatever its handlers have made of it.
pub fn given_up(record: &Record<String, ReadyTask>, error: &RecordError) -> Record<String, Outcome> {
    let ready = &record.value;
    record.map(ready.lane.clone(), ready.outcome(OutcomeKind::Failed, None, Some(error.reason.clone())))
}
