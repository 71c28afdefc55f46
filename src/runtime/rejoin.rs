//! After the consumer was fenced: a new one, and everything from what is committed.
//!
//! A static member (KIP-345) is fenced when another process joins under its name, and also by itself, when a coordinator
//! hangs or moves:
//!
//! ```text
//! session runs out here ─▶ librdkafka joins under a new id ─▶ a heartbeat of the old id is under way still   ─▶ fenced
//! a join gets no answer ─▶ it is sent again                ─▶ the broker comes to the first one after all    ─▶ fenced
//! ```
//!
//! librdkafka calls each fatal, and the client stays dead. Only another process is somebody's mistake. So the thread joins
//! again: after its session ran out as often as it takes, otherwise twice within a minute. Of two processes under one name
//! each is then fenced in its turn, and the older one is the first to give in.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Instant;
use crate::error::FatalError;
use crate::telemetry::AbortReason;

use super::aside::ask;
use super::halt::Halt;
use super::stream_thread::{StreamThread, create_producer, subscribe};

/// Two processes under one name fence each other at each other's next heartbeat: all of [`TOO_OFTEN`] within this time.
const FENCED_AGAIN: Duration = Duration::from_secs(60);
/// One coordinator that goes can leave more than one join without an answer.
const TOO_OFTEN: usize = 3;

/// When a thread's members were fenced by what may be another process.
#[derive(Debug, Default)]
pub(super) struct Fences(VecDeque<Instant>);

impl Fences {
    /// Notes one more, and says whether another process has to be the cause.
    fn prove_another_process(&mut self, now: Instant) -> bool {
        self.0.retain(|fenced| now.saturating_duration_since(*fenced) < FENCED_AGAIN);
        self.0.push_back(now);
        self.0.len() >= TOO_OFTEN
    }
}

impl StreamThread {
    /// Gives everything up without a commit, and joins the group as a new member of the same name.
    pub(super) fn rejoin(&mut self, reason: &str) -> Result<(), Halt> {
        if self.fences.prove_another_process(Instant::now()) {
            let text = format!(
                "instance-id: another process has joined the group as \"{}\"; give each its own ({reason})",
                self.options.kafka.instance_id
            );
            self.options.telemetry.fenced(&self.name, reason);
            return Err(Halt::Fatal(FatalError::Environment(text)));
        }
        self.join_again(reason)
    }

    /// The same, whoever is to blame.
    pub(super) fn join_again(&mut self, reason: &str) -> Result<(), Halt> {
        self.options.telemetry.transaction_aborted(&self.name, AbortReason::Lost, reason);
        self.options.telemetry.fenced(&self.name, reason);
        self.held_as = None;
        self.orphans.look_again(Instant::now());
        let lost = self.tasks.inputs().len() + self.unopened.len();
        self.abandon();
        self.give_up_unopened(&self.unopened.clone());
        let unanswered = std::mem::take(&mut self.pending);
        self.ended.clear();
        self.blocked_since = None;
        self.resting = false;
        self.options.telemetry.rebalanced(0, 0, lost, 0, Duration::ZERO, Duration::ZERO);
        let dead = std::mem::replace(&mut self.consumer, subscribe(&self.topology, &self.options, self.index)?);
        // Closing waits for the broker, which may still hang, and for answers. Nothing depends on its end.
        let close = move || {
            unanswered.iter().for_each(|rebalance| dead.answer(rebalance));
            drop(dead);
        };
        if let Err(error) = ask(&self.options, "closing", close) {
            tracing::warn!(target: "headrace::runtime", %error, "no thread to close a consumer on");
        }
        self.producer = create_producer(&self.options, self.index)?;
        self.initialise()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r13_three_fences_within_a_minute_are_another_process_and_three_in_an_hour_are_not() {
        let (mut fences, start) = (Fences::default(), Instant::now());
        let mut at = |seconds| fences.prove_another_process(start + Duration::from_secs(seconds));
        assert_eq!([0, 40, 80, 120, 3600].map(&mut at), [false; 5], "each time one of them is older than a minute");
        assert_eq!([3601, 3602].map(&mut at), [false, true]);
    }
}
