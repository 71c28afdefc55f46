//! A binary under test as a child process: its configuration, its start, its pages, its end.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::{Testbed, free_port, http_get, spawn};

use super::{DEADLINE, eventually};

/// A variable that every binary under test has, for what it has to show to another one.
pub(crate) const PEER: &str = "HEADRACE_SECRET_PEER";
/// Its value.
pub(crate) const PEERS_TOKEN: &str = "canary";

/// What is to be run.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// The binary's name.
    pub(crate) binary: &'static str,
    /// The application id; unique among all tests.
    pub(crate) id: String,
    /// The topology's sections of the configuration, as TOML.
    pub(crate) sections: String,
    /// `section.key=value`, above the file.
    pub(crate) set: Vec<String>,
}

/// What a command has printed, and how it has ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// None if a signal has ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) errors: String,
}

/// A process, which is killed when it is dropped. Its state directory and log stay until the testbed ends.
pub(crate) struct App {
    spec: Spec,
    program: PathBuf,
    directory: PathBuf,
    http: String,
    child: Option<Child>,
    _bed: Arc<Testbed>,
}

impl App {
    /// Writes the configuration and starts nothing.
    pub(crate) fn prepare(bed: &Arc<Testbed>, spec: Spec) -> Self {
        let directory = bed.dirs().unwrap().root().join(format!("app-{}", spec.id));
        std::fs::create_dir_all(&directory).unwrap();
        let http = format!("127.0.0.1:{}", free_port().unwrap());
        let base = format!(
            "application-id = \"{}\"\ninstance-id = \"one\"\n[kafka]\nbootstrap-servers = \"{}\"\n\
             session-timeout = \"3s\"\n[kafka.properties]\n\"heartbeat.interval.ms\" = 500\n[schema-registry]\nurl = \"{}\"\n[state]\ndirectory = \"{}\"\n[http]\nlisten = \"{http}\"\n{}\n",
            spec.id,
            bed.kafka().unwrap().bootstrap_servers(),
            bed.registry().unwrap().url(),
            directory.join("state").display(),
            spec.sections,
        );
        std::fs::write(directory.join("config.toml"), base).unwrap();
        App { program: program(spec.binary), spec, directory, http, child: None, _bed: Arc::clone(bed) }
    }

    /// Runs another of its commands to its end, with this on its stdin.
    pub(crate) fn said(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = self.configured(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command).unwrap();
        // One that ends without reading is not interested.
        _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), errors: text(output.stderr) }
    }

    fn configured(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env(PEER, PEERS_TOKEN).args(arguments).arg("--config").arg(self.directory.join("config.toml"));
        for setting in &self.spec.set {
            command.arg("--set").arg(setting);
        }
        command
    }

    fn command(&self, subcommand: &str) -> Command {
        let log = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.configured(&[subcommand]);
        command.stdin(Stdio::null()).stdout(duplicate(&log)).stderr(log);
        command
    }

    /// Runs `apply`.
    pub(crate) fn apply(&self) {
        let status = spawn(self.command("apply")).unwrap().wait().unwrap();
        assert!(status.success(), "apply: {status}\n{}", self.log_tail());
    }

    /// Starts it, without waiting for anything.
    pub(crate) fn run(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        self.child = Some(spawn(self.command("run")).unwrap());
    }

    /// Another value for a key, from the next start on.
    pub(crate) fn set(&mut self, setting: &str) {
        self.spec.set.push(setting.to_owned());
    }

    /// Waits until `/readyz` answers 200.
    #[track_caller]
    pub(crate) fn wait_ready(&mut self) {
        let what = format!("{} to be ready", self.spec.id);
        let ready = testbed::wait::until(&what, DEADLINE, || {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                return Ok(Err(status));
            }
            match self.get("/readyz") {
                Ok((200, _)) => Ok(Ok(())),
                Ok((status, body)) => Err(format!("{status}: {body}")),
                Err(error) => Err(error),
            }
        });
        match ready {
            Ok(Ok(())) => {}
            Ok(Err(status)) => panic!("{what}: it ended: {status}\n{}", self.log_tail()),
            Err(error) => panic!("{error}\n{}", self.log_tail()),
        }
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Status and body of a page.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String), String> {
        http_get(&format!("http://{}{path}", self.http)).map_err(|error| error.to_string())
    }

    /// The sum over all series of a metric whose labels contain `labels`, such as `outcome="equal"`.
    pub(crate) fn metric(&self, name: &str, labels: &str) -> f64 {
        let (_, text) = self.get("/metrics").unwrap();
        let series = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(labels))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
        eventually("the process to end", || child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()))
    }

    /// [`run`](Self::run), then [`wait_ready`](Self::wait_ready).
    pub(crate) fn start_again(&mut self) {
        self.run();
        self.wait_ready();
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The end of what it has printed.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            _ = child.kill();
            _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- end of the log of {}\n{}", self.spec.id, self.log_tail());
        }
    }
}

fn duplicate(file: &File) -> File {
    file.try_clone().unwrap()
}

/// The binary beside the test's own `deps` folder, where a build of the workspace puts it; or in `HEADRACE_BIN_DIR`.
fn program(binary: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let beside = own.parent().and_then(Path::parent).unwrap().to_owned();
    let directory = std::env::var_os("HEADRACE_BIN_DIR").map_or(beside, PathBuf::from);
    let program = directory.join(binary);
    assert!(program.is_file(), "{} is missing: build the workspace first (make test does)", program.display());
    program
}
