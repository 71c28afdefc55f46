//! The binary as an operator runs it: a file, a process, a port that is asked.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use testbed::{Testbed, wait};

use crate::runtime::support::{Bench, PARTITIONS, PATIENCE};

/// The binary beside this test executable.
pub(super) fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    let folder = own.parent().and_then(|deps| deps.parent()).expect("target folder");
    let binary = folder.join("cdc-invalidation");
    assert!(binary.exists(), "{} is missing; run: cargo build --release -p cdc-invalidation", binary.display());
    binary
}

/// One deployment of the topology: topics, configuration, state.
pub(super) struct Deployment {
    pub(super) bench: Bench,
    directory: tempfile::TempDir,
    port: u16,
}

/// A running process of it; killed when dropped.
pub(super) struct Process {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Deployment {
    /// With its topics, which the source topic's width decides. All of `bed` must be up.
    pub(super) fn new(bed: &Testbed, name: &str) -> Self {
        let bench = Bench::bare(bed.kafka().expect("kafka"), name);
        let deployment = Deployment {
            directory: tempfile::tempdir().expect("directory"),
            port: testbed::free_port().expect("port"),
            bench,
        };
        deployment.bench.create(&deployment.source(), PARTITIONS);
        std::fs::write(deployment.file(), deployment.configuration(bed)).expect("write");
        let applied = deployment.command().arg("apply").output().expect("apply");
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        deployment
    }

    /// The source topic, named as Debezium does.
    pub(super) fn source(&self) -> String {
        format!("{}.public.items", self.bench.application)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("headrace.toml")
    }

    fn configuration(&self, bed: &Testbed) -> String {
        let application = &self.bench.application;
        let (servers, out, dead) = (&self.bench.servers, self.bench.output(), self.bench.dead());
        let (registry, redis) = (bed.registry().expect("registry").url(), bed.redis().expect("redis").url());
        let (port, state) = (self.port, self.directory.path().join("state"));
        format!(
            r#"application-id = "{application}"
[kafka]
bootstrap-servers = "{servers}"
session-timeout = "6s"
[schema-registry]
url = "{registry}"
timeout = "2s"
[processing]
transaction-timeout = "6s"
[topics]
row-changes = ["{source}"]
invalidations = "{out}"
dead-letters = "{dead}"
[cdc]
max-change = "10 KiB"
[redis]
url = "{redis}"
namespace = "{application}"
timeout = "1s"
[http]
listen = "127.0.0.1:{port}"
[state]
directory = "{state}"
"#,
            source = self.source(),
            state = state.display(),
        )
    }

    /// What its processes have logged.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).expect("log")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.arg("--config").arg(self.file()).current_dir(self.directory.path());
        command
    }

    pub(super) fn start(&self) -> Process {
        self.start_with(&[])
    }

    /// With more in its environment.
    pub(super) fn start_with(&self, variables: &[(&str, &str)]) -> Process {
        let log = self.directory.path().join("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("log");
        let mut command = self.command();
        command.envs(variables.iter().copied());
        let child = command.stdin(Stdio::null()).stderr(file).spawn().expect("spawn");
        Process { child, port: self.port, log }
    }

    /// Produces one record to the source.
    pub(super) fn send(&self, key: Option<&[u8]>, value: &[u8]) {
        let producer: BaseProducer = self.bench.client().create().expect("producer");
        let headers = OwnedHeaders::new().insert(Header { key: "trace", value: Some(b"\xfe7".as_slice()) });
        let source = self.source();
        let mut record = BaseRecord::<[u8], [u8]>::to(&source).payload(value).headers(headers).partition(0);
        record.key = key;
        producer.send(record).map_err(|(error, _)| error).expect("send");
        producer.flush(PATIENCE).expect("flush");
    }

    /// Inserts of the rows `ids`.
    pub(super) fn insert(&self, ids: std::ops::Range<u64>) {
        let producer: BaseProducer = self.bench.client().create().expect("producer");
        let source = self.source();
        for id in ids {
            let (key, value) = (key(id), event(id, "c", ""));
            producer.send(BaseRecord::to(&source).key(&key).payload(&value)).map_err(|(e, _)| e).expect("send");
        }
        producer.flush(PATIENCE).expect("flush");
    }

    /// Waits until `rows` invalidations are committed, and says that there is not one more.
    pub(super) fn wait_invalidations(&self, rows: usize) {
        wait::until("the invalidations", PATIENCE, || match self.bench.read(&self.bench.output()).len() {
            found if found >= rows => Ok(()),
            found => Err(format!("{found} of {rows}")),
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        assert_eq!(self.bench.read(&self.bench.output()).len(), rows);
    }
}

/// The key of a row, as Debezium's JSON converter writes it.
pub(super) fn key(id: u64) -> String {
    format!(r#"{{"id":{id}}}"#)
}

/// A change event of a row.
pub(super) fn event(id: u64, op: &str, padding: &str) -> String {
    format!(
        r#"{{"before":null,"after":{{"id":{id},"name":"n{padding}"}},"source":{{"version":"3.4.0.Final","connector":"postgresql","name":"shop","ts_ms":1760000000123,"snapshot":"false","db":"shop","sequence":"[null,\"{lsn}\"]","schema":"public","table":"items","txId":{lsn},"lsn":{lsn},"xmin":null}},"transaction":null,"op":"{op}","ts_ms":1760000000456}}"#,
        lsn = 1000 + id,
    )
}

impl Process {
    /// The answer to `/readyz`: status and body.
    pub(super) fn readiness(&self) -> Result<(u16, String), String> {
        self.get("/readyz", "")
    }

    /// The answer to a path, asked with one more header, or none: status and body.
    pub(super) fn get(&self, path: &str, header: &str) -> Result<(u16, String), String> {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(40)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().map_err(|error| error.to_string())?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        Ok((status.ok_or("no status")?, body.to_owned()))
    }

    pub(super) fn wait_ready(&self) {
        wait::until("ready", PATIENCE, || match self.readiness()? {
            (200, _) => Ok(()),
            (status, body) => Err(format!("{status} {body}")),
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
    }

    /// Waits until `/readyz` says that `what` is away, and since when.
    pub(super) fn wait_away(&self, what: &str) {
        wait::until("unready", PATIENCE, || match self.readiness()? {
            (503, body) if body.contains(what) && body.contains("since") => Ok(()),
            (status, body) => Err(format!("{status} {body}")),
        })
        .unwrap_or_else(|error| panic!("{what}: {error}\n{}", self.log()));
    }

    pub(super) fn wait_log(&self, line: &str) {
        wait::until("a line about it", PATIENCE, || match self.log() {
            log if log.contains(line) => Ok(()),
            log => Err(format!("no {line:?} in {log}")),
        })
        .expect("log");
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("log")
    }

    /// SIGKILL, and waits for the end.
    pub(super) fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// SIGTERM; gives the exit code.
    pub(super) fn terminate(mut self) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signal");
        let ended = wait::until("its end", PATIENCE, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status.code()),
            other => Err(format!("{other:?}")),
        });
        ended.expect("ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already, or not ours to complain about.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
