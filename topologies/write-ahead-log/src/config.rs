//! The topology's own part of the configuration. What holds for a namespace is not here: it lies on a topic, and changes without a
//! restart.

use headrace::config::{ByteSize, Span};
use serde::Deserialize;

/// This topology's sections; those that every binary shares are apart.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Topics.
    pub topics: Topics,
    /// What holds for all namespaces.
    pub mutations: Mutations,
    /// What holds for all groups.
    pub groups: GroupsConfig,
    /// How targets are spoken with.
    pub targets: TargetsConfig,
    /// Mutations over HTTP.
    pub intake: IntakeConfig,
    /// Which of several regions this one is.
    pub region: RegionConfig,
}

/// Topics of this topology.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Topics {
    /// What is to be written. Topics whose names go on after it with a dot are read, too: one for each namespace that wants its own.
    pub mutations: String,
    /// What is to happen to mutations that wait.
    pub commands: String,
    /// Mutations that are applied together or not at all.
    pub groups: String,
    /// What has become of each group.
    pub group_results: String,
    /// The namespaces.
    pub namespaces: String,
    /// What has become of each mutation at each target.
    pub results: String,
    /// Mutations that were given up.
    pub exhausted: String,
    /// Mutations that lost against another region's.
    pub conflicts: String,
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

/// What holds for all groups.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GroupsConfig {
    /// How long the rest of a group is waited for.
    pub timeout: Span,
}

/// How targets are spoken with.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TargetsConfig {
    /// Addresses that each of a stream thread's lanes may be connected to.
    pub connections: usize,
}

/// Which of several regions this one is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RegionConfig {
    /// Its name, part of the versions of what is written here; empty where there is no other one.
    pub name: String,
}

/// Mutations over HTTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IntakeConfig {
    /// How long one may take until Kafka has it.
    pub timeout: Span,
    /// The largest body.
    pub max_body: ByteSize,
    /// The most mutations in one request.
    pub max_mutations: u32,
    /// Requests of one namespace at a time.
    pub requests: u32,
    /// What all bodies that are being worked on may have together.
    pub memory: ByteSize,
}

#[cfg(test)]
mod tests {
    use headrace::config::{Layers, Loaded};

    use crate::DEFAULTS;
    use crate::config::Config;
    use crate::targets::Options;

    /// Else one target that hangs would be a failure of the whole batch, which is sent again for as long as it takes.
    #[test]
    fn w8_a_lane_is_more_patient_than_any_target_and_a_transaction_more_than_several() {
        let Loaded { runtime, .. } = Layers::new(DEFAULTS).load::<Config>().unwrap();
        let lane = runtime.external.timeout.duration();
        assert!(lane > Options::LONGEST, "{lane:?}");
        let transaction = runtime.processing.transaction_timeout.duration();
        assert!(transaction / 2 > 2 * Options::LONGEST, "{transaction:?}");
    }
}
