//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::topology::Format;

/// A Headrace topology: consumes, processes and produces until it is told to stop.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
pub(super) struct Arguments<O: Subcommand> {
    /// Configuration file (TOML); overrides the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Overrides one key, above file and environment: --set kafka.bootstrap-servers=host:9092
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    #[command(subcommand)]
    pub(super) command: Option<Command<O>>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command<O: Subcommand> {
    /// Run until SIGTERM (the default).
    Run,
    /// Print the topology.
    Describe {
        /// text, mermaid, dot or json
        #[arg(long, default_value = "text")]
        format: Format,
    },
    /// Check configuration, topology, topics and schemas.
    Validate {
        /// Ask neither the cluster nor the registry.
        #[arg(long)]
        offline: bool,
    },
    /// Create missing topics and register missing schemas.
    Apply {
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// The configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// What only this topology has.
    #[command(flatten)]
    Own(O),
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every key with its value; secrets as ***.
    Show {
        /// Say where each value comes from.
        #[arg(long)]
        origin: bool,
    },
}

/// The process's arguments under the topology's name, whatever the file is called.
pub(super) fn with_name(name: &'static str) -> impl Iterator<Item = OsString> {
    std::iter::once(OsString::from(name)).chain(std::env::args_os().skip(1))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use clap::CommandFactory as _;

    use super::*;

    #[derive(Debug, Subcommand)]
    enum Own {
        /// A command of one topology.
        Greet {
            /// Whom.
            whom: String,
        },
    }

    #[test]
    fn a_topologys_own_command_stands_beside_the_common_ones_and_has_their_flags() {
        let parsed = Arguments::<Own>::try_parse_from(["t", "greet", "--set", "a=b", "world"]).unwrap();
        assert!(matches!(parsed.command, Some(Command::Own(Own::Greet { whom })) if whom == "world"));
        assert_eq!(parsed.set, ["a=b"]);
        let parsed = Arguments::<Own>::try_parse_from(["t", "--config", "c.toml", "apply", "--dry-run"]).unwrap();
        assert!(matches!(parsed.command, Some(Command::Apply { dry_run: true })));
        Arguments::<Own>::command().debug_assert();
    }

    #[test]
    fn a_topology_without_commands_of_its_own_has_the_common_ones() {
        Arguments::<Infallible>::command().debug_assert();
        assert!(Arguments::<Infallible>::try_parse_from(["t"]).unwrap().command.is_none());
        assert!(Arguments::<Infallible>::try_parse_from(["t", "greet"]).is_err());
    }
}
