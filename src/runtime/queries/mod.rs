//! Interactive queries: the committed state of the stores over HTTP (Kafka Streams' KIP-535 and KIP-796).
//!
//! ```text
//!  stream threads ─▶ Views ──────────┐ one snapshot per answer, off the stream thread
//!  GET /state/… ─▶ Request ─▶ places ─┼─ here ──▶ lookup, scan ─▶ JSON with the position
//!                                     └─ there ─▶ Peers ─▶ the owner's /state
//!  Looks (a topology's own routes) ─▶ places, and the global tables
//!  other instances ◀─▶ <application-id>-instances ◀─▶ announcer ─▶ Directory (who has which task)
//! ```
//!
//! **What is read** is what a committed transaction has put into RocksDB (rule R-17), with the input offsets that belong to
//! it: a freshness token, which a later request may wait for. **Where it is read:** the store's key need not be the record's,
//! so a key may lie in any partition, and all are asked unless the request names one.

mod announcer;
mod answer;
mod directory;
mod looks;
mod lookup;
mod peers;
mod places;
mod request;
mod routes;
mod scan;
mod token;
mod views;

use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, Weak};
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::codec::registry::Registry;
use crate::codec::{DecodeError, SchemaId, Schemas, Shown};
use crate::error::FatalError;
use crate::store::{GlobalState, StoreKind};
use crate::telemetry::Telemetry;
use crate::topology::{StoreDeclaration, Topology};

use answer::Refusal;
use directory::{Announcement, Directory};
use peers::Peers;
use serde_json::value::RawValue;
use views::Views;

use super::options::Options;
use super::standby::Standbys;

pub(super) use announcer::announce;
pub use looks::{LookError, Looks, Seen};

/// Queries of clients at a time; together with those of other instances fewer than the HTTP server has connections, so that
/// probes and metrics always get one.
const MAX_QUERIES: usize = 32;
/// Queries of other instances at a time. Apart from the clients', so that two instances never wait for each other.
const MAX_ROUTED: usize = 32;

/// What answers `/state`; clones are the same.
#[derive(Clone)]
pub struct Queries(Arc<Shared>);

struct Shared {
    topology: Topology,
    application: String,
    instance: String,
    /// `host:port` at which the others reach this instance.
    address: String,
    views: Views,
    standbys: Standbys,
    /// The global tables, once they are read to their ends.
    globals: OnceLock<Weak<GlobalState>>,
    directory: RwLock<Directory>,
    peers: Peers,
    schemas: Arc<Schemas>,
    registry: Option<Arc<Registry>>,
    telemetry: Telemetry,
    clients: Semaphore,
    routed: Semaphore,
}

impl std::fmt::Debug for Queries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queries").field("address", &self.0.address).finish_non_exhaustive()
    }
}

impl Queries {
    /// Nothing is shown until an application runs with it among its [`Options`]. `address`: `host:port` at which the other
    /// instances reach this one.
    ///
    /// # Errors
    /// The system gives no HTTP client.
    pub fn new(topology: &Topology, options: &Options, address: impl Into<String>) -> Result<Self, FatalError> {
        Ok(Queries(Arc::new(Shared {
            topology: topology.of_application(&options.kafka.application_id),
            application: options.kafka.application_id.clone(),
            instance: options.kafka.instance_id.clone(),
            address: address.into(),
            views: Views::default(),
            standbys: Standbys::default(),
            globals: OnceLock::new(),
            directory: RwLock::default(),
            peers: Peers::new(&options.kafka.instance_id)?,
            schemas: Arc::clone(&options.schemas),
            registry: options.registry.clone(),
            telemetry: options.telemetry.clone(),
            clients: Semaphore::new(MAX_QUERIES),
            routed: Semaphore::new(MAX_ROUTED),
        })))
    }

    /// Where the others reach this instance.
    fn address(&self) -> &str {
        &self.0.address
    }

    fn views(&self) -> &Views {
        &self.0.views
    }

    /// The copies of other instances' stores that are kept here.
    pub(super) fn standbys(&self) -> Standbys {
        self.0.standbys.clone()
    }

    fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.0.directory.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn change_directory(&self, change: impl FnOnce(&mut Directory)) {
        change(&mut self.0.directory.write().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// An instance has announced itself, or said farewell.
    fn hear(&self, instance: &str, text: Option<&[u8]>) {
        let announcement = text.map(Announcement::parse);
        if matches!(announcement, Some(None)) {
            tracing::debug!(target: "headrace::queries", instance, "no announcement that this version understands");
            return;
        }
        self.change_directory(|directory| directory.hear(instance, announcement.flatten(), Instant::now()));
    }

    fn forget_silent(&self, now: Instant) {
        self.change_directory(|directory| directory.forget_silent(now));
    }

    fn has_partitions(&self, sub_topology: u32, partitions: i32) {
        self.change_directory(|directory| directory.has_partitions(sub_topology, partitions));
    }

    /// A store that can be asked.
    fn store(&self, name: &str) -> Result<&StoreDeclaration, Refusal> {
        let stores = self.0.topology.stores();
        let Some(store) = stores.iter().find(|store| store.spec.name == name) else {
            return Err(Refusal::UnknownStore(stores.iter().map(|store| store.spec.name.clone()).collect()));
        };
        match store.spec.kind {
            StoreKind::Rocks => Ok(store),
            StoreKind::Memory => Err(Refusal::InMemory(format!(
                "store {name} is in memory, which only its stream thread reads; declare it with Stores::rocks to ask it"
            ))),
        }
    }

    /// Bytes as their codec shows them. What can't be decoded is shown as it is, with the class of the error.
    async fn show(&self, shown: &Shown, bytes: &[u8]) -> Result<Box<RawValue>, Refusal> {
        let text = match shown.to_json(bytes) {
            Err(DecodeError::SchemaNotLoaded(id)) => {
                self.load(id).await?;
                shown.to_json(bytes)
            }
            text => text,
        };
        let text = text.unwrap_or_else(|error| {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.encode(bytes);
            serde_json::json!({ "base64": bytes, "undecodable": error.class() }).to_string()
        });
        RawValue::from_string(text).map_err(|_| Refusal::Failed(format!("{} gave no JSON", shown.format)))
    }

    /// Asks the registry for a schema that no record has needed yet.
    async fn load(&self, id: SchemaId) -> Result<(), Refusal> {
        let Some(registry) = &self.0.registry else {
            self.0.schemas.mark_unknown(id);
            return Ok(());
        };
        let loaded = registry.load(id, &self.0.schemas).await;
        loaded.map_err(|_| Refusal::Unavailable(format!("the schema registry does not give schema id {id}")))
    }
}
