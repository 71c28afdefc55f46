//! The instances: each a process with a directory and a port of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testbed::{Testbed, http_get};

use crate::Failure;
use crate::counting::{PARTITIONS, binary};

const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);

/// What an instance is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signal {
    Terminate,
    Stop,
    Continue,
}

struct Instance {
    child: Child,
    address: String,
    /// It hangs, and answers nobody.
    hangs: bool,
}

/// All of an application's instances; killed when dropped.
pub(super) struct Fleet<'a> {
    bed: &'a Testbed,
    application: String,
    topics: [String; 2],
    standbys: usize,
    root: PathBuf,
    instances: BTreeMap<String, Instance>,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(
        bed: &'a Testbed,
        application: &str,
        topics: [&str; 2],
        standbys: usize,
    ) -> Result<Self, Failure> {
        let root = bed.dirs()?.root().join(application);
        std::fs::create_dir_all(&root)?;
        let (application, topics) = (application.to_owned(), topics.map(str::to_owned));
        Ok(Fleet { bed, application, topics, standbys, root, instances: BTreeMap::new() })
    }

    /// Starts an instance, or starts it again with its state.
    pub(super) fn start(&mut self, name: &str) -> Result<(), Failure> {
        let address = format!("127.0.0.1:{}", testbed::free_port()?);
        let mut command = Command::new(binary("stateful-count")?);
        let mut set = |key: &str, value: &str| _ = command.env(format!("HEADRACE__{key}"), value);
        set("KAFKA__BOOTSTRAP_SERVERS", self.bed.kafka()?.bootstrap_servers());
        set("APPLICATION_ID", &self.application);
        set("INSTANCE_ID", name);
        set("TOPICS__EVENTS", &self.topics[0]);
        set("TOPICS__COUNTS", &self.topics[1]);
        set("STATE__DIRECTORY", &self.root.join(name).to_string_lossy());
        set("HTTP__LISTEN", &address);
        set("PROCESSING__STANDBYS", &self.standbys.to_string());
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.root.join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = testbed::spawn(command)?;
        self.instances.insert(name.to_owned(), Instance { child, address, hangs: false });
        Ok(())
    }

    /// Asks an instance to end, and waits for it.
    pub(super) fn stop(&mut self, name: &str) -> Result<(), Failure> {
        self.signal(name, Signal::Terminate)?;
        let mut instance = self.instances.remove(name).ok_or("no such instance")?;
        let deadline = Instant::now() + PATIENCE;
        while instance.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                instance.child.kill()?;
                return Err(format!("{name} does not end").into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    pub(super) fn signal(&mut self, name: &str, signal: Signal) -> Result<(), Failure> {
        let instance = self.instances.get_mut(name).ok_or("no such instance")?;
        let text = match signal {
            Signal::Terminate => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        instance.hangs = matches!(signal, Signal::Stop);
        let sent = Command::new("kill").args([text, &instance.child.id().to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err(format!("kill {text} {name}: {sent}").into()) }
    }

    /// Where an instance answers.
    pub(super) fn address(&self, name: &str) -> Option<String> {
        self.instances.get(name).map(|instance| instance.address.clone())
    }

    /// The owner's address of each partition, as the instances announce it.
    pub(super) fn owners(&self) -> Result<BTreeMap<usize, String>, Failure> {
        let asked = self.instances.values().find(|instance| !instance.hangs).ok_or("nobody to ask")?;
        let (status, body) = http_get(&format!("http://{}/state", asked.address))?;
        if status != 200 {
            return Err(format!("/state: {status}").into());
        }
        let body: serde_json::Value = serde_json::from_str(&body)?;
        let owners = body["stores"][0]["owners"].as_object().cloned().unwrap_or_default();
        let owner = |(partition, owner): (String, serde_json::Value)| {
            Some((partition.parse().ok()?, owner.as_str()?.to_owned()))
        };
        Ok(owners.into_iter().filter_map(owner).collect())
    }

    /// Waits until every partition has an owner that is here, and all `owners` have some.
    pub(super) fn wait_owners(&mut self, owners: usize) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.owners().unwrap_or_default();
            let distinct: BTreeSet<&String> = found.values().collect();
            let alive = self.instances.values().filter(|instance| !instance.hangs);
            let alive: BTreeSet<&String> = alive.map(|instance| &instance.address).collect();
            if found.len() == PARTITIONS as usize && distinct.len() == owners && distinct.is_subset(&alive) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{found:?}, wanted {owners} owners; logs in {}", self.root.display()).into());
            }
            for (name, instance) in &mut self.instances {
                if let Some(status) = instance.child.try_wait()? {
                    return Err(format!("{name} has ended ({status}); log in {}", self.root.display()).into());
                }
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        for instance in self.instances.values_mut() {
            // Already gone is as good.
            _ = instance.child.kill();
            _ = instance.child.wait();
        }
    }
}
