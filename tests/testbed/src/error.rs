//! What can go wrong, worded so that the reader knows which part failed, where its log is and what mends it.
//!
//! A failed test is often read only as text in a CI log, therefore the end of a part's own log travels in the error.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a part could not be started, reached or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program or package is not installed; one line that names the command which mends it.
    #[error("testbed: {what} is missing; run: {command}")]
    Missing {
        /// The program or package.
        what: String,
        /// The shell command that installs it.
        command: String,
    },
    /// A part ended, or did not answer in time, while it was starting.
    #[error("{part} did not start: {reason}\n  log: {}\n{tail}", log.display())]
    Start {
        /// The part's name.
        part: &'static str,
        /// What the last try to reach it said.
        reason: String,
        /// The part's log file.
        log: PathBuf,
        /// The last lines of that file.
        tail: String,
    },
    /// The builder was not asked for this part.
    #[error("{0} is not part of this testbed; ask the builder for it")]
    NotStarted(&'static str),
    /// An operation needs a running process and there is none.
    #[error("{0} is not running")]
    NotRunning(&'static str),
    /// A condition did not come true in time.
    #[error("waited {waited:?} for {what}: {last}")]
    Timeout {
        /// The condition.
        what: String,
        /// How long.
        waited: Duration,
        /// What the last look said.
        last: String,
    },
    /// A command-line tool failed.
    #[error("{program} failed ({status}):\n{output}")]
    Tool {
        /// The program's name.
        program: String,
        /// Its exit status.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// An HTTP request failed or was refused.
    #[error("{request}: {reason}")]
    Http {
        /// Method and address.
        request: String,
        /// Status and body, or the transport's error.
        reason: String,
    },
    /// A fetched file is not the one that `artifacts.lock` names.
    #[error("{file}: sha256 is {got}, artifacts.lock says {want}")]
    Checksum {
        /// The file's name.
        file: String,
        /// What was found.
        got: String,
        /// What the lock file says.
        want: String,
    },
    /// A setting that has no meaning, for example a Kafka version that nobody has tried.
    #[error("{0}")]
    Setting(String),
    /// The file system said no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A signal asked the whole testbed to end while something was waited for.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Wraps an I/O error with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Wraps an I/O error with the path it is about.
    pub(crate) fn path(verb: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(format!("{verb} {}", path.display()))
    }
}
