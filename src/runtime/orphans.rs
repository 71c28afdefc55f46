//! A partition that nobody owns, though the group rests, is found and mended.
//!
//! ```text
//!  generation 7   one: 0 1 2 3
//!  generation 8   one: 0 1 (told to give up 2 3)   two: nothing yet    both are to join again, for generation 9
//!                 one is killed, and back within its session ──▶ the coordinator hands it 0 1, and nobody joins again
//! ```
//!
//! Partitions move in two rebalances (KIP-429), and the second is asked for by who gives up. A static member that comes back
//! in between is handed what the first one has left it, without another (KIP-345): what it was to give up is nobody's. The same
//! befalls a member whose session ran out on its own side only.
//!
//! So after each start and each rebalance a stream thread asks the coordinator, until every partition has an owner: as a rule
//! once. If one has none for as long as a session, nobody is about to take it, and the thread leaves the group and joins it
//! again: that is a rebalance, in which every partition finds an owner. It leaves itself, because it may be the only one that
//! looks. A commit of what is open would not be wrong, but nobody waits for it: it is aborted, and done again.

use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};

use crate::clock::Instant;
use crate::kafka::{KafkaFailure, leave_group, unowned};
use crate::position::TopicPartition;

use super::aside::ask;
use super::halt::Halt;
use super::stream_thread::StreamThread;

/// From a rebalance to the first look, and between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How long a partition may have no owner: what moves has none until its last owner has settled what it had open. Doubled
/// by each attempt that did not help.
const PATIENCE: Duration = Duration::from_secs(10);
/// Attempts after which that is not doubled any more: 5 minutes.
const DOUBLED: u32 = 5;

enum Answer {
    /// Partitions without an owner; `None` while the group rebalances.
    Unowned(Result<Option<Vec<TopicPartition>>, KafkaFailure>),
    /// This thread's member is out of the group.
    Left(Result<(), KafkaFailure>),
}

/// What is known of partitions without an owner.
pub(super) struct Orphans {
    /// When the next look is due, until all is well.
    due: Option<Instant>,
    asked: Option<Receiver<Answer>>,
    /// Since when these have none.
    found: Option<(Instant, Vec<TopicPartition>)>,
    attempts: u32,
}

impl Orphans {
    pub(super) fn new(now: Instant) -> Self {
        Orphans { due: Some(now + LOOK), asked: None, found: None, attempts: 0 }
    }

    /// The group has rebalanced.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.due = Some(now + LOOK);
    }

    /// Takes what was found; true if it has lasted for too long.
    fn note(&mut self, unowned: Option<Vec<TopicPartition>>, now: Instant) -> bool {
        self.due = Some(now + LOOK);
        let Some(unowned) = unowned else {
            self.found = None;
            return false;
        };
        if unowned.is_empty() {
            (self.due, self.found, self.attempts) = (None, None, 0);
            return false;
        }
        let known = self.found.take().filter(|(_, known)| *known == unowned);
        let (since, unowned) = known.unwrap_or((now, unowned));
        self.found = Some((since, unowned));
        now.saturating_duration_since(since) >= PATIENCE * 2_u32.pow(self.attempts.min(DOUBLED))
    }
}

impl StreamThread {
    /// Asks whether each partition has an owner, and sees to it that it gets one. Never waits.
    ///
    /// # Errors
    /// This thread has left the group, and has to join it again.
    pub(super) fn look_for_orphans(&mut self) -> Result<(), Halt> {
        match self.orphans.asked.as_ref().map(Receiver::try_recv) {
            None => {}
            Some(Err(TryRecvError::Empty)) => return Ok(()),
            Some(Err(TryRecvError::Disconnected)) => self.orphans.asked = None,
            Some(Ok(answer)) => {
                self.orphans.asked = None;
                return self.answered(answer);
            }
        }
        let now = Instant::now();
        if self.orphans.due.is_some_and(|due| due <= now) {
            let sources = self.topology.sources().iter();
            let topics: Vec<String> = sources.flat_map(|source| source.topics.iter().map(str::to_owned)).collect();
            let (settings, simulated) = (self.options.kafka.clone(), self.options.simulated.clone());
            self.ask_group(now, move || {
                Answer::Unowned(match simulated {
                    Some(cluster) => cluster.unowned(&topics),
                    None => unowned(&settings, &topics),
                })
            });
        }
        Ok(())
    }

    fn ask_group(&mut self, now: Instant, question: impl FnOnce() -> Answer + Send + 'static) {
        self.orphans.due = Some(now + LOOK);
        // Without a thread to ask on: later.
        self.orphans.asked = ask(&self.options, "ownership", question).ok();
    }

    fn answered(&mut self, answer: Answer) -> Result<(), Halt> {
        let now = Instant::now();
        match answer {
            Answer::Unowned(Ok(unowned)) => {
                if self.orphans.note(unowned, now) {
                    let (settings, thread) = (self.options.kafka.clone(), self.index);
                    let simulated = self.options.simulated.clone();
                    self.ask_group(now, move || {
                        Answer::Left(match simulated {
                            Some(cluster) => cluster.leave_group(thread),
                            None => leave_group(&settings, thread),
                        })
                    });
                }
                Ok(())
            }
            Answer::Left(Ok(())) => {
                self.orphans.attempts += 1;
                let found = self.orphans.found.take().map(|(_, unowned)| unowned).unwrap_or_default();
                self.options.telemetry.unowned(&self.name, &found);
                Err(Halt::Forgotten("partitions have no owner: left the group, to join it again".to_owned()))
            }
            Answer::Unowned(Err(error)) | Answer::Left(Err(error)) => {
                tracing::debug!(target: "headrace::runtime", %error, "asking whose the partitions are");
                (self.orphans.due, self.orphans.found) = (Some(now + PATIENCE), None);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Partition;

    fn unowned(partition: i32) -> Option<Vec<TopicPartition>> {
        Some(vec![TopicPartition { topic: "in".into(), partition: Partition(partition) }])
    }

    #[test]
    fn what_moves_may_be_nobodys_for_a_while_and_what_stays_so_is_mended_ever_more_seldom() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut orphans = Orphans::new(start);
        assert!(!orphans.note(unowned(2), after(1)));
        assert!(!orphans.note(unowned(2), after(10)));
        assert!(orphans.note(unowned(2), after(11)), "for as long as a session");
        orphans.attempts += 1;
        orphans.found = None;
        assert!(!orphans.note(unowned(2), after(12)) && !orphans.note(unowned(2), after(31)));
        assert!(orphans.note(unowned(2), after(32)), "twice as long");
    }

    #[test]
    fn another_partition_or_a_rebalance_begins_anew_and_all_being_well_ends_it() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut orphans = Orphans::new(start);
        assert!(!orphans.note(unowned(2), after(1)) && !orphans.note(unowned(3), after(11)));
        assert!(!orphans.note(None, after(20)) && !orphans.note(unowned(3), after(21)));
        assert!(orphans.note(unowned(3), after(31)));
        assert!(!orphans.note(Some(Vec::new()), after(32)));
        assert_eq!(orphans.due, None, "nothing is asked any more");
        orphans.look_again(after(40));
        assert_eq!(orphans.due, Some(after(41)));
    }
}
