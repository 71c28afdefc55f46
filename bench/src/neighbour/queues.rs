//! The application: one process of the task queue.

use testbed::Testbed;

use super::handlers::Handlers;
use crate::Failure;
use crate::instance::{Instance, Prepared, Spec};

const TOPICS: &[&str] =
    &["tasks", "commands", "queues", "stops", "crons", "ready", "outcomes", "results", "dead-letters"];

/// `queues`: name, and what is said of it besides where it is handled, as TOML.
pub(super) fn start(
    bed: &Testbed,
    id: &str,
    queues: &[(&str, String)],
    handlers: &Handlers,
) -> Result<Instance, Failure> {
    let queue =
        |(name, more): &(&str, String)| format!("[queues.{name}]\npush = \"http://{}/\"\n{more}\n", handlers.address);
    let sections = queues.iter().map(queue).collect();
    Prepared::new(bed, &Spec { binary: "task-queue", id, topics: TOPICS, sections })?.start()
}
