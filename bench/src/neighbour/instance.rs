//! The application: one process of the task queue with its defaults, new topics and new state for each run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use testbed::{Testbed, free_port, http_get, wait};

use super::handlers::Handlers;
use crate::Failure;
use crate::counting::{Running, binary, topics};

const PATIENCE: Duration = Duration::from_secs(60);
const TOPICS: [&str; 9] =
    ["tasks", "commands", "queues", "stops", "crons", "ready", "outcomes", "results", "dead-letters"];

/// Killed when dropped.
pub(super) struct Instance {
    pub(super) running: Running,
    id: String,
    http: String,
    directory: PathBuf,
}

impl Instance {
    /// `queues`: name, and what is said of it besides where it is handled, as TOML.
    pub(super) fn start(
        bed: &Testbed,
        id: &str,
        queues: &[(&str, String)],
        handlers: &Handlers,
    ) -> Result<Self, Failure> {
        let directory = bed.dirs()?.root().join(id);
        std::fs::create_dir_all(&directory)?;
        let http = format!("127.0.0.1:{}", free_port()?);
        let config = directory.join("config.toml");
        std::fs::write(&config, configuration(bed, id, &http, &directory, queues, handlers)?)?;
        let command = |name: &str| -> Result<Command, Failure> {
            let mut command = Command::new(binary("task-queue")?);
            command.arg(name).arg("--config").arg(&config);
            Ok(command)
        };
        // A broker that was made a moment ago has no coordinators yet.
        wait::until("the topics and groups", PATIENCE, || {
            let applied = command("apply").and_then(|apply| apply_once(apply, &directory.join("apply.log")));
            applied.map_err(|error| error.to_string())
        })?;
        let mut running = Running::spawn(command("run")?, directory.join("log"))?;
        let url = format!("http://{http}/readyz");
        let ready = wait::until("the application to be ready", PATIENCE, || {
            running.check().map_err(|error| error.to_string())?;
            match http_get(&url) {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{status}: {body}")),
                Err(error) => Err(error.to_string()),
            }
        });
        ready.map_err(|error| format!("{error}\n{}", running.printed()))?;
        Ok(Instance { running, id: id.to_owned(), http, directory })
    }

    /// One of its topics.
    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.id)
    }

    /// How many of the queue's tasks the schedule has taken in.
    pub(super) fn submitted(&self, queue: &str) -> Result<u64, Failure> {
        let (_, text) = http_get(&format!("http://{}/metrics", self.http))?;
        let own = |line: &&str| {
            line.starts_with("headrace_processor_events_total")
                && [r#"event="submitted""#, &format!(r#"of="{queue}""#)].iter().all(|label| line.contains(label))
        };
        let count = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok());
        Ok(text.lines().filter(own).filter_map(count).sum::<f64>() as u64)
    }

    /// Ends it, and removes what it has left.
    pub(super) fn end(self, bed: &Testbed) -> Result<(), Failure> {
        let Instance { running, id, directory, .. } = self;
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

fn apply_once(mut apply: Command, log: &Path) -> Result<(), Failure> {
    let file = std::fs::File::create(log)?;
    apply.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let status = testbed::spawn(apply)?.wait()?;
    if status.success() { Ok(()) } else { Err(format!("{status}: {}", std::fs::read_to_string(log)?).into()) }
}

fn configuration(
    bed: &Testbed,
    id: &str,
    http: &str,
    directory: &Path,
    queues: &[(&str, String)],
    handlers: &Handlers,
) -> Result<String, Failure> {
    let topics: String = TOPICS.iter().map(|name| format!("{name} = \"{id}.{name}\"\n")).collect();
    let queue =
        |(name, more): &(&str, String)| format!("[queues.{name}]\npush = \"http://{}/\"\n{more}\n", handlers.address);
    Ok(format!(
        "application-id = \"{id}\"\ninstance-id = \"one\"\n\
         [kafka]\nbootstrap-servers = \"{}\"\n\
         [schema-registry]\nurl = \"{}\"\n\
         [internal-topics]\nreplication = 1\n\
         [state]\ndirectory = \"{}\"\n\
         [http]\nlisten = \"{http}\"\n\
         [topics]\n{topics}{}",
        bed.kafka()?.bootstrap_servers(),
        bed.registry()?.url(),
        directory.join("state").display(),
        queues.iter().map(queue).collect::<String>(),
    ))
}
