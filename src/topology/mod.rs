//! The declared graph: what a topology consists of, checked before anything touches the network.
//!
//! [`Builder`] collects sources, stores, tables, processors, repartitions, workers, sinks and external sinks through typed handles;
//! [`Builder::build`] checks the whole and gives a [`Topology`], a value that can be described, driven without a broker, or run.

mod builder;
mod checks;
mod describe;
mod error;
mod graph;
mod repartition;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod topics;
mod workers;

pub use builder::{Builder, Stream};
pub use describe::{Description, Format, GlobalTableDescription, NodeDescription, SubTopologyDescription};
pub use error::Error;
pub use graph::{CodecUse, ExternalSpec, SourceSpec, StoreDeclaration, Subject, SubjectPart, Topology};
pub use repartition::Repartition;
pub use table::GlobalDeclaration;
pub use topics::Topics;
pub use workers::WorkersSpec;
