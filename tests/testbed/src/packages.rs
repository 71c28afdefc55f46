//! Programs that come as Debian packages, and where to find them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;

use crate::error::{Error, Result};
use crate::process::{Launch, write};

/// Time for one run of apt-get.
const APT_DEADLINE: Duration = Duration::from_secs(900);

/// Where Debian puts PostgreSQL's server programs; they are not on the PATH.
const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";

/// A program and the Debian package that has it.
const PROGRAMS: [(&str, &str); 11] = [
    ("redis-server", "redis-server"),
    ("prometheus", "prometheus"),
    ("postgres", "postgresql-15"),
    ("initdb", "postgresql-15"),
    ("pgbench", "postgresql-15"),
    ("psql", "postgresql-client-15"),
    ("java", "openjdk-17-jre-headless"),
    ("mvn", "maven"),
    ("tar", "tar"),
    // For the certificates of brokers with TLS.
    ("openssl", "openssl"),
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
    dirs.into_iter().map(|dir| dir.join(program)).find(|path| is_executable(path)).ok_or_else(|| missing(program))
}

/// The package that has `program`.
pub(crate) fn package(program: &str) -> &str {
    PROGRAMS.iter().find(|(name, _)| *name == program).map_or(program, |(_, package)| package)
}

fn missing(program: &str) -> Error {
    let package = package(program);
    let sudo = if geteuid().is_root() { "" } else { "sudo " };
    Error::Missing { what: program.to_owned(), command: format!("{sudo}apt-get install -y {package}") }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Installs the packages of `programs` through apt, without starting the services that Debian would start.
///
/// # Errors
/// [`Error::Missing`] if we are not root or there is no apt, [`Error::Tool`] if apt fails.
pub(crate) fn install(programs: &BTreeSet<&str>) -> Result<()> {
    let first = programs.first().copied().unwrap_or_default();
    let Ok(apt) = find("apt-get") else {
        return Err(missing(first));
    };
    if !geteuid().is_root() {
        return Err(missing(first));
    }
    let packages: BTreeSet<&str> = programs.iter().map(|program| package(program)).collect();
    println!("testbed: installing {}", packages.iter().copied().collect::<Vec<_>>().join(" "));
    let _quiet = [
        // Debian's convention: 101 forbids a package's scripts to start its service.
        Temporary::write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)?,
        // Without it the package makes a cluster of its own. Removed afterwards like the other: then the defaults hold.
        Temporary::write("/etc/postgresql-common/createcluster.conf", "create_main_cluster = false\n", 0o644)?,
    ];
    let apt_get = Launch::new(&apt, Path::new("/")).env("DEBIAN_FRONTEND", "noninteractive");
    // Fails on a machine whose lists are up to date and whose mirror is away; the install says what matters.
    let _ = apt_get.clone().args(["-qq", "update"]).run(APT_DEADLINE);
    apt_get
        .args(["install", "-qq", "-y", "--no-install-recommends"])
        // A configuration file that is there already (ours, for PostgreSQL) is not a question.
        .args(["-o", "Dpkg::Options::=--force-confold"])
        .args(packages)
        .run(APT_DEADLINE)?;
    programs.iter().try_for_each(|program| find(program).map(drop))
}

/// A file that is there only while this lives, unless it was there before.
struct Temporary(Option<PathBuf>);

impl Temporary {
    fn write(path: &str, text: &str, mode: u32) -> Result<Self> {
        let path = PathBuf::from(path);
        if path.exists() {
            return Ok(Self(None));
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(Error::path("create", dir))?;
        }
        write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(Error::path("chmod", &path))?;
        Ok(Self(Some(path)))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // It may have been removed by the package itself.
            let _ = fs::remove_file(path);
        }
    }
}
