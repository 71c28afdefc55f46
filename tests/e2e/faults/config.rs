//! A wrong configuration names the file, the key and the reason, and exits 64 before any connection.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::binary::binary;

/// A listener that nobody may connect to: broker, registry and Redis at once.
struct Bait(TcpListener);

impl Bait {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        Bait(listener)
    }

    fn assert_untouched(&self) {
        let connected = self.0.accept();
        assert!(connected.is_err(), "a connection was opened: {connected:?}");
    }
}

fn run(file: Option<&str>, args: &[&str], bait: &Bait) -> (Output, PathBuf) {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("headrace.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).expect("write");
    }
    let address = bait.0.local_addr().expect("address");
    let output = Command::new(binary())
        .arg("--config")
        .arg(&path)
        .args(args)
        .env("HEADRACE__KAFKA__BOOTSTRAP_SERVERS", address.to_string())
        .env("HEADRACE__SCHEMA_REGISTRY__URL", format!("http://{address}"))
        .env("HEADRACE__REDIS__URL", format!("redis://{address}"))
        .current_dir(directory.path())
        .output();
    (output.expect("run"), path)
}

/// The configuration is refused with all of `wanted` in the message.
fn assert_refused(what: &str, file: Option<&str>, args: &[&str], wanted: &[&str]) {
    let bait = Bait::new();
    let (output, path) = run(file, args, &bait);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{what}: {text}");
    for part in wanted {
        let part = part.replace("FILE", &path.display().to_string());
        assert!(text.contains(&part), "{what}: {part:?} is not in: {text}");
    }
    bait.assert_untouched();
}

#[test]
fn a_wrong_configuration_is_named_before_any_connection() {
    let run = &["run"];
    assert_refused(
        "unknown key",
        Some("[processing]\ncommit-intervall = \"1s\"\n"),
        run,
        &["FILE", "processing.commit-intervall", "commit-interval"],
    );
    assert_refused(
        "wrong type",
        Some("[processing]\nstream-threads = \"two\"\n"),
        run,
        &["FILE", "processing.stream-threads"],
    );
    assert_refused(
        "no unit",
        Some("[processing]\ncommit-interval = 100\n"),
        run,
        &["FILE", "processing.commit-interval"],
    );
    assert_refused("no such variant", Some("[cdc]\nmode = \"telepathy\"\n"), run, &["FILE", "cdc.mode", "telepathy"]);
    assert_refused("no TOML", Some("[processing\n"), run, &["FILE"]);
    assert_refused("no file", None, run, &["FILE"]);
    assert_refused(
        "a property that the runtime owns",
        Some("[kafka.properties]\n\"isolation.level\" = \"x\"\n"),
        run,
        &["FILE", "isolation.level"],
    );
    assert_refused("a wrong flag", Some(""), &["--set", "redis.tll=1h", "run"], &["redis.tll", "redis.ttl"]);
    assert_refused("a login in a URL", Some(""), &["--set", "redis.url=redis://u:secret@h", "run"], &["redis.url"]);
    assert_refused("an unknown subcommand", Some(""), &["walk"], &["walk"]);
    assert_refused("an unknown option", Some(""), &["--confg", "x"], &["--confg"]);
    assert_refused("a template", Some("[cdc]\nkey-template = \"{nope\"\n"), run, &["FILE", "cdc.key-template"]);
}

#[test]
fn a_right_configuration_connects() {
    // The control arm: with a configuration that is right, the bait is taken.
    let bait = Bait::new();
    let directory = tempfile::tempdir().expect("directory");
    let address = bait.0.local_addr().expect("address");
    let mut child = Command::new(binary())
        .env("HEADRACE__KAFKA__BOOTSTRAP_SERVERS", address.to_string())
        .env("HEADRACE__HTTP__LISTEN", "127.0.0.1:0")
        .current_dir(directory.path())
        .spawn()
        .expect("spawn");
    let taken = testbed::wait::until("a connection", std::time::Duration::from_secs(20), || {
        bait.0.accept().map(drop).map_err(|error| error.to_string())
    });
    child.kill().expect("kill");
    child.wait().expect("wait");
    taken.expect("it connects");
}
