//! What the process takes from the machine, read from `/proc/self`.
//!
//! Read by hand: four numbers at each scrape don't need a crate. Elsewhere than on Linux there are none.

/// A reading.
pub(super) struct Usage {
    pub(super) resident_bytes: i64,
    pub(super) cpu_seconds: f64,
    pub(super) threads: i64,
    pub(super) open_files: i64,
}

/// `USER_HZ`: 100 on every architecture that Linux runs on today, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn usage() -> Option<Usage> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let number = |name: &str| -> Option<i64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the name in brackets, may hold blanks; user and system time are the 12th and 13th after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(Usage {
        resident_bytes: number("VmRSS:")? * 1024,
        cpu_seconds: ticks / TICKS_PER_SECOND,
        threads: number("Threads:")?,
        open_files: i64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()?,
    })
}
