//! What is missing is said in one line that names the command which mends it.

use std::process::{Command, Output};

/// Runs the binary on a machine where nothing is installed and nothing was fetched.
fn bare(args: &[&str]) -> Output {
    let empty = tempfile::tempdir().expect("tempdir");
    Command::new(env!("CARGO_BIN_EXE_testbed"))
        .args(args)
        .env("PATH", empty.path())
        .env("XDG_CACHE_HOME", empty.path())
        .output()
        .expect("testbed")
}

fn only_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().to_owned()
}

#[test]
fn check_names_a_missing_program_and_its_package() {
    let output = bare(&["check", "--for", "redis"]);
    assert_eq!(output.status.code(), Some(1));
    let line = only_line(&output);
    assert!(line.starts_with("testbed: redis-server is missing; run: "), "{line}");
    assert!(line.ends_with("apt-get install -y redis-server"), "{line}");
}

#[test]
fn up_and_fetch_say_it_the_same_way() {
    for args in [["up", "--with", "prometheus"], ["fetch", "--for", "prometheus"]] {
        let output = bare(&args);
        assert_eq!(output.status.code(), Some(1));
        let line = only_line(&output);
        assert!(line.starts_with("testbed: prometheus is missing; run: "), "{line}");
    }
}

#[test]
fn check_names_what_was_not_fetched() {
    let empty = tempfile::tempdir().expect("tempdir");
    let output = Command::new(env!("CARGO_BIN_EXE_testbed"))
        .args(["check", "--for", "registry"])
        .env("XDG_CACHE_HOME", empty.path())
        .output()
        .expect("testbed");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(only_line(&output), "testbed: apicurio-registry-3.0.9 is missing; run: testbed fetch");
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    assert_eq!(bare(&["up", "--with", "oracle"]).status.code(), Some(64));
    assert_eq!(bare(&[]).status.code(), Some(64));
    assert_eq!(bare(&["--help"]).status.code(), Some(0));
}
