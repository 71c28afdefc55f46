//! What a run needs to know beyond its topology.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::Schemas;
use crate::codec::registry::Registry;
use crate::external::LaneOptions;
use crate::kafka::{Cluster, Settings};
use crate::store::{GlobalState, StoreResources};
use crate::telemetry::Telemetry;

use super::implementation::Implementations;
use super::memory::MemoryPlan;
use super::queries::Queries;

/// The processing guarantee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Outputs, state and input positions change together, or not at all.
    ExactlyOnce,
    /// Nothing is lost; after a crash records are processed again, and state may be ahead of the input (rule R-29).
    AtLeastOnce,
}

/// How to run a topology.
#[derive(Clone)]
pub struct Options {
    /// Cluster, ids and limits.
    pub kafka: Settings,
    /// The guarantee.
    pub guarantee: Guarantee,
    /// Who commits, and who fetches.
    pub clients: Implementations,
    /// Between two commits while records flow.
    pub commit_interval: Duration,
    /// How often what is processed of repartition topics is deleted.
    pub purge_interval: Duration,
    /// Stream threads in this process.
    pub stream_threads: usize,
    /// Staged bytes per thread that nothing goes beyond; a sixteenth of them is committed early (rule R-8).
    pub max_staged_bytes: usize,
    /// Where state lives.
    pub state_directory: PathBuf,
    /// Memory of the stores, shared by all tasks.
    pub stores: StoreResources,
    /// Memory of all restores together, in bytes: one half for what is fetched, the other for what is written at once
    /// (rule R-25).
    pub restore_bytes: usize,
    /// The memory budget, and what of it is planned already.
    pub memory: MemoryPlan,
    /// Copies of each task's stores that other instances keep warm (rule R-24). With any, [`queries`](Self::queries) are
    /// needed: it is by their announcements that the instances know of each other.
    pub standbys: usize,
    /// Lanes of the external sinks.
    pub lanes: LaneOptions,
    /// SIGTERM to exit at most (rule R-16).
    pub shutdown_deadline: Duration,
    /// The schema registry; `None` where no codec needs one.
    pub registry: Option<Arc<Registry>>,
    /// Whether schemas that are not registered yet are registered at start; else the start fails and names them.
    pub register_schemas: bool,
    /// Partitions of topics that `apply` creates while no source topic tells.
    pub topic_partitions: i32,
    /// Replicas of topics that `apply` creates; −1 leaves it to the broker's default.
    pub topic_replication: i32,
    /// Cache of schemas.
    pub schemas: Arc<Schemas>,
    /// Metrics, health and events of this process.
    pub telemetry: Telemetry,
    /// The global tables. Filled in by the runtime.
    pub globals: Arc<GlobalState>,
    /// Who answers queries of the stores; `None` where nobody asks.
    pub queries: Option<Queries>,
    /// Whether dead letters of workers are the brokers' to write (KIP-1191), and not this process's.
    pub dead_letters_by_brokers: bool,
    /// The model of a cluster in which the loop is simulated; `None`: it runs against brokers.
    pub simulated: Option<Arc<dyn Cluster>>,
}
