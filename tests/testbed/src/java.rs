//! How the JVMs are started: class path, heap, compiler.

use std::ffi::OsString;
use std::path::Path;

use crate::error::Result;
use crate::packages;
use crate::process::Launch;

/// How much the JIT compiler may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jit {
    /// C1 only: boots faster, enough for parts that see a few requests a second.
    Quick,
    /// C1, then C2: the broker's throughput is measured, it has to be a real one.
    Full,
}

/// `java` in `dir` with a heap of `heap_mb`; class path and main class are still to be added.
pub(crate) fn java(dir: &Path, heap_mb: u32, jit: Jit) -> Result<Launch> {
    // The serial collector: on two cores the broker took 15 % less CPU for 4 million records than with G1, and booted no
    // slower; it costs some 40 MB more of resident memory.
    let mut launch = Launch::new(packages::find("java")?, dir)
        .args([format!("-Xmx{heap_mb}m"), "-XX:+UseSerialGC".to_owned(), "-Xshare:auto".to_owned()])
        .args([format!("-XX:ErrorFile={}/hs_err.log", dir.display()), "-XX:-UsePerfData".to_owned()]);
    if jit == Jit::Quick {
        launch = launch.args(["-XX:TieredStopAtLevel=1"]);
    }
    Ok(launch)
}

/// The class path of all jars in `lib`.
pub(crate) fn class_path(lib: &Path) -> [OsString; 2] {
    ["-cp".into(), lib.join("*").into_os_string()]
}

/// The level from which slf4j-simple prints, and in a form that has a time.
pub(crate) fn log_level(level: &str) -> [String; 3] {
    [
        format!("-Dorg.slf4j.simpleLogger.defaultLogLevel={level}"),
        "-Dorg.slf4j.simpleLogger.showDateTime=true".to_owned(),
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS".to_owned(),
    ]
}
