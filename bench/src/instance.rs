//! A topology as one process with its defaults, new topics and new state for each run.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use testbed::{Testbed, free_port, http_get, wait};

use crate::Failure;
use crate::counting::{Running, binary, topics};

const PATIENCE: Duration = Duration::from_secs(60);

/// Which topology, and under which names.
pub(crate) struct Spec<'a> {
    pub(crate) binary: &'static str,
    /// The application's id, and the beginning of all names.
    pub(crate) id: &'a str,
    /// By their names in the configuration.
    pub(crate) topics: &'static [&'static str],
    /// More of its configuration, as TOML.
    pub(crate) sections: String,
}

/// It has its configuration and its topics, and does not run.
pub(crate) struct Prepared {
    binary: PathBuf,
    id: String,
    http: String,
    directory: PathBuf,
}

impl Prepared {
    pub(crate) fn new(bed: &Testbed, spec: &Spec<'_>) -> Result<Self, Failure> {
        let directory = bed.dirs()?.root().join(spec.id);
        std::fs::create_dir_all(&directory)?;
        let http = format!("127.0.0.1:{}", free_port()?);
        let prepared = Prepared { binary: binary(spec.binary)?, id: spec.id.to_owned(), http, directory };
        std::fs::write(prepared.config(), prepared.configuration(bed, spec)?)?;
        // A broker that was made a moment ago has no coordinators yet.
        wait::until("the topics and groups", PATIENCE, || {
            prepared.tell(&["apply"]).map_err(|error| error.to_string())
        })?;
        Ok(prepared)
    }

    /// One of its topics.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.id)
    }

    /// Writes a file beside its configuration.
    pub(crate) fn file(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.directory.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Runs one of its commands to its end.
    pub(crate) fn tell(&self, words: &[&str]) -> Result<(), Failure> {
        let log = self.directory.join("command.log");
        let file = std::fs::File::create(&log)?;
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let status = testbed::spawn(command)?.wait()?;
        if status.success() { Ok(()) } else { Err(format!("{status}: {}", std::fs::read_to_string(log)?).into()) }
    }

    /// Starts it, and waits until it is ready.
    pub(crate) fn start(self) -> Result<Instance, Failure> {
        let mut running = Running::spawn(self.command(&["run"]), self.directory.join("log"))?;
        let url = format!("http://{}/readyz", self.http);
        let ready = wait::until("the application to be ready", PATIENCE, || {
            running.check().map_err(|error| error.to_string())?;
            match http_get(&url) {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{status}: {body}")),
                Err(error) => Err(error.to_string()),
            }
        });
        ready.map_err(|error| format!("{error}\n{}", running.printed()))?;
        Ok(Instance { running, prepared: self })
    }

    fn config(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).arg("--config").arg(self.config());
        command
    }

    fn configuration(&self, bed: &Testbed, spec: &Spec<'_>) -> Result<String, Failure> {
        let topics: String = spec.topics.iter().map(|name| format!("{name} = \"{}\"\n", self.topic(name))).collect();
        Ok(format!(
            "application-id = \"{}\"\ninstance-id = \"one\"\n\
             [kafka]\nbootstrap-servers = \"{}\"\n\
             [schema-registry]\nurl = \"{}\"\n\
             [internal-topics]\nreplication = 1\n\
             [state]\ndirectory = \"{}\"\n\
             [http]\nlisten = \"{}\"\n\
             [topics]\n{topics}{}",
            self.id,
            bed.kafka()?.bootstrap_servers(),
            bed.registry()?.url(),
            self.directory.join("state").display(),
            self.http,
            spec.sections,
        ))
    }
}

/// Killed when dropped.
pub(crate) struct Instance {
    pub(crate) running: Running,
    prepared: Prepared,
}

impl Instance {
    /// One of its topics.
    pub(crate) fn topic(&self, name: &str) -> String {
        self.prepared.topic(name)
    }

    /// How often its processors have counted this event of somebody.
    pub(crate) fn events(&self, event: &str, of: &str) -> Result<u64, Failure> {
        let (_, text) = http_get(&format!("http://{}/metrics", self.prepared.http))?;
        let labels = [format!("event=\"{event}\""), format!("of=\"{of}\"")];
        let own = |line: &&str| {
            line.starts_with("headrace_processor_events_total") && labels.iter().all(|label| line.contains(label))
        };
        let count = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok());
        Ok(text.lines().filter(own).filter_map(count).sum::<f64>() as u64)
    }

    /// Ends it, and removes what it has left.
    pub(crate) fn end(self, bed: &Testbed) -> Result<(), Failure> {
        let Instance { running, prepared: Prepared { id, directory, .. } } = self;
        drop(running);
        std::fs::remove_dir_all(directory)?;
        let servers = bed.kafka()?.bootstrap_servers();
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", servers).create()?;
        let all = client.fetch_metadata(None, PATIENCE)?;
        let own = |name: &&str| name.starts_with(&format!("{id}.")) || name.starts_with(&format!("{id}-"));
        let own: Vec<&str> = all.topics().iter().map(|topic| topic.name()).filter(own).collect();
        topics::delete(servers, &own)
    }
}
