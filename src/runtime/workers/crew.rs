//! The members of one workers' group, and the pool that works on what they are handed.
//!
//! Where a worker bounds how many records may be under way (`Worker::bound`), there are members while it is above 0:
//!
//! ```text
//!  none ── above 0 ──▶ joined ── 0 for a while ──▶ left
//!   ▲                                               │
//!   └───────────────────────────────────────────────┘
//! ```
//!
//! For KIP-932 deals the partitions out among the members: what lies in those of a member that fetches nothing may be
//! handed to nobody.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::error::FatalError;
use crate::share::{Pool, ShareConsumer, ShareError, ShareSettings};
use crate::topology::WorkersSpec;
use crate::wire::{Settings, WireError};

use super::super::options::Options;
use super::job::Shop;

/// The stock beyond what is worked on, in records; what of it is used follows the pace.
const LEAST_STOCK: usize = 64;

/// Members stay for so long: what comes back at once must not make them come and go.
const REST: Duration = Duration::from_secs(5);

/// See the module's documentation.
pub(super) struct Crew {
    shop: Arc<Shop>,
    concurrency: usize,
    cluster: Settings,
    /// One member for each topic, with its weight: what is fetched of one must not take the places of another.
    members: Vec<(ShareSettings, u32)>,
}

impl Crew {
    pub(super) fn new(spec: &WorkersSpec, options: &Options, shop: Arc<Shop>) -> Result<Self, FatalError> {
        let cluster = options.kafka.wire(&spec.name);
        let cluster = cluster.map_err(|error| FatalError::Config(format!("kafka.properties: {error}")))?;
        let group = spec.group(&options.kafka.application_id);
        let member = |(topic, weight): &(String, u32)| {
            let settings = ShareSettings {
                name: Some(format!("{topic}/{}", options.kafka.instance_id)),
                window: spec.concurrency + spec.concurrency.max(LEAST_STOCK),
                max_bytes: options.kafka.fetch_max_bytes,
                ..ShareSettings::new(group.clone(), [topic.as_str()])
            };
            (settings, *weight)
        };
        let members = spec.topics.iter().map(member).collect();
        Ok(Crew { shop, concurrency: spec.concurrency, cluster, members })
    }

    /// How its members reach the brokers.
    pub(super) fn cluster(&self) -> &Settings {
        &self.cluster
    }

    /// Works until it is stopped.
    pub(super) async fn work(&self, stop: &CancellationToken) -> Result<(), FatalError> {
        let Some(mut bounds) = self.shop.entry.bound() else {
            return self.run(self.pool(), stop.cancelled()).await;
        };
        while let Some(Some(bound)) = stop.run_until_cancelled(bounds.next()).await {
            if bound == 0 {
                continue;
            }
            let pool = self.shop.entry.bound().into_iter().fold(self.pool(), Pool::bounded);
            let enough = stop.run_until_cancelled(rests(&mut bounds)).map(|_| ());
            self.run(pool, enough).await?;
        }
        Ok(())
    }

    async fn run(&self, pool: Pool, stop: impl Future<Output = ()>) -> Result<(), FatalError> {
        let serve = |delivery| Arc::clone(&self.shop).serve(delivery);
        pool.run_weighted(self.join()?, stop, serve).await.map_err(|error| self.fatal(error))
    }

    fn pool(&self) -> Pool {
        let shop = Arc::clone(&self.shop);
        Pool::new(self.concurrency).holding(move || shop.entry.hold(&shop.around.lookups))
    }

    fn join(&self) -> Result<Vec<(ShareConsumer, u32)>, FatalError> {
        let join = |(settings, weight): &(ShareSettings, u32)| {
            Ok((ShareConsumer::join(self.cluster.clone(), settings.clone())?, *weight))
        };
        self.members.iter().map(join).collect::<Result<_, _>>().map_err(|error| self.fatal(error))
    }

    fn fatal(&self, error: ShareError) -> FatalError {
        let name = &self.shop.name;
        match error {
            ShareError::Wire(WireError::NotAuthorised { .. } | WireError::Authentication { .. }) => {
                FatalError::Authorisation(format!("workers {name}: {error}"))
            }
            error => FatalError::Environment(format!("workers {name}: {error}")),
        }
    }
}

/// Waits until the bound has been 0 for a while.
async fn rests(bounds: &mut BoxStream<'_, usize>) {
    let mut rest = None;
    loop {
        let next = timeout(rest.unwrap_or(Duration::MAX), bounds.next()).await;
        match next {
            Ok(Some(bound)) => rest = (bound == 0).then_some(REST),
            // It stays as it is.
            Ok(None) if rest.is_none() => std::future::pending().await,
            Ok(None) | Err(_) => return,
        }
    }
}
