//! An application: a topology with its options, run until it is told to stop.

use std::sync::Arc;
use std::thread;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::error::{Dependency, FatalError};
use crate::processor::OwnTopics;
use crate::store::StateDirectory;
use crate::topology::Topology;

use super::environment::{Environment, Prepared, Problem};
use super::globals::Globals;
use super::implementation::Implementation;
use super::options::Options;
use super::own_topics::ClusterTopics;
use super::purge;
use super::queries::announce;
use super::stream_thread::StreamThread;
use super::watch::{Board, Watch};
use super::watchdog::Watchdog;
use super::workers::Workers;

/// A topology, ready to run.
pub struct App {
    topology: Topology,
    options: Options,
}

impl App {
    /// Nothing is touched yet.
    pub fn new(topology: Topology, options: Options) -> Self {
        App { topology: topology.of_application(&options.kafka.application_id), options }
    }

    /// Runs until `shutdown` is cancelled and everything is committed and closed, or until nothing can go on.
    ///
    /// A cluster or registry that is away at the start is waited for; `/readyz` says so meanwhile.
    ///
    /// # Errors
    /// [`FatalError`]: what a human has to change.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), FatalError> {
        let App { topology, mut options } = self;
        options.kafka.check()?;
        options.kafka.observer = options.telemetry.wire();
        if options.standbys > 0 && options.queries.is_none() {
            let text = "processing.standbys: the instances know of each other by what they announce for queries, and there are none";
            return Err(FatalError::Config(text.to_owned()));
        }
        options.kafka.co_partitioned |= topology.is_co_partitioned();
        options.kafka.read_whole = topology.read_whole().map(str::to_owned).collect();
        let directory = Arc::new(state_directory(&options)?);
        let prepared = prepare(&topology, &options, &shutdown).await?;
        let Some(Prepared { max_record_bytes, clients }) = prepared else { return Ok(()) };
        options.kafka.max_record_bytes = options.kafka.max_record_bytes.min(max_record_bytes);
        options.clients = clients;
        check_start(&options)?;
        let topics: Arc<dyn OwnTopics> = Arc::new(ClusterTopics::new(&topology, &options.kafka));
        topology.externals().iter().for_each(|external| external.target.bind(&topics));
        run_threads(topology, options, directory, shutdown).await
    }
}

/// librdkafka has one answer for all topics to where a partition without a position begins.
fn check_start(options: &Options) -> Result<(), FatalError> {
    let kafka = &options.kafka;
    if options.clients.fetcher == Implementation::Librdkafka && !kafka.from_beginning && !kafka.read_whole.is_empty() {
        return Err(FatalError::Config(format!(
            "processing.start: latest: {} has to be read from its beginning, which librdkafka can't do beside it; set \
             earliest, or processing.fetcher to native",
            kafka.read_whole[0]
        )));
    }
    Ok(())
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

/// Runs one stream thread on the caller's thread, with nothing beside it.
pub(crate) fn run_stream_thread(
    topology: &Topology,
    options: Options,
    index: usize,
    tokio: &tokio::runtime::Handle,
    shutdown: CancellationToken,
) -> Result<(), FatalError> {
    let directory = Arc::new(state_directory(&options)?);
    StreamThread::start(index, topology.clone(), options, directory, Board::default(), tokio, shutdown)?.run()
}

fn state_directory(options: &Options) -> Result<StateDirectory, FatalError> {
    let directory = StateDirectory::open(&options.state_directory, &options.kafka.application_id);
    directory.map_err(|error| FatalError::Other {
        context: format!("state.directory: {} can't be used", options.state_directory.display()),
        source: error.into(),
    })
}

async fn run_threads(
    topology: Topology,
    mut options: Options,
    directory: Arc<StateDirectory>,
    shutdown: CancellationToken,
) -> Result<(), FatalError> {
    let stop = shutdown.child_token();
    // However this ends, the threads beside do, too.
    let stops = stop.clone().drop_guard();
    let mut globals = Globals::start(&topology, &mut options, &directory, &stop).await?;
    let ended = run_above(&mut globals, topology, options, directory, stop).await;
    drop(stops);
    globals.closed().await;
    ended
}

/// What runs above the global tables, once they have been read.
async fn run_above(
    globals: &mut Globals,
    topology: Topology,
    options: Options,
    directory: Arc<StateDirectory>,
    stop: CancellationToken,
) -> Result<(), FatalError> {
    if !globals.ready(&stop).await? {
        return Ok(());
    }
    // Without a source there is nothing to be a member for.
    let threads = if topology.sources().is_empty() { 0 } else { options.stream_threads };
    let tokio = tokio::runtime::Handle::current();
    let (done, finished) = mpsc::channel(threads.max(1));
    if let Some(queries) = &options.queries {
        queries.has_globals(&options.globals);
    }
    let board = Board::default();
    Watch::start(&options, board.clone(), stop.clone())?;
    purge::start(&topology, &options, board.clone(), stop.clone())?;
    let announcing = announce(&topology, &options, stop.clone())?;
    let mut workers = Workers::start(&topology, &options, &stop)?;
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
        ended = async {
            let (threads, workers) = tokio::join!(all_ended(finished, threads, &stop), workers.ended(&stop));
            threads.and(workers)
        } => ended,
        failed = globals.failed() => Err(failed),
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
