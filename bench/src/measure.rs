//! What a process has used, read from `/proc`.

use std::fs;
use std::time::Duration;

use crate::Failure;

/// Clock ticks per second of `/proc/<pid>/stat`; 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// User and system time of a process so far.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field, the command, may hold spaces; it ends with the last parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / TICKS)
}

/// The most memory that a process has had, in bytes.
pub(crate) fn peak_rss_bytes(pid: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

/// Sets the peak of this process back to what it has now, so that the next run has a peak of its own.
pub(crate) fn reset_own_peak() -> Result<(), Failure> {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) records: u64,
    pub(crate) elapsed: Duration,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss_bytes: u64,
    /// What the broker used meanwhile; `None` where it was not looked at.
    pub(crate) broker_cpu_seconds: Option<f64>,
}

impl Run {
    pub(crate) fn records_per_second(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64()
    }

    /// So that runs whose measured parts differ by a few records can be compared.
    pub(crate) fn cpu_seconds_per_million(&self) -> f64 {
        self.cpu_seconds / self.records as f64 * 1e6
    }
}
