//! Everything that the demo runs on, wired up: parts, two instances of the topology, handlers.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chaos::queue::ground::{Ground, TOKEN};
use testbed::{ScrapeTarget, Testbed, wait};

use super::python::Python;
use crate::Result;
use crate::application::Application;
use crate::progress::Progress;

/// The topology, and its application id.
const NAME: &str = "task-queue";
/// Instances by name.
const INSTANCES: [&str; 2] = ["one", "two"];
/// Scripts that ask; what they do takes three seconds.
const WORKERS: usize = 3;
/// Time for the broker to make its internal topics.
const APPLY_DEADLINE: Duration = Duration::from_secs(60);
/// Time for a script to listen.
const HANDLER_DEADLINE: Duration = Duration::from_secs(20);

/// The running whole. Fields are dropped in this order: the handlers, the topology, then the parts that it uses.
pub(crate) struct Stage<'a> {
    scripts: Vec<Python>,
    pub(crate) instances: Vec<Application>,
    pub(crate) ground: Ground,
    handler: SocketAddr,
    bed: &'a Testbed,
}

/// Starts the parts; the instances answer HTTP at the addresses that are returned, and Prometheus knows them.
pub(crate) fn parts() -> Result<(Testbed, [SocketAddr; 2])> {
    let addresses = [free_address()?, free_address()?];
    let targets = addresses.map(|address| ScrapeTarget::new(NAME, &address.to_string()));
    Ok((Testbed::builder().kafka().registry().prometheus(&targets).start()?, addresses))
}

fn free_address() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, testbed::free_port()?)))
}

impl<'a> Stage<'a> {
    /// Runs the topology and its handlers until all are ready.
    pub(crate) fn build(bed: &'a Testbed, addresses: [SocketAddr; 2], progress: &Progress) -> Result<Self> {
        progress.stage("starting task-queue, twice, and its handlers");
        let (dir, handler) = (bed.dirs()?.root().join(NAME), free_address()?);
        std::fs::create_dir(&dir)?;
        let instance = |(name, address): (&str, SocketAddr)| {
            Application::new(NAME, configure(bed, &dir.join(name), name, address, handler)?, address)
        };
        let mut instances = INSTANCES.into_iter().zip(addresses).map(instance).collect::<Result<Vec<_>>>()?;
        // A broker that was made a moment ago has no coordinators yet.
        wait::until("the topics and groups", APPLY_DEADLINE, || {
            instances[0].apply().map_err(|error| error.to_string())
        })?;
        instances.iter_mut().try_for_each(Application::start)?;
        let mut scripts = vec![Python::start("handler.py", &[handler.port().to_string()], &[], &dir)?];
        let asked = addresses.iter().map(|address| format!("http://{address}"));
        let asked: Vec<String> = ["reports".to_owned()].into_iter().chain(asked).collect();
        for _ in 0..WORKERS {
            scripts.push(Python::start("worker.py", &asked, &[("TASK_QUEUE_TOKEN", TOKEN)], &dir)?);
        }
        for instance in &mut instances {
            instance.wait_ready()?;
        }
        wait::until("handler.py to listen", HANDLER_DEADLINE, || {
            TcpStream::connect(handler).map(drop).map_err(|error| error.to_string())
        })?;
        let (servers, registry) = (bed.kafka()?.bootstrap_servers().to_owned(), bed.registry()?.url().to_owned());
        let ground = Ground { servers, registry, id: NAME.to_owned(), replication: 1 };
        Ok(Stage { scripts, instances, ground, handler, bed })
    }

    /// An error if somebody has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.instances.iter_mut().try_for_each(Application::check)?;
        self.scripts.iter_mut().try_for_each(Python::check)
    }

    /// SIGTERM to the instances, one after the other.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.instances.iter_mut().try_for_each(Application::stop)
    }

    /// Where to look, for people.
    pub(crate) fn addresses(&self) -> Result<Vec<(&'static str, String)>> {
        let [one, two] = [&self.instances[0], &self.instances[1]];
        Ok(vec![
            ("status page", format!("http://{}/ and http://{}/", one.address(), two.address())),
            ("a task's state", format!("http://{}/state/tasks/<id>", one.address())),
            ("metrics", format!("http://{}/metrics", one.address())),
            ("handler.py", format!("http://{}/", self.handler)),
            ("Prometheus", self.bed.prometheus()?.url().to_owned()),
            ("Kafka", self.ground.servers.clone()),
            ("schema registry", self.ground.registry.clone()),
            ("log", one.log().display().to_string()),
        ])
    }
}

/// Writes an instance's configuration file: what a user would write, and nothing else.
fn configure(bed: &Testbed, dir: &Path, name: &str, address: SocketAddr, handler: SocketAddr) -> Result<PathBuf> {
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
         [tasks]\nbackoff = \"200ms\"\n\n\
         [queues.mail]\npush = \"http://{handler}/\"\n\n\
         [queues.reports]\npull = true\ntimeout = \"2s\"\n",
        bed.kafka()?.bootstrap_servers(),
        bed.registry()?.url(),
        dir.join("state").display(),
        token.display(),
    );
    let path = dir.join("config.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}
