//! Programs that come as Debian packages, and where to find them.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where Debian puts PostgreSQL's server programs; they are not on the PATH.
const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";

/// A program and the Debian package that has it.
const PROGRAMS: [(&str, &str); 10] = [
    ("redis-server", "redis-server"),
    ("prometheus", "prometheus"),
    ("postgres", "postgresql-15"),
    ("initdb", "postgresql-15"),
    ("pgbench", "postgresql-15"),
    ("psql", "postgresql-client-15"),
    ("java", "openjdk-17-jre-headless"),
    ("mvn", "maven"),
    ("tar", "tar"),
    ("promtool", "prometheus"),
];

/// The path of a program.
///
/// # Errors
/// [`Error::Missing`]: one line with the command that installs it.
pub(crate) fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // First: /usr/bin has a wrapper for psql that looks for Debian's own clusters.
    dirs.insert(0, PathBuf::from(POSTGRES_BIN));
    dirs.into_iter()
        .map(|dir| dir.join(program))
        .find(|path| is_executable(path))
        .ok_or_else(|| missing(program))
}

/// The package that has `program`.
pub(crate) fn package(program: &str) -> &str {
    PROGRAMS
        .iter()
        .find(|(name, _)| *name == program)
        .map_or(program, |(_, package)| package)
}

fn missing(program: &str) -> Error {
    let package = package(program);
    let sudo = if nix::unistd::geteuid().is_root() {
        ""
    } else {
        "sudo "
    };
    Error::Missing {
        what: program.to_owned(),
        command: format!("{sudo}apt-get install -y {package}"),
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
