//! What is wanted of queues and of attempts, as each instance knows it: two compacted topics, read whole.
//!
//! | topic | key | says | obeyed |
//! |---|---|---|---|
//! | queues | queue | paused or not | before an attempt is begun |
//! | stops | task | attempts up to this one are not wanted any more | before one is begun, and while it runs |
//!
//! What can't be read wants nothing, and is told of: a queue must not stand still for a record that nobody can read.

use std::fmt::Display;
use std::future::pending;

use headrace::processor::{BoxFuture, Lookups};
use headrace::store::GlobalTable;
use tracing::warn;

use crate::tasks::{QueueState, ReadyTask, Stop};

/// The two tables. Clones are the same.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// By queue.
    pub queues: GlobalTable<String, QueueState>,
    /// By task.
    pub stops: GlobalTable<String, Stop>,
}

impl Wishes {
    /// Waits until a queue is not paused.
    pub fn resumed(&self, queue: &str, lookups: &Lookups) -> BoxFuture<'static, ()> {
        let (queues, queue, lookups) = (self.queues.clone(), queue.to_owned(), lookups.clone());
        Box::pin(async move {
            let runs = |state: Option<&QueueState>| !state.is_some_and(|state| state.paused);
            if let Err(error) = lookups.until(&queues, &queue, runs).await {
                unreadable("queues", &error);
            }
        })
    }

    /// Waits until an attempt is not wanted any more.
    pub async fn stopped(&self, job: &ReadyTask, lookups: &Lookups) {
        let unwanted = |stop: Option<&Stop>| stop.is_some_and(|stop| job.attempt <= stop.attempt);
        if let Err(error) = lookups.until(&self.stops, &job.task.id, unwanted).await {
            unreadable("stops", &error);
            pending::<()>().await;
        }
    }
}

fn unreadable(table: &str, error: &dyn Display) {
    warn!(target: "task_queue", table, %error, "a wish can't be read, and is not obeyed; write it anew");
}
