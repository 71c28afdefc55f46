//! After the consumer was fenced: a new one, and everything from what is committed.
//!
//! A static member (KIP-345) is fenced when another process joins under its name, and also when its session ran out while
//! the broker hung: librdkafka calls either fatal, and the client stays dead. Only the first is somebody's mistake. So the
//! thread joins again once; if it is fenced again soon, the other process is there, and the older one gives in.

use std::time::{Duration, Instant};

use crate::error::FatalError;
use crate::telemetry::AbortReason;

use super::halt::Halt;
use super::stream_thread::{StreamThread, create_producer, subscribe};

/// Two processes under one name fence each other within the seconds that a join takes; a broker that hangs for longer than
/// a session twice within this time looks the same.
const FENCED_AGAIN: Duration = Duration::from_secs(60);

impl StreamThread {
    /// Gives everything up without a commit, and joins the group as a new member of the same name.
    pub(super) fn rejoin(&mut self, reason: &str) -> Result<(), Halt> {
        self.options.telemetry.transaction_aborted(&self.name, AbortReason::Lost, reason);
        self.options.telemetry.fenced(&self.name, reason);
        let last = self.fenced_at.replace(Instant::now());
        if last.is_some_and(|last| last.elapsed() < FENCED_AGAIN) {
            let text = format!(
                "instance-id: another process has joined the group as \"{}\"; give each its own ({reason})",
                self.options.kafka.instance_id
            );
            return Err(Halt::Fatal(FatalError::Environment(text)));
        }
        let lost = self.tasks.inputs().len() + self.unopened.len();
        self.abandon();
        self.give_up_unopened(&self.unopened.clone());
        self.pending.clear();
        self.ended.clear();
        self.blocked_since = None;
        self.resting = false;
        self.options.telemetry.rebalanced(0, 0, lost, 0, Duration::ZERO, Duration::ZERO);
        let dead = std::mem::replace(&mut self.consumer, subscribe(&self.topology, &self.options, self.index)?);
        // Closing waits for the broker, which may still hang. Nothing depends on its end.
        let closing = std::thread::Builder::new().name("closing".into()).spawn(move || drop(dead));
        if let Err(error) = closing {
            tracing::warn!(target: "headrace::runtime", %error, "no thread to close a consumer on");
        }
        self.producer = create_producer(&self.options, self.index)?;
        self.initialise()
    }
}
