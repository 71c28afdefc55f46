//! One stream thread of the real loop, on the thread of whoever calls: the way into a simulation of it.

use tokio_util::sync::CancellationToken;

use super::driver::bind;
use crate::error::FatalError;
use crate::runtime::{Options, run_stream_thread};
use crate::topology::Topology;

/// Runs one stream thread until the shutdown is asked for or nothing can go on, as [`App`](crate::runtime::App) does on
/// threads of its own. [`Options::simulated`] says what it asks instead of brokers, and the thread's
/// [clock](crate::clock) may be a simulated one.
///
/// # Errors
/// What would end the application.
pub fn stream_thread(
    topology: &Topology,
    options: Options,
    thread: usize,
    tokio: &tokio::runtime::Handle,
    shutdown: CancellationToken,
) -> Result<(), FatalError> {
    let bound = bind(topology, &options.schemas);
    bound.map_err(|error| FatalError::Other { context: "binding the codecs".into(), source: error.into() })?;
    run_stream_thread(topology, options, thread, tokio, shutdown)
}
