//! Everything that the demo runs on, wired up: parts, two instances of the topology, the receiver.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chaos::queue::ground::{Ground, TOKEN};
use chaos::wal::receiver::{Manners, Receiver};
use chaos::wal::stores;
use testbed::{ScrapeTarget, Testbed, wait};

use super::mutations::set_namespaces;
use super::orders;
use super::regions::HERE;
use crate::Result;
use crate::application::Application;
use crate::progress::Progress;

/// The topology, and its application id.
const NAME: &str = "write-ahead-log";
/// Instances by name.
const INSTANCES: [&str; 2] = ["one", "two"];
/// One call of the receiver in so many fails.
const FAILS: u32 = 20;
/// Time for the broker to make its internal topics.
const APPLY_DEADLINE: Duration = Duration::from_secs(60);

/// The running whole. Fields are dropped in this order: the topology, then what it writes to.
pub(crate) struct Stage<'a> {
    pub(crate) instances: Vec<Application>,
    pub(crate) ground: Ground,
    pub(crate) receiver: Receiver,
    pub(crate) bed: &'a Testbed,
}

/// Starts the parts; the instances answer HTTP at the addresses that are returned, and Prometheus knows them.
pub(crate) fn parts() -> Result<(Testbed, [SocketAddr; 2])> {
    let addresses = [free_address()?, free_address()?];
    let targets = addresses.map(|address| ScrapeTarget::new(NAME, &address.to_string()));
    Ok((Testbed::builder().kafka().registry().redis().postgres().prometheus(&targets).start()?, addresses))
}

fn free_address() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, testbed::free_port()?)))
}

impl<'a> Stage<'a> {
    /// Runs the topology until both instances are ready.
    pub(crate) fn build(bed: &'a Testbed, addresses: [SocketAddr; 2], progress: &Progress) -> Result<Self> {
        progress.stage("starting write-ahead-log, twice, and the receiver");
        let dir = bed.dirs()?.root().join(NAME);
        std::fs::create_dir(&dir)?;
        stores::prepare(bed.postgres()?)?;
        let receiver = Receiver::start(Manners { seed: fastrand::u64(..), fails: FAILS, ..Manners::GOOD })?;
        let instance = |(name, address): (&str, SocketAddr)| {
            Application::new(NAME, configure(bed, &dir.join(name), name, address)?, address)
        };
        let mut instances = INSTANCES.into_iter().zip(addresses).map(instance).collect::<Result<Vec<_>>>()?;
        // A broker that was made a moment ago has no coordinators yet.
        wait::until("the topics", APPLY_DEADLINE, || instances[0].apply().map_err(|error| error.to_string()))?;
        let (servers, registry) = (bed.kafka()?.bootstrap_servers().to_owned(), bed.registry()?.url().to_owned());
        let ground = Ground { servers, registry, id: NAME.to_owned(), replication: 1 };
        set_namespaces(&ground, bed, &receiver)?;
        orders::prepare(&ground, bed)?;
        instances.iter_mut().try_for_each(Application::start)?;
        for instance in &mut instances {
            instance.wait_ready()?;
        }
        Ok(Stage { instances, ground, receiver, bed })
    }

    /// An error if somebody has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.instances.iter_mut().try_for_each(Application::check)
    }

    /// SIGTERM to the instances, one after the other.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.instances.iter_mut().try_for_each(Application::stop)
    }

    /// Where to look, for people.
    pub(crate) fn addresses(&self) -> Result<Vec<(&'static str, String)>> {
        let ([one, two], bed) = ([&self.instances[0], &self.instances[1]], self.bed);
        Ok(vec![
            ("status page", format!("http://{}/ and http://{}/", one.address(), two.address())),
            ("a mutation", format!("http://{}/v1/shop/status/<token>", one.address())),
            ("metrics", format!("http://{}/metrics", one.address())),
            ("receiver", self.receiver.url()),
            ("Prometheus", bed.prometheus()?.url().to_owned()),
            ("Kafka", self.ground.servers.clone()),
            ("schema registry", self.ground.registry.clone()),
            ("Redis", bed.redis()?.url().to_owned()),
            ("PostgreSQL", bed.postgres()?.url()),
            ("log", one.log().display().to_string()),
        ])
    }
}

/// Writes an instance's configuration file: what a user would write, and nothing else.
fn configure(bed: &Testbed, dir: &Path, name: &str, address: SocketAddr) -> Result<PathBuf> {
    std::fs::create_dir(dir)?;
    let token = dir.join("token");
    std::fs::write(&token, TOKEN)?;
    let text = format!(
        "# Stable over restarts, so that the second life takes over from the first at once.\n\
         instance-id = \"{name}\"\n\n\
         [kafka]\nbootstrap-servers = \"{}\"\n\n\
         [schema-registry]\nurl = \"{}\"\n\n\
         [internal-topics]\nreplication = 1\n\n\
         [state]\ndirectory = \"{}\"\n\n\
         [http]\nlisten = \"{address}\"\ntoken-file = \"{}\"\n\n\
         [region]\nname = \"{HERE}\"\n",
        bed.kafka()?.bootstrap_servers(),
        bed.registry()?.url(),
        dir.join("state").display(),
        token.display(),
    );
    let path = dir.join("config.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}
