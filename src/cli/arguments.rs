//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::topology::Format;

/// A Headrace topology: consumes, processes and produces until it is told to stop.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
pub(super) struct Arguments {
    /// Configuration file (TOML); overrides the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Overrides one key, above file and environment: --set kafka.bootstrap-servers=host:9092
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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
