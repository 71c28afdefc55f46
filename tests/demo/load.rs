//! The load: pgbench at a limited rate, in the background, until its time is over.

use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use testbed::Testbed;

use crate::Result;

/// pgbench's connections.
const CLIENTS: &str = "4";
/// A run of pgbench through the testbed may take two minutes; a longer load is several runs.
const RUN_MAX: Duration = Duration::from_secs(90);

/// Scripts and how often each is picked.
const SCRIPTS: [(&str, u32, &str); 9] = [
    ("place-order", 4, include_str!("shop/place-order.sql")),
    ("ship-order", 4, include_str!("shop/ship-order.sql")),
    ("cancel-order", 1, include_str!("shop/cancel-order.sql")),
    ("move-line", 2, include_str!("shop/move-line.sql")),
    ("reprice", 2, include_str!("shop/reprice.sql")),
    ("relist", 1, include_str!("shop/relist.sql")),
    ("sign-up", 1, include_str!("shop/sign-up.sql")),
    ("close-account", 1, include_str!("shop/close-account.sql")),
    ("earn-points", 3, include_str!("shop/earn-points.sql")),
];

/// A load that runs.
#[derive(Debug)]
pub(crate) struct Load {
    end: Receiver<Result<()>>,
}

impl Load {
    /// Starts it within `scope`, for `duration`, with `rate` transactions per second. `dir` takes the scripts.
    pub(crate) fn start<'scope, 'env>(
        scope: &'scope std::thread::Scope<'scope, 'env>,
        bed: &'env Testbed,
        dir: &Path,
        duration: Duration,
        rate: u32,
    ) -> Result<Load> {
        let mut files = Vec::new();
        for (name, weight, script) in SCRIPTS {
            let path = dir.join(format!("{name}.sql"));
            std::fs::write(&path, script)?;
            files.push(format!("{}@{weight}", path.display()));
        }
        let (done, end) = sync_channel(1);
        // The receiver may be gone after Ctrl-C; then nobody waits for the outcome.
        scope.spawn(move || _ = done.send(run(bed, &files, duration, rate)));
        Ok(Load { end })
    }

    /// Whether it is over; an error if pgbench failed.
    pub(crate) fn ended(&self) -> Result<bool> {
        match self.end.try_recv() {
            Ok(outcome) => outcome.map(|()| true),
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => Err("the load's thread is gone".into()),
        }
    }
}

fn run(bed: &Testbed, files: &[String], duration: Duration, rate: u32) -> Result<()> {
    let rate = rate.to_string();
    let mut left = duration;
    while !left.is_zero() {
        let now = left.min(RUN_MAX);
        let seconds = now.as_secs().to_string();
        let mut args = vec!["-n", "-M", "prepared", "-c", CLIENTS, "-j", "1", "-R", &rate, "-T", &seconds];
        args.extend(files.iter().flat_map(|file| ["-f", file.as_str()]));
        bed.postgres()?.pgbench(&args)?;
        left -= now;
    }
    Ok(())
}
