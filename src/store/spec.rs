//! What a store is declared as: its name, its kind and whether a changelog backs it.
//!
//! The declaration is apart from the data, because topologies are built and described where no state is open.

/// Where a store keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreKind {
    /// On disk, in the task's RocksDB; survives the process.
    Rocks,
    /// In memory, ordered; filled from its changelog each time the task is opened.
    Memory,
}

impl StoreKind {
    /// Its name in `describe` and metrics.
    pub fn name(self) -> &'static str {
        match self {
            StoreKind::Rocks => "rocks",
            StoreKind::Memory => "memory",
        }
    }
}

/// A store's number: its place among all stores of the topology, in the order of declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreIndex(pub usize);

/// A declared store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSpec {
    /// Its number in the topology. A task's stores need not be numbered without gaps: they are those of one sub-topology.
    pub index: StoreIndex,
    /// Its name, unique in the topology; the column family and the changelog topic are named after it.
    pub name: String,
    /// Where the data is.
    pub kind: StoreKind,
    /// Whether each write is produced to a changelog topic too.
    pub changelog: bool,
}
