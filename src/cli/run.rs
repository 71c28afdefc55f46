//! `run`: the application, its HTTP server, and the signals that end them.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::RuntimeConfig;
use crate::error::{Dependency, FatalError};
use crate::runtime::{App, Options, Queries};
use crate::store::StoreKind;
use crate::telemetry::{HttpServer, Site, Telemetry, TopologyDescription};
use crate::topology::{Format, Topology};

use super::routes::{Built, Host, OwnRoutes};
use super::{allocator, leave, options};

/// Threads of tokio: HTTP, registry, lanes; the records are processed elsewhere.
const TOKIO_THREADS: usize = 2;
/// What is granted beyond the shutdown's deadline before the process leaves all the same.
const OVERTIME: Duration = Duration::from_secs(2);

pub(super) fn tokio() -> Result<Runtime, FatalError> {
    let runtime = Builder::new_multi_thread().worker_threads(TOKIO_THREADS).enable_all().build();
    runtime.map_err(|error| FatalError::Other { context: "starting tokio".into(), source: error.into() })
}

pub(super) fn run(
    name: &'static str,
    config: &RuntimeConfig,
    topology: Topology,
    routes: Option<OwnRoutes>,
) -> Result<ExitCode, FatalError> {
    config.init_log()?;
    allocator::bound_arenas(config.processing.stream_threads);
    let telemetry = config.telemetry()?;
    let mut options = options::from_config(config, &topology, telemetry.clone())?;
    let version = env!("CARGO_PKG_VERSION");
    telemetry.starting(name, version, &config.application_id, &config.instance());
    expect_dependencies(&telemetry, &topology, options.registry.is_some());
    let runtime = tokio()?;
    let deadline = options.shutdown_deadline;
    let site = site(name, version, config, &topology);
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let server = HttpServer::bind(config.http.listen, site, telemetry.clone()).await?;
        tracing::info!(target: "headrace", address = %server.address(), "status page at http://{}/", server.address());
        let queries = Queries::new(&topology, &options, config.http.advertised(server.address()))?;
        let mut server = server.waiting((queries.routes(), Queries::LONGEST), config.http.state_bearer());
        if let Some(routes) = routes {
            server = with_own(server, routes, config, &options, &queries)?;
        }
        options.queries = Some(queries);
        let pages = CancellationToken::new();
        let serving = tokio::spawn(server.run(pages.clone()));
        stop_on_signals(shutdown.clone(), telemetry.clone(), deadline)?;
        let app = App::new(topology, options);
        let ended = with_deadline(app.run(shutdown.clone()), shutdown, deadline, &telemetry).await;
        pages.cancel();
        // The pages have nothing to lose; their own drain is bounded.
        _ = serving.await;
        ended
    });
    // Blocking calls that outlive the deadline must not hold the exit.
    runtime.shutdown_timeout(Duration::from_millis(500));
    if let Err(error) = &result {
        telemetry.fatal(error);
    }
    result
}

fn with_own(
    mut server: HttpServer,
    routes: OwnRoutes,
    config: &RuntimeConfig,
    options: &Options,
    queries: &Queries,
) -> Result<HttpServer, FatalError> {
    let (kafka, registry, state_token) = (options.kafka.clone(), options.registry.clone(), config.http.state_bearer());
    let host = Host { kafka, registry, queries: queries.clone(), state_token };
    let Built { changing, reading } = routes.build(&host)?;
    if let Some(changing) = changing {
        server = server.changing(changing, config.http.bearer());
    }
    if let Some(reading) = reading {
        server = server.waiting(reading, config.http.state_bearer());
    }
    Ok(server)
}

async fn with_deadline(
    app: impl Future<Output = Result<(), FatalError>>,
    shutdown: CancellationToken,
    deadline: Duration,
    telemetry: &Telemetry,
) -> Result<ExitCode, FatalError> {
    let mut asked = None;
    let overdue = async {
        shutdown.cancelled().await;
        asked = Some(Instant::now());
        tokio::time::sleep(deadline + OVERTIME).await;
    };
    tokio::select! {
        ended = app => {
            ended?;
        }
        () = overdue => {
            telemetry.shutdown_overdue("the stream threads", deadline + OVERTIME);
            leave::at_once(1);
        }
    }
    telemetry.shutdown_done(asked.map_or(Duration::ZERO, |asked| asked.elapsed()));
    Ok(ExitCode::SUCCESS)
}

/// The first SIGTERM or SIGINT asks to stop; a second one ends the process, which is safe like any kill.
fn stop_on_signals(shutdown: CancellationToken, telemetry: Telemetry, deadline: Duration) -> Result<(), FatalError> {
    let failed =
        |error: std::io::Error| FatalError::Other { context: "listening to signals".into(), source: error.into() };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if shutdown.is_cancelled() {
                leave::at_once(1);
            }
            telemetry.shutdown_requested(name, deadline);
            shutdown.cancel();
        }
    });
    Ok(())
}

fn expect_dependencies(telemetry: &Telemetry, topology: &Topology, registry: bool) {
    telemetry.dependency_expected(&Dependency::Kafka);
    if registry {
        telemetry.dependency_expected(&Dependency::SchemaRegistry);
    }
    for external in topology.externals() {
        telemetry.dependency_expected(&Dependency::External(external.name.clone()));
    }
}

fn site(name: &str, version: &str, config: &RuntimeConfig, topology: &Topology) -> Site {
    let describe = |format| topology.describe().render(format);
    Site {
        name: name.to_owned(),
        version: version.to_owned(),
        application_id: config.application_id.clone(),
        instance_id: config.instance(),
        topology: TopologyDescription {
            text: describe(Format::Text),
            mermaid: describe(Format::Mermaid),
            dot: describe(Format::Dot),
            json: describe(Format::Json),
        },
        stores: queryable(topology),
    }
}

/// The stores that `/state` answers for.
fn queryable(topology: &Topology) -> Vec<String> {
    let on_disk = topology.stores().iter().filter(|store| store.spec.kind == StoreKind::Rocks);
    on_disk.map(|store| store.spec.name.clone()).collect()
}
