//! The topology's own part of the configuration. What holds for a namespace is not here: it lies on a topic, and changes without a
//! restart.

use headrace::config::Span;
use serde::Deserialize;

/// This topology's sections; those that every binary shares are apart.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Topics.
    pub topics: Topics,
    /// What holds for all namespaces.
    pub mutations: Mutations,
    /// How targets are spoken with.
    pub targets: TargetsConfig,
}

/// Topics of this topology.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Topics {
    /// What is to be written. Topics whose names go on after it with a dot are read, too: one for each namespace that wants its own.
    pub mutations: String,
    /// What is to happen to mutations that wait.
    pub commands: String,
    /// The namespaces.
    pub namespaces: String,
    /// What has become of each mutation at each target.
    pub results: String,
    /// Mutations that were given up.
    pub exhausted: String,
    /// What can't be read, or is of no namespace.
    pub dead_letters: String,
}

/// What holds for all namespaces.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mutations {
    /// How exact times are kept.
    pub tick: Span,
}

/// How targets are spoken with.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TargetsConfig {
    /// Addresses that each of a stream thread's lanes may be connected to.
    pub connections: usize,
}
