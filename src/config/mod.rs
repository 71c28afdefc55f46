//! Configuration: defaults < TOML file < environment < flags, typed, and wrong ones refused before any connection.
//!
//! A mistake in a configuration shows itself at three in the morning unless it is refused at the start; so every key is
//! known, every unit is written, and every message has place, key, reason and way out.
//!
//! ```text
//! runtime-defaults.toml < the topology's default.toml < --config FILE < HEADRACE__SECTION__KEY < --set section.key=value
//!            └───────────────────┴──────────── Layers ────┴───────────────────┴─────────────────────────┘
//!                                                │ load::<T>()
//!                          Loaded { runtime: RuntimeConfig, topology: T, document: Document (show --origin) }
//! ```

mod de;
mod document;
mod kafka;
mod layers;
mod problem;
mod properties;
mod runtime;
mod source;
#[cfg(test)]
mod tests;
mod validate;
mod value;

pub use document::Document;
pub use kafka::{GroupProtocol, KafkaConfig, SaslMechanism, SecurityProtocol};
pub use layers::{Layers, Loaded};
pub use problem::{KeyPath, Origin, Problem};
pub use properties::Properties;
pub use runtime::{
    ClientKind, Compression, DeadLettersConfig, ExternalConfig, Guarantee, HealthConfig, HttpConfig,
    InternalTopicsConfig, LogConfig, LogFormat, MemoryConfig, MetricsConfig, PROCESS_BYTES, PRODUCER_BYTES,
    ProcessingConfig, RUNTIME_DEFAULTS, RuntimeConfig, SchemaRegistryConfig, ShutdownConfig, Start, StateConfig,
};
pub(crate) use validate::is_address;
pub use value::{ByteSize, Secret, Span};
