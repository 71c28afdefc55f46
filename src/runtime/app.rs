//! An application: a topology with its options, run until it is told to stop.

use std::sync::Arc;
use std::thread;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::error::{Dependency, FatalError};
use crate::store::StateDirectory;
use crate::topology::Topology;

use super::environment::{Environment, Prepared, Problem};
use super::options::Options;
use super::queries::announce;
use super::stream_thread::StreamThread;
use super::watch::{Board, Watch};
use super::watchdog::Watchdog;

/// A topology, ready to run.
pub struct App {
    topology: Topology,
    options: Options,
}

impl App {
    /// Nothing is touched yet.
    pub fn new(topology: Topology, options: Options) -> Self {
        App { topology, options }
    }

    /// Runs until `shutdown` is cancelled and everything is committed and closed, or until nothing can go on.
    ///
    /// A cluster or registry that is away at the start is waited for; `/readyz` says so meanwhile.
    ///
    /// # Errors
    /// [`FatalError`]: what a human has to change.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), FatalError> {
        let App { topology, mut options } = self;
        options.kafka.observer = options.telemetry.wire();
        let directory = StateDirectory::open(&options.state_directory, &options.kafka.application_id);
        let directory = Arc::new(directory.map_err(|error| FatalError::Other {
            context: format!("state.directory: {} can't be used", options.state_directory.display()),
            source: error.into(),
        })?);
        let prepared = prepare(&topology, &options, &shutdown).await?;
        let Some(Prepared { max_record_bytes, clients }) = prepared else { return Ok(()) };
        options.kafka.max_record_bytes = options.kafka.max_record_bytes.min(max_record_bytes);
        options.clients = clients;
        run_threads(topology, options, directory, shutdown).await
    }
}

/// Checks the environment and binds the codecs, waiting for what is away; `None` when the shutdown came first.
async fn prepare(
    topology: &Topology,
    options: &Options,
    shutdown: &CancellationToken,
) -> Result<Option<Prepared>, FatalError> {
    let environment = Environment::new(topology.clone(), options.clone());
    let mut attempt = 0;
    loop {
        let result = tokio::select! {
            result = environment.prepare() => result,
            () = shutdown.cancelled() => return Ok(None),
        };
        match result {
            Ok(prepared) => {
                options.telemetry.dependency_back(&Dependency::Kafka);
                options.telemetry.dependency_back(&Dependency::SchemaRegistry);
                return Ok(Some(prepared));
            }
            Err(Problem::Fatal(error)) => return Err(error),
            Err(Problem::Away(away)) => {
                options.telemetry.dependency_away(&away.dependency, &away.reason);
                tokio::select! {
                    () = tokio::time::sleep(Backoff::DEPENDENCY.delay(attempt, fastrand::f64())) => {}
                    () = shutdown.cancelled() => return Ok(None),
                }
                attempt += 1;
            }
        }
    }
}

async fn run_threads(
    topology: Topology,
    options: Options,
    directory: Arc<StateDirectory>,
    shutdown: CancellationToken,
) -> Result<(), FatalError> {
    let threads = options.stream_threads;
    let stop = shutdown.child_token();
    let tokio = tokio::runtime::Handle::current();
    let (done, finished) = mpsc::channel(threads.max(1));
    let board = Board::default();
    Watch::start(&options, board.clone(), stop.clone())?;
    let announcing = announce(&topology, &options, stop.clone())?;
    for index in 0..threads {
        let (topology, options, directory) = (topology.clone(), options.clone(), Arc::clone(&directory));
        let (tokio, stop, done, board) = (tokio.clone(), stop.clone(), done.clone(), board.clone());
        let work = move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                StreamThread::start(index, topology, options, directory, board, &tokio, stop)?.run()
            }));
            let result = result.unwrap_or_else(|_| {
                let source = "a stream thread panicked; this is a defect in Headrace".into();
                Err(FatalError::Other { context: format!("stream thread {index}"), source })
            });
            // The receiver outlives all threads.
            _ = done.blocking_send(result);
        };
        let spawned = thread::Builder::new().name(format!("stream-thread-{index}")).spawn(work);
        spawned
            .map_err(|error| FatalError::Other { context: "starting a stream thread".into(), source: error.into() })?;
    }
    let watchdog = Watchdog::new(options.kafka.calls.clone(), options.kafka.transaction_timeout, options.telemetry);
    let ended = tokio::select! {
        ended = all_ended(finished, threads, &stop) => ended,
        // Its thread never ends; the others are told, and have as long as the process takes to go.
        stuck = watchdog.watch() => Err(stuck),
    };
    stop.cancel();
    announcing.ended().await;
    ended
}

/// Waits for all stream threads; the first that fails ends the others, and is told.
async fn all_ended(
    mut finished: mpsc::Receiver<Result<(), FatalError>>,
    threads: usize,
    stop: &CancellationToken,
) -> Result<(), FatalError> {
    let mut first_error = Ok(());
    for _ in 0..threads {
        // Never None: each thread sends exactly once.
        if let Some(Err(error)) = finished.recv().await {
            stop.cancel();
            first_error = first_error.and(Err(error));
        }
    }
    first_error
}
