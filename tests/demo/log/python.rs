//! `topologies/write-ahead-log/examples/put.py`, which writes some mutations over HTTP and asks what has become of them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use chaos::queue::ground::TOKEN;
use chaos::wal::plan::value;
use chaos::wal::settings::NAMESPACE;

use crate::Result;

/// Its keys begin with it.
pub(crate) const PREFIX: &str = "py-";
/// How many it writes.
const MUTATIONS: usize = 5;

/// What it has written.
#[derive(Debug, Default)]
pub(crate) struct ByPython {
    /// Tokens of its mutations: it makes them itself.
    pub(crate) tokens: Vec<String>,
    /// Its keys, and the token that each one's value holds.
    pub(crate) values: Vec<(String, String)>,
}

/// Runs it, until all that it writes is in the log.
pub(crate) fn put(instance: SocketAddr) -> Result<ByPython> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topologies/write-ahead-log/examples/put.py");
    let values: Vec<(String, String)> = (0..MUTATIONS).map(|at| (format!("{PREFIX}{at}"), format!("p{at}"))).collect();
    let mut command = Command::new("python3");
    command.arg(path).arg(format!("http://{instance}")).arg(NAMESPACE).env("WAL_TOKEN", TOKEN);
    command.args(values.iter().map(|(key, token)| format!("{key}={}", value(token))));
    let output = command.output().map_err(|error| format!("{error}; put.py needs Python 3"))?;
    let told = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("put.py ended with {}\n{told}{errors}", output.status).into());
    }
    let tokens = told.lines().filter_map(|line| line.strip_suffix(" succeeded")).map(str::to_owned).collect();
    Ok(ByPython { tokens, values })
}
