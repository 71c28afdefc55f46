//! Everything that the demo runs on, wired up: parts, shop, connector, topology.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use testbed::{DebeziumPostgres, Format, ScrapeTarget, Testbed, wait};
use tokio::runtime::Runtime;

use crate::Result;
use crate::application::Application;
use crate::cache::{Cache, NAMESPACE};
use crate::database::{Database, TABLES};
use crate::invalidations::Invalidations;
use crate::progress::Progress;
use crate::verdict::Verdict;

/// First part of Debezium's topics; the topology's default pattern is made for it.
const PREFIX: &str = "shop";
/// Partitions of each of them.
const PARTITIONS: &str = "4";
/// The connector's name, slot and publication.
const CONNECTOR: &str = "shop";
/// Time for the connector to start, and for its first records.
const CONNECTOR_DEADLINE: Duration = Duration::from_secs(60);
/// Time for everything committed to arrive in the cache.
const SETTLE_DEADLINE: Duration = Duration::from_secs(120);

/// The running whole. Fields are dropped in this order: the topology before the parts that it uses.
pub(crate) struct Stage<'a> {
    pub(crate) application: Application,
    pub(crate) database: Database<'a>,
    pub(crate) cache: Cache,
    pub(crate) invalidations: Invalidations,
    pub(crate) bed: &'a Testbed,
}

/// Starts the parts; the topology answers HTTP at the address that is returned, and Prometheus knows it.
pub(crate) fn parts() -> Result<(Testbed, SocketAddr)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, testbed::free_port()?));
    let target = ScrapeTarget::new("cdc-invalidation", &address.to_string());
    let builder = Testbed::builder().kafka().registry().redis().postgres().connect().prometheus(&[target]);
    Ok((builder.start()?, address))
}

impl<'a> Stage<'a> {
    /// Makes the shop, has it captured, and runs the topology until all rows are in the cache.
    pub(crate) fn build(
        bed: &'a Testbed,
        address: SocketAddr,
        runtime: &'a Runtime,
        progress: &Progress,
    ) -> Result<Self> {
        progress.stage("filling the shop and taking Debezium's snapshot");
        let database = Database::create(bed.postgres()?, runtime)?;
        capture(bed)?;
        let invalidations = Invalidations::connect(bed.kafka()?.bootstrap_servers())?;
        // Before `apply`, which makes the changelog as wide as the topics that are there.
        wait::until("Debezium's topics", CONNECTOR_DEADLINE, || match invalidations.topics(&topics()) {
            Ok(found) if found == TABLES.len() => Ok(()),
            other => Err(format!("{other:?} of {}", TABLES.len())),
        })?;
        progress.stage("starting cdc-invalidation");
        let config = configure(bed, address)?;
        let mut application = Application::new("cdc-invalidation", config, address)?;
        application.apply()?;
        application.start()?;
        application.wait_ready()?;
        let cache = Cache::connect(bed.redis()?.url())?;
        Ok(Stage { application, database, cache, invalidations, bed })
    }

    /// Waits until all that was committed before this call has arrived. Then nothing is on its way any more: Debezium has
    /// delivered every partition up to the markers, and the topology has committed all that Debezium delivered.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.database.change_markers()?;
        let Stage { application, database, cache, invalidations, .. } = self;
        let settled = wait::until("the cache to follow the database", SETTLE_DEADLINE, || {
            if let Err(error) = application.check() {
                return Ok(Err(error));
            }
            let markers = Verdict::of_markers(database, cache).map_err(|error| error.to_string())?;
            let left = invalidations.uncommitted(&topics()).map_err(|error| error.to_string())?;
            if markers.is_clean() && left == 0 {
                return Ok(Ok(()));
            }
            let first = markers.examples.first().map(String::as_str).unwrap_or_default();
            Err(format!(
                "{left} records to go, {} of {} markers missing\n{first}",
                markers.lost + markers.stale,
                markers.rows
            ))
        });
        match settled {
            Ok(outcome) => outcome,
            Err(error) => Err(error.into()),
        }
    }

    /// Records of row changes that the topology has not committed yet.
    pub(crate) fn lag(&self) -> Result<u64> {
        self.invalidations.uncommitted(&topics())
    }

    /// Where to look, for people.
    pub(crate) fn addresses(&self) -> Result<Vec<(&'static str, String)>> {
        let (bed, address) = (self.bed, self.application.address());
        Ok(vec![
            ("status page", format!("http://{address}/")),
            ("metrics", format!("http://{address}/metrics")),
            ("Prometheus", bed.prometheus()?.url().to_owned()),
            ("Kafka", bed.kafka()?.bootstrap_servers().to_owned()),
            ("schema registry", bed.registry()?.url().to_owned()),
            ("Kafka Connect", bed.connect()?.rest_url().to_owned()),
            ("Redis", bed.redis()?.url().to_owned()),
            ("PostgreSQL", bed.postgres()?.url()),
            ("log", self.application.log().display().to_string()),
        ])
    }
}

/// What the names of Debezium's topics start with.
fn topics() -> String {
    format!("{PREFIX}.public.")
}

/// Creates the connector and waits until it runs.
fn capture(bed: &Testbed) -> Result<()> {
    let settings = [
        ("topic.creation.default.partitions", PARTITIONS),
        // See `database`: so that "equal" is exact.
        ("decimal.handling.mode", "string"),
        // Truncates too; they are fences over a whole table.
        ("skipped.operations", "none"),
        // It waits that long after each look that found nothing; half a second by default.
        ("poll.interval.ms", "10"),
    ];
    let connector = DebeziumPostgres {
        postgres: bed.postgres()?,
        topic_prefix: PREFIX.to_owned(),
        tables: TABLES.iter().map(|table| format!("public.{}", table.name)).collect(),
        slot: CONNECTOR.to_owned(),
        format: Format::Json { schemas: false },
        extra: settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
    };
    let connect = bed.connect()?;
    connect.create_connector(CONNECTOR, &connector.config())?;
    Ok(connect.wait_running(CONNECTOR, CONNECTOR_DEADLINE)?)
}

/// Writes the topology's configuration file: what a user would write, and nothing else.
fn configure(bed: &Testbed, address: SocketAddr) -> Result<PathBuf> {
    let dir = bed.dirs()?.root().join("cdc-invalidation");
    std::fs::create_dir(&dir)?;
    let text = format!(
        "# Stable over restarts, so that the second life takes over from the first at once.\n\
         instance-id = \"demo\"\n\n\
         [kafka]\nbootstrap-servers = \"{}\"\n\
         \n\
         [schema-registry]\nurl = \"{}\"\n\n\
         [internal-topics]\nreplication = 1\n\n\
         [cdc]\nmode = \"write-through\"\n\n\
         [redis]\nurl = \"{}\"\nnamespace = \"{NAMESPACE}\"\n\n\
         [state]\ndirectory = \"{}\"\n\n\
         [http]\nlisten = \"{address}\"\n",
        bed.kafka()?.bootstrap_servers(),
        bed.registry()?.url(),
        bed.redis()?.url(),
        dir.join("state").display(),
    );
    let path = dir.join("config.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}
