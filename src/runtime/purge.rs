//! Deletes from repartition topics what is processed and committed, so that they do not grow: nobody else reads them, and
//! retention must not take from them what is not processed yet.
//!
//! Once per interval, on a thread of its own: it asks the group for its positions, and has the brokers delete what is before
//! them. Nothing waits for it. Where it may not, or a broker is away, the records stay until a later time.

use std::thread;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::error::FatalError;
use crate::kafka::Purger;
use crate::position::TopicPartition;
use crate::topology::Topology;

use super::options::Options;
use super::watch::Board;

/// How soon a stop is noticed.
const STEP: Duration = Duration::from_millis(500);

/// Starts the thread, if there is anything to delete from; it ends soon after `stop`.
pub(super) fn start(
    topology: &Topology,
    options: &Options,
    board: Board,
    stop: CancellationToken,
) -> Result<(), FatalError> {
    if topology.repartitions().is_empty() {
        return Ok(());
    }
    let mut purge = Purge {
        purger: Purger::new(&options.kafka)?,
        topology: topology.clone(),
        options: options.clone(),
        board,
        warned: false,
    };
    let work = move || {
        let mut due = Instant::now() + purge.options.purge_interval;
        while !stop.is_cancelled() {
            let left = due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                thread::park_timeout(left.min(STEP));
                continue;
            }
            purge.turn();
            due = Instant::now() + purge.options.purge_interval;
        }
    };
    let spawned = thread::Builder::new().name("purge".to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| FatalError::Other { context: "starting a thread".into(), source: error.into() })
}

struct Purge {
    purger: Purger,
    topology: Topology,
    options: Options,
    board: Board,
    /// Whether the log says already that it fails.
    warned: bool,
}

impl Purge {
    fn turn(&mut self) {
        // Each instance looks after what it processes: together that is all of it.
        let between: Vec<TopicPartition> =
            self.board.inputs().into_iter().filter(|at| self.topology.is_between(&at.topic)).collect();
        if between.is_empty() {
            return;
        }
        match self.purger.purge(&between) {
            Ok(offsets) => {
                self.warned = false;
                self.options.telemetry.metrics.purged.with([]).inc_by(offsets);
            }
            Err(error) if !std::mem::replace(&mut self.warned, true) => tracing::warn!(
                target: "headrace::runtime", event = "purging-failed", %error,
                "what is processed of the repartition topics is not deleted; they need the right Delete, and grow until then"
            ),
            Err(error) => tracing::debug!(target: "headrace::runtime", %error, "purging failed"),
        }
    }
}
