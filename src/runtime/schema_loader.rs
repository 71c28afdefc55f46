//! Fetches schemas by id in the background, so that a registry that is away pauses input and drops nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::codec::registry::Registry;
use crate::codec::{Lookup, SchemaId, Schemas};
use crate::error::Dependency;
use crate::telemetry::Telemetry;

use super::options::Options;

/// Between two looks whether the registry has answered.
const LOOK: Duration = Duration::from_millis(20);

/// Loads schemas for one stream thread, or for workers.
pub(super) struct SchemaLoader {
    registry: Option<Arc<Registry>>,
    schemas: Arc<Schemas>,
    telemetry: Telemetry,
    tokio: tokio::runtime::Handle,
    under_way: Arc<Mutex<BTreeSet<SchemaId>>>,
}

impl SchemaLoader {
    pub(super) fn new(options: &Options, tokio: tokio::runtime::Handle) -> Self {
        SchemaLoader {
            registry: options.registry.clone(),
            schemas: Arc::clone(&options.schemas),
            telemetry: options.telemetry.clone(),
            tokio,
            under_way: Arc::default(),
        }
    }

    /// Starts loading, unless it is under way already. Tries until the registry has answered, with whatever answer.
    pub(super) fn load(&self, id: SchemaId) {
        let Some(registry) = self.registry.clone() else {
            self.schemas.mark_unknown(id);
            return;
        };
        if !self.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return;
        }
        let (schemas, telemetry) = (Arc::clone(&self.schemas), self.telemetry.clone());
        let under_way = Arc::clone(&self.under_way);
        self.tokio.spawn(async move {
            let mut attempt = 0;
            while let Err(away) = registry.load(id, &schemas).await {
                telemetry.metrics.registry_requests.with(["away"]).inc();
                telemetry.dependency_away(&Dependency::SchemaRegistry, &away.to_string());
                tokio::time::sleep(Backoff::DEPENDENCY.delay(attempt, fastrand::f64())).await;
                attempt += 1;
            }
            telemetry.metrics.registry_requests.with(["answered"]).inc();
            telemetry.dependency_back(&Dependency::SchemaRegistry);
            under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }

    /// Whether the id has been answered: known, or known to be unknown.
    pub(super) fn is_settled(&self, id: SchemaId) -> bool {
        !matches!(self.schemas.lookup(id), Lookup::NotLoaded)
    }

    /// Loads a schema, and waits for the answer.
    pub(super) async fn settled(&self, id: SchemaId) {
        self.load(id);
        while !self.is_settled(id) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits a moment for the answer.
    pub(super) fn wait(&self, id: SchemaId, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        while !self.is_settled(id) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}
