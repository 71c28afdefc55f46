//! Standby tasks (rule R-24): warm copies of other instances' stores, to be promoted when their tasks come here.
//!
//! ```text
//!  instances' topic ─▶ Directory ─▶ placement: who keeps a copy of which task ─▶ hold(tasks here)
//!                                                                                  │ an order to a restore thread
//!   restored as for processing, but after all that is to process ─▶ follows the changelog, committed records only
//!                                                                                  │ the task is assigned to that thread
//!   promoted: the state stays open; what the changelog has beyond it is read ◀─────┘
//! ```
//!
//! A standby produces nothing, answers nothing, and is in no group: it is a restore that does not end. Its data and its position
//! are in one batch (rule R-17), so it is the state at *some* commit, whatever kills the process, and a task that is
//! promoted takes the way of any other restore. What only that saves is the reading.
//!
//! **Who holds what** nobody assigns. Each instance announces its tasks and how many copies it wants; from that each
//! computes the same placement by itself ([`placement`]). While two disagree, for a moment after a change, there is a copy
//! too many or too few, and nothing else.
//!
//! **Where a task moves** is decided by the group's assignor, which knows of no standbys. With as many copies as there are
//! other instances each has all of them, so that every move is a promotion; with fewer, a task that moves elsewhere is restored
//! from its changelog.

mod placement;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use crate::position::TaskId;

use super::restore::{Command, Order, Role};
use super::tasks::Changelog;

pub(super) use placement::{Candidate, holders};

/// The standbys of this process; clones are the same. Locked for moments, by those who move tasks.
#[derive(Clone, Default)]
pub(super) struct Standbys(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The restore threads, by the number of their stream thread.
    workers: BTreeMap<usize, Sender<Command>>,
    held: BTreeMap<TaskId, Held>,
    /// Tasks that a stream thread of this process has, or is about to have.
    assigned: BTreeSet<TaskId>,
}

struct Held {
    worker: usize,
    stop: Arc<AtomicBool>,
}

impl Standbys {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A restore thread that can hold standbys.
    pub(super) fn register(&self, worker: usize, commands: Sender<Command>) {
        self.lock().workers.insert(worker, commands);
    }

    /// Holds these from now on, and no others. `changelogs`: those of a task's stores.
    pub(super) fn hold(&self, wanted: &BTreeSet<TaskId>, changelogs: impl Fn(TaskId) -> Vec<Changelog>) {
        let mut state = self.lock();
        let State { workers, held, assigned } = &mut *state;
        held.retain(|id, held| {
            let keeps = wanted.contains(id);
            held.stop.store(!keeps, Ordering::Release);
            keeps
        });
        for &id in wanted.difference(assigned) {
            if held.contains_key(&id) || workers.is_empty() {
                continue;
            }
            // Spread over the threads by the partition, as the group's assignors do.
            let turn = usize::try_from(id.partition.0).unwrap_or(0) % workers.len();
            let Some((&worker, commands)) = workers.iter().nth(turn) else { continue };
            let stop = Arc::new(AtomicBool::new(false));
            let order = Order { id, changelogs: changelogs(id), stop: Arc::clone(&stop), role: Role::Standby };
            if commands.send(Command::Restore(order)).is_ok() {
                held.insert(id, Held { worker, stop });
            }
        }
    }

    /// A stream thread is about to have a task. A copy that another thread of this process holds is closed, one of its own
    /// restore thread is promoted by that.
    pub(super) fn assigned(&self, id: TaskId, thread: usize) {
        let mut state = self.lock();
        state.assigned.insert(id);
        if let Some(held) = state.held.remove(&id)
            && held.worker != thread
        {
            held.stop.store(true, Ordering::Release);
        }
    }

    /// The stream thread has given the task up, and its state is closed, or will be in a moment.
    pub(super) fn released(&self, id: TaskId) {
        self.lock().assigned.remove(&id);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crossbeam_channel::{Receiver, unbounded};

    use super::*;
    use crate::position::Partition;

    fn task(partition: i32) -> TaskId {
        TaskId { sub_topology: 0, partition: Partition(partition) }
    }

    fn ordered(commands: &Receiver<Command>) -> Vec<(TaskId, Arc<AtomicBool>)> {
        let order = |command| match command {
            Command::Restore(Order { id, stop, role: Role::Standby, .. }) => (id, stop),
            _ => panic!("no standby"),
        };
        commands.try_iter().map(order).collect()
    }

    #[test]
    fn r24_what_is_wanted_is_ordered_once_and_what_is_not_is_stopped() {
        let (standbys, (first, second)) = (Standbys::default(), (unbounded(), unbounded()));
        standbys.register(0, first.0);
        standbys.register(1, second.0);
        let hold = |tasks: &[i32]| standbys.hold(&tasks.iter().map(|at| task(*at)).collect(), |_| Vec::new());
        hold(&[0, 1, 2]);
        hold(&[0, 1, 2]);
        let (first, second) = (ordered(&first.1), ordered(&second.1));
        assert_eq!(first.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [task(0), task(2)]);
        assert_eq!(second.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [task(1)]);
        hold(&[0, 1]);
        assert!(first[1].1.load(Ordering::Acquire) && !first[0].1.load(Ordering::Acquire));
    }

    #[test]
    fn r24_a_task_that_comes_is_promoted_where_it_is_and_closed_where_it_is_not() {
        let (standbys, (first, second)) = (Standbys::default(), (unbounded(), unbounded()));
        standbys.register(0, first.0);
        standbys.register(1, second.0);
        let wanted = [0, 1].map(task).into();
        standbys.hold(&wanted, |_| Vec::new());
        let (here, there) = (ordered(&first.1).remove(0).1, ordered(&second.1).remove(0).1);
        standbys.assigned(task(0), 0);
        standbys.assigned(task(1), 0);
        assert!(!here.load(Ordering::Acquire) && there.load(Ordering::Acquire));
        // The others have not heard of it yet: no copy is made of what is processed here.
        standbys.hold(&wanted, |_| Vec::new());
        assert!(ordered(&first.1).is_empty() && ordered(&second.1).is_empty());
        standbys.released(task(1));
        standbys.hold(&wanted, |_| Vec::new());
        assert_eq!(ordered(&second.1).len(), 1);
    }
}
