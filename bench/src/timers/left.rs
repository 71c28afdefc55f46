//! What is left in the stores in the end: each far timer, once, with its time.

use std::path::Path;
use std::time::Duration;

use count_topology::timers::{Config, Topics, topology};
use headrace::config::Span;
use headrace::position::{Partition, TaskId};
use headrace::store::{Bounds, StateDirectory, StoreIndex, StoreOptions, StoreResources, StoreSpec};

use super::instance::{APPLICATION, DUE, TIMERS};
use super::wave::Far;
use crate::Failure;
use crate::counting::PARTITIONS;

/// Nothing looks at the timers here.
const TICK: Duration = Duration::from_secs(1);
/// A time and a number.
const KEY_BYTES: usize = 16;

/// Counts them. Any other timer that is left is an error.
pub(super) fn pending(state: &Path, far: Far) -> Result<u64, Failure> {
    let topics = Topics { timers: TIMERS.to_owned(), due: DUE.to_owned() };
    let topology = topology(&Config { topics, tick: Span::new(TICK), at_once: 1 })?;
    let specs: Vec<StoreSpec> = topology.stores().iter().map(|store| store.spec.clone()).collect();
    let directory = StateDirectory::open(state, APPLICATION)?;
    let resources = StoreResources::new(StoreOptions::default());
    let (mut seen, mut count) = (vec![false; usize::try_from(far.count)?], 0);
    for partition in 0..PARTITIONS {
        let task = TaskId { sub_topology: 0, partition: Partition(partition) };
        let mut state = directory.open_task(task, &specs, topology.state_id(), &resources)?;
        let mut scan = state.range(StoreIndex(0), Bounds::ALL)?;
        while let Some((key, _)) = scan.next()? {
            // The store's mark is shorter.
            let Ok(key) = <[u8; KEY_BYTES]>::try_from(key) else { continue };
            let (at, number) = key.split_at(KEY_BYTES / 2);
            let (at, number) = (i64::from_be_bytes(at.try_into()?), u64::from_be_bytes(number.try_into()?));
            let seen = seen.get_mut(usize::try_from(number)?).ok_or_else(|| format!("timer {number} is left"))?;
            if at != far.due(number) || std::mem::replace(seen, true) {
                return Err(format!("timer {number} is there twice, or for another time").into());
            }
            count += 1;
        }
    }
    Ok(count)
}
