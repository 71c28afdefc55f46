//! Runs a topology's workers: one member of each share group, so many records at a time, and an outbox for what they give.
//!
//! ```text
//!  share group ─▶ Pool ─▶ Job, Job, … ─▶ Outbox ─▶ sinks' topics
//!                   └ tokio                └ a thread
//! ```
//!
//! All of it is beside the stream threads: nothing is shared with them but the process, and what connects the two is topics.

mod groups;
mod job;
mod outbox;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::FatalError;
use crate::processor::{Around, BoxFuture, Failed, LoadSchema, Lookups, TopicIndex};
use crate::share::{Pool, ShareConsumer, ShareError, ShareSettings};
use crate::topology::{Topology, WorkersSpec};
use crate::wire::WireError;

use super::options::Options;
use super::schema_loader::SchemaLoader;

use job::Shop;
use outbox::Outbox;

/// The stock beyond what is worked on, in records; what of it is used follows the pace.
const LEAST_STOCK: usize = 64;

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
            let consumers: Vec<_> = spec
                .topics
                .iter()
                .map(|(topic, weight)| Ok((join(spec, topic, options)?, *weight)))
                .collect::<Result<_, FatalError>>()?;
            let (concurrency, stop) = (spec.concurrency, stop.clone());
            // The rest of the deadline is for giving back.
            let patience = options.shutdown_deadline * 9 / 10;
            all.spawn(async move {
                let serve = |delivery| Arc::clone(&shop).serve(delivery);
                let pool = pool(concurrency, &shop).run_weighted(consumers, stop.cancelled(), serve);
                let overdue = async {
                    stop.cancelled().await;
                    tokio::time::sleep(patience).await;
                };
                tokio::select! {
                    ended = pool => ended.map_err(|error| fatal(&shop.name, error)),
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
        max_record_bytes: options.kafka.max_record_bytes,
        schemas,
        telemetry: options.telemetry.clone(),
    }
}

/// One that begins what the worker lets it begin.
fn pool(concurrency: usize, shop: &Arc<Shop>) -> Pool {
    let held = Arc::clone(shop);
    let pool = Pool::new(concurrency).holding(move || held.entry.hold(&held.around.lookups));
    match shop.entry.admit() {
        None => pool,
        Some(_) => {
            let entry = Arc::clone(&shop.entry);
            pool.admitting(move || entry.admit().unwrap_or_else(|| Box::pin(std::future::ready(()))))
        }
    }
}

/// One member for each topic: what is fetched of one must not take the places of another.
fn join(spec: &WorkersSpec, topic: &str, options: &Options) -> Result<ShareConsumer, FatalError> {
    let cluster = options.kafka.wire(&spec.name);
    let cluster = cluster.map_err(|error| FatalError::Config(format!("kafka.properties: {error}")))?;
    let group = spec.group(&options.kafka.application_id);
    let settings = ShareSettings {
        window: spec.concurrency + spec.concurrency.max(LEAST_STOCK),
        max_bytes: options.kafka.fetch_max_bytes,
        ..ShareSettings::new(group, [topic])
    };
    ShareConsumer::join(cluster, settings).map_err(|error| fatal(&spec.name, error))
}

fn fatal(name: &str, error: ShareError) -> FatalError {
    match error {
        ShareError::Wire(WireError::NotAuthorised { .. } | WireError::Authentication { .. }) => {
            FatalError::Authorisation(format!("workers {name}: {error}"))
        }
        error => FatalError::Environment(format!("workers {name}: {error}")),
    }
}
