//! Nothing is left behind, whatever ends the testbed: kill -9, Ctrl-C, Ctrl-C during the start, a panic.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::{Cache, Dirs, Redis, descendants, is_alive, wait};

const DEADLINE: Duration = Duration::from_secs(60);

/// The binary, running `up` in a temporary directory of its own.
struct Up {
    child: Child,
    dir: tempfile::TempDir,
    /// What was seen below it, to be ended if the test finds that it was left behind.
    seen: Vec<u32>,
}

impl Up {
    fn start(with: &str) -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        // PostgreSQL's account has to pass through it.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
        let child = Command::new(env!("CARGO_BIN_EXE_testbed"))
            .args(["up", "--with", with, "--env-file"])
            .arg(dir.path().join("env"))
            .env("TMPDIR", dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("testbed");
        Self { child, dir, seen: vec![] }
    }

    fn env_file(&self) -> PathBuf {
        self.dir.path().join("env")
    }

    /// Waits until all parts have started, and returns the ids of all processes below the binary.
    fn processes(&mut self, at_least: usize) -> Vec<u32> {
        wait::until("the env file", DEADLINE, || self.env_file().exists().then_some(()).ok_or("none".to_owned()))
            .expect("started");
        let all = descendants(self.child.id());
        assert!(all.len() >= at_least, "{all:?}");
        assert!(all.iter().all(|pid| is_alive(*pid)), "{all:?}");
        self.seen.clone_from(&all);
        all
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("pid")), signal).expect("signal");
    }

    fn exit_code(&mut self) -> Option<i32> {
        let child = &mut self.child;
        wait::until("the end", DEADLINE, || child.try_wait().ok().flatten().ok_or("running".to_owned()))
            .expect("an end")
            .code()
    }

    fn left_behind(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).expect("dir").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // A failed test leaves it running; its end is the end of its parts.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in self.seen.iter().filter(|pid| is_alive(**pid)) {
            let _ = kill(Pid::from_raw(i32::try_from(*pid).expect("pid")), Signal::SIGKILL);
        }
    }
}

fn wait_gone(pids: &[u32]) {
    wait::until("all processes to be gone", DEADLINE, || {
        let left: Vec<_> = pids.iter().filter(|pid| is_alive(**pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .expect("no orphans");
}

#[test]
fn kill_9_of_the_testbed_ends_all_parts() {
    let mut up = Up::start("kafka,redis,postgres,prometheus");
    // PostgreSQL has processes of its own below it.
    let pids = up.processes(5);
    up.signal(Signal::SIGKILL);
    assert_eq!(up.exit_code(), None, "ended by the signal");
    wait_gone(&pids);
    assert_eq!(up.left_behind().len(), 2, "nobody could remove these: {:?}", up.left_behind());
}

#[test]
fn ctrl_c_ends_all_parts_and_removes_their_files() {
    let mut up = Up::start("redis,postgres,registry");
    let pids = up.processes(4);
    up.signal(Signal::SIGINT);
    assert_eq!(up.exit_code(), Some(0));
    assert!(pids.iter().all(|pid| !is_alive(*pid)), "gone before the testbed itself");
    assert_eq!(up.left_behind(), Vec::<String>::new());
}

#[test]
fn ctrl_c_during_the_start_ends_what_has_started() {
    let mut up = Up::start("kafka,connect,registry");
    let id = up.child.id();
    let pids = wait::until("a first process", DEADLINE, || {
        let pids = descendants(id);
        if pids.is_empty() { Err("none".to_owned()) } else { Ok(pids) }
    })
    .expect("a start");
    up.signal(Signal::SIGINT);
    assert_eq!(up.exit_code(), Some(1), "it has not come up");
    wait_gone(&pids);
    assert_eq!(up.left_behind(), Vec::<String>::new());
}

#[test]
fn a_panic_ends_the_parts_of_the_test() {
    let (send, receive) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let (cache, dirs) = (Cache::open().expect("cache"), Dirs::new().expect("dirs"));
        let redis = Redis::start(&cache, &dirs).expect("redis");
        send.send((redis.pid().expect("pid"), dirs.root().to_owned())).expect("send");
        panic!("as a failed assertion does");
    });
    let (pid, root) = receive.recv().expect("started");
    assert!(test.join().is_err());
    assert!(!is_alive(pid));
    assert!(!root.exists());
}
