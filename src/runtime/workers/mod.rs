//! Runs a topology's workers: one member of each share group, so many records at a time, and an outbox for what they give.
//!
//! ```text
//!  share group ─▶ Pool ─▶ Job, Job, … ─▶ Outbox ─▶ sinks' topics
//!                   └ tokio                └ a thread
//!  group's coordinator ─▶ LagWatch ─▶ gauge
//! ```
//!
//! All of it is beside the stream threads: nothing is shared with them but the process, and what connects the two is topics.

mod crew;
mod groups;
mod job;
mod lag;
mod outbox;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::FatalError;
use crate::processor::{Around, BoxFuture, Failed, LoadSchema, Lookups, TopicIndex};
use crate::topology::{Topology, WorkersSpec};

use super::options::Options;
use super::schema_loader::SchemaLoader;

use crew::Crew;
use job::Shop;
use lag::LagWatch;
use outbox::Outbox;

/// The workers of a process.
pub(super) struct Workers(JoinSet<Result<(), FatalError>>);

impl Workers {
    /// Starts all of them.
    ///
    /// # Errors
    /// The properties don't fit, or the system gives no thread.
    pub(super) fn start(topology: &Topology, options: &Options, stop: &CancellationToken) -> Result<Self, FatalError> {
        let mut all = JoinSet::new();
        for (number, spec) in topology.workers().iter().enumerate() {
            let number = options.stream_threads + number;
            let (outbox, failure) = Outbox::start(topology, options, number, stop.clone())?;
            let shop = Arc::new(shop(topology, spec, options, outbox));
            let (crew, stop) = (Crew::new(spec, options, Arc::clone(&shop))?, stop.clone());
            let (watch, stopped) = (LagWatch::new(spec, options, crew.cluster().clone()), stop.clone());
            // Apart from those that are waited for: workers go on whatever becomes of it.
            tokio::spawn(async move { watch.run(&stopped).await });
            // The rest of the deadline is for giving back.
            let patience = options.shutdown_deadline * 9 / 10;
            all.spawn(async move {
                let overdue = async {
                    stop.cancelled().await;
                    tokio::time::sleep(patience).await;
                };
                tokio::select! {
                    ended = crew.work(&stop) => ended,
                    Ok(error) = failure => Err(error),
                    () = overdue => {
                        shop.telemetry.jobs_cut_short(&shop.name, patience);
                        Ok(())
                    }
                }
            });
        }
        if topology.sources().is_empty() {
            // There are no partitions to wait for.
            options.telemetry.health.assigned();
        }
        Ok(Workers(all))
    }

    /// Waits for all of them; the first that fails ends everything else, and is told.
    pub(super) async fn ended(&mut self, stop: &CancellationToken) -> Result<(), FatalError> {
        let mut first_error = Ok(());
        while let Some(ended) = self.0.join_next().await {
            let ended = ended.unwrap_or_else(|error| {
                Err(FatalError::Other { context: "running workers".into(), source: error.into() })
            });
            if let Err(error) = ended {
                stop.cancel();
                first_error = first_error.and(Err(error));
            }
        }
        first_error
    }
}

fn shop(topology: &Topology, spec: &WorkersSpec, options: &Options, outbox: Outbox) -> Shop {
    let schemas = Arc::new(SchemaLoader::new(options, Handle::current()));
    let loader = Arc::clone(&schemas);
    let load: LoadSchema = Arc::new(move |id| {
        let loader = Arc::clone(&loader);
        Box::pin(async move { loader.settled(id).await })
    });
    let posts = outbox.clone();
    let post = Arc::new(move |effects| -> BoxFuture<'static, Result<(), Failed>> {
        let outbox = posts.clone();
        Box::pin(async move { outbox.deliver(effects).await.map_err(Failed::from) })
    });
    Shop {
        entry: spec.instantiate(),
        name: spec.name.clone(),
        application: options.kafka.application_id.clone(),
        outbox,
        around: Around { lookups: Lookups::new(Arc::clone(&options.globals), load), post },
        dead_letters: topology.dead_letters().map(|(topic, policy)| (TopicIndex(topic), policy.clone())),
        by_brokers: options.dead_letters_by_brokers,
        max_record_bytes: options.kafka.max_record_bytes,
        schemas,
        telemetry: options.telemetry.clone(),
    }
}
