//! One child process: what to run, its log, its signals, its end.
//!
//! Signals go to the whole tree below the child, because PostgreSQL's backends each open a session of their own and a
//! stopped postmaster alone would stop nothing.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::spawner::spawn;
use crate::wait;

/// How long SIGKILL may take to be carried out.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// Lines of a log that go into an error.
const TAIL_LINES: usize = 25;

/// An unprivileged account to run a part under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunAs {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What to run. Kept by the part, since a restart runs it once more.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) envs: Vec<(String, OsString)>,
    pub(crate) dir: PathBuf,
    pub(crate) run_as: Option<RunAs>,
}

impl Launch {
    /// `program` in `dir`, without arguments yet.
    pub(crate) fn new(program: impl Into<PathBuf>, dir: &Path) -> Self {
        Self { program: program.into(), args: vec![], envs: vec![], dir: dir.to_owned(), run_as: None }
    }

    /// Adds arguments.
    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.envs.push((name.to_owned(), value.into()));
        self
    }

    /// Runs under another account.
    pub(crate) fn run_as(mut self, run_as: Option<RunAs>) -> Self {
        self.run_as = run_as;
        self
    }

    fn command(&self) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.envs.iter().map(|(n, v)| (n, v)))
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        // An inherited option string would change every JVM, and the JVM announces it on stderr.
        command.env_remove("JAVA_TOOL_OPTIONS").env_remove("_JAVA_OPTIONS");
        if let Some(RunAs { uid, gid }) = self.run_as {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Runs to the end and returns what it printed to stdout.
    ///
    /// # Errors
    /// [`Error::Tool`] with both outputs if it fails, [`Error::Timeout`] after `deadline`.
    pub(crate) fn run(&self, deadline: Duration) -> Result<String> {
        let program = self.program.display().to_string();
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = spawn(command)?;
        let pid = child.id();
        let (done, wait_done) = std::sync::mpsc::sync_channel(1);
        // Reads both pipes to the end, so that a talkative tool never blocks on a full one.
        std::thread::spawn(move || done.send(child.wait_with_output()));
        let start = Instant::now();
        let output = wait::until(&format!("{program} to end"), deadline, || {
            wait_done.try_recv().map_err(|_| "still running".to_owned())
        })
        .inspect_err(|_| signal_tree(pid, Signal::SIGKILL))?
        .map_err(Error::io(format!("run {program}")))?;
        debug_assert!(start.elapsed() <= deadline + KILL_DEADLINE, "the wait is bounded");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        let text = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
        Err(Error::Tool { program, status: output.status.to_string(), output: last_lines(&text) })
    }
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `launch` with both outputs appended to `log`.
    pub(crate) fn start(launch: &Launch, log: &Path) -> Result<Self> {
        let out = OpenOptions::new().create(true).append(true).open(log).map_err(Error::path("open", log))?;
        let err = out.try_clone().map_err(Error::path("open", log))?;
        let mut command = launch.command();
        command.stdout(out).stderr(err);
        Ok(Self { child: spawn(command)? })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status once the process has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends `signal` to the process and all its descendants.
    pub(crate) fn signal(&self, signal: Signal) {
        signal_tree(self.pid(), signal);
    }

    /// Ends it with `signal`; with SIGKILL if it is still there after `grace`.
    pub(crate) fn stop(mut self, signal: Signal, grace: Duration) {
        // A paused process would not see the signal.
        self.signal(Signal::SIGCONT);
        // Only the process itself: it ends its own children in an orderly way.
        let _ = kill(pid(self.pid()), signal);
        let start = Instant::now();
        // Not `wait::until`, which ends at once after an interrupt, and that is when parts are stopped.
        while self.ended().is_none() && start.elapsed() < grace {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Dropping kills what is left.
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let tree = tree(self.pid());
        if self.ended().is_none() {
            signal_all(&tree, Signal::SIGKILL);
            // Cannot hang: the process was not reaped, so the id was still its own and SIGKILL reached it.
            let _ = self.child.wait();
        }
        let start = Instant::now();
        while tree.iter().any(|pid| is_alive(*pid)) && start.elapsed() < KILL_DEADLINE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Whether a process with this id exists and is not a zombie.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// The processes below `pid` (children, their children, …), for a test that checks that none is left.
pub fn descendants(pid: u32) -> Vec<u32> {
    tree(pid).split_off(1)
}

/// The last lines of a file, for an error message.
pub(crate) fn tail(path: &Path) -> String {
    fs::read(path).map_or_else(|e| format!("(no log: {e})"), |bytes| last_lines(&String::from_utf8_lossy(&bytes)))
}

/// Creates a file with `text`.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let mut file = File::create(path).map_err(Error::path("create", path))?;
    file.write_all(text.as_bytes()).map_err(Error::path("write", path))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap_or(i32::MAX))
}

fn signal_tree(root: u32, signal: Signal) {
    signal_all(&tree(root), signal);
}

fn signal_all(tree: &[u32], signal: Signal) {
    for id in tree {
        // One that has just ended is what we want or do not mind.
        let _ = kill(pid(*id), signal);
    }
}

/// `root` and its descendants, parents first.
fn tree(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && let Some((_, parent)) = stat(id)
        {
            parents.push((id, parent));
        }
    }
    let mut tree = vec![root];
    let mut next = 0;
    while next < tree.len() {
        let parent = tree[next];
        tree.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(id, _)| *id));
        next += 1;
    }
    tree
}

/// State and parent of a process, from `/proc/<pid>/stat`; the name in it may hold spaces and parentheses.
fn stat(id: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
