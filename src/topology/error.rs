//! What is wrong with a declared graph.

/// A mistake in a topology, found before any network I/O. The text names the node and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name is used twice, or is not kebab-case.
    #[error("topology {topology}: {node}: {reason}")]
    Node {
        /// The topology.
        topology: String,
        /// Node or store.
        node: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Several at once.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<Error>),
}
