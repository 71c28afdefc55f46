//! What the machine was busy with meanwhile.

use std::fs;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::measure::cpu_seconds;

/// CPU time so far, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    at: Instant,
    application: f64,
    broker: f64,
    own: f64,
    machine: f64,
}

/// Cores, in the mean of some time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cores {
    pub(crate) application: f64,
    pub(crate) broker: f64,
    pub(crate) own: f64,
    /// Whatever else runs on the machine.
    pub(crate) others: f64,
    /// Of all that there are.
    pub(crate) part: f64,
}

impl Load {
    pub(crate) fn look(application: u32, broker: u32) -> Result<Self, Failure> {
        let own = cpu_seconds(std::process::id())?;
        let (application, broker) = (cpu_seconds(application)?, cpu_seconds(broker)?);
        Ok(Load { at: Instant::now(), application, broker, own, machine: machine()? })
    }

    /// From an earlier look to this one.
    pub(crate) fn since(&self, before: &Load) -> Result<Cores, Failure> {
        let elapsed = (self.at - before.at).max(Duration::from_millis(1)).as_secs_f64();
        let mean = |figure: fn(&Load) -> f64| (figure(self) - figure(before)) / elapsed;
        let (application, broker, own) =
            (mean(|load| load.application), mean(|load| load.broker), mean(|load| load.own));
        let machine = mean(|load| load.machine);
        let others = (machine - application - broker - own).max(0.0);
        let part = machine / std::thread::available_parallelism()?.get() as f64;
        Ok(Cores { application, broker, own, others, part })
    }
}

/// Of all processes.
fn machine() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("no /proc/stat")?;
    let ticks: Vec<f64> = line.split_whitespace().skip(1).map_while(|ticks| ticks.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; what guests have is in the first two.
    let busy: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|place| ticks.get(*place)).sum();
    Ok(busy / 100.0)
}
