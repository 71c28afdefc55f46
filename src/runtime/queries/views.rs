//! The committed state of the tasks that this process runs, as its stream threads open it to readers.
//!
//! A stream thread shows a task once it is restored and before its first record is processed, with the committed offsets of
//! its input: after a restore the store itself does not know them until its next commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::stream_thread::StreamThread;
use super::token::Token;
use crate::position::{Offset, TaskId, TopicPartition};
use crate::store::{Positions, View};

/// Patience with the look for committed offsets; without them a position is told from the next commit on.
const LOOKUP: Duration = Duration::from_secs(1);

/// A task that answers.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) view: View,
    inputs: Arc<BTreeMap<TopicPartition, Start>>,
}

/// Where an input stood when its task was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Start {
    /// In the group.
    committed: Option<Offset>,
    /// In the store.
    stored: Option<Offset>,
}

impl Shown {
    /// The position that belongs to a snapshot.
    pub(super) fn token(&self, positions: &Positions) -> Token {
        let next = |(at, start): (&TopicPartition, &Start)| {
            let stored = positions.iter().find(|(own, _)| own == at).map(|(_, next)| *next);
            // Until the first commit here, what the group says is right, and what is stored may be older or of another topic.
            let next = if stored == start.stored { start.committed.or(stored) } else { stored };
            Some((at.clone(), next?))
        };
        // An input that came later has what is stored.
        let later = positions.iter().filter(|(at, _)| !self.inputs.contains_key(at)).cloned();
        self.inputs.iter().filter_map(next).chain(later).collect()
    }
}

/// All of them; clones are the same.
#[derive(Clone, Default)]
pub(super) struct Views(Arc<Mutex<BTreeMap<TaskId, Shown>>>);

impl Views {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task that answers now.
    pub(super) fn of(&self, task: TaskId) -> Option<Shown> {
        self.lock().get(&task).filter(|shown| !shown.view.is_closed()).cloned()
    }

    /// The tasks that answer now.
    pub(super) fn tasks(&self) -> BTreeSet<TaskId> {
        let mut shown = self.lock();
        shown.retain(|_, shown| !shown.view.is_closed());
        shown.keys().copied().collect()
    }

    fn show(&self, task: TaskId, shown: Shown) {
        self.lock().insert(task, shown);
    }
}

impl StreamThread {
    /// Opens tasks that have come since the last call to readers. To be called before anything of them is processed: what
    /// is committed then is what the store has.
    pub(in super::super) fn show_tasks(&mut self) {
        if !self.tasks.take_come() {
            return;
        }
        let Some(queries) = self.options.queries.clone() else { return };
        // What was shown before is being processed: what the group has of it may be ahead of its store.
        let is_new = |id| queries.views().of(id).is_none();
        let fresh = self.tasks.iter().filter(|owned| is_new(owned.task.id()));
        let inputs: Vec<TopicPartition> = fresh.flat_map(|owned| owned.inputs.iter().cloned()).collect();
        if inputs.is_empty() {
            return;
        }
        let committed = self.consumer.committed(&inputs, LOOKUP).unwrap_or_else(|error| {
            tracing::debug!(target: "headrace::runtime", %error, "positions of new tasks are told from their next commit on");
            Vec::new()
        });
        for owned in self.tasks.iter_mut().filter(|owned| is_new(owned.task.id())) {
            let (id, view) = (owned.task.id(), owned.task.state().view());
            let Some(view) = view else { continue };
            let Ok(stored) = view.positions() else { continue };
            let start = |at: &TopicPartition| Start {
                // Where nothing was committed nothing was applied.
                committed: committed.iter().find(|(own, _)| own == at).map(|(_, next)| next.unwrap_or(Offset(0))),
                stored: stored.iter().find(|(own, _)| own == at).map(|(_, next)| *next),
            };
            let inputs = owned.inputs.iter().map(|at| (at.clone(), start(at))).collect();
            queries.views().show(id, Shown { view, inputs: Arc::new(inputs) });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::position::Partition;
    use crate::store::{StateDirectory, StoreIndex, StoreKind, StoreOptions, StoreResources, StoreSpec, TaskState};

    fn at(topic: &str) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition: Partition(0) }
    }

    fn state(root: &std::path::Path, task: TaskId) -> TaskState {
        let spec = StoreSpec { index: StoreIndex(0), name: "s".into(), kind: StoreKind::Rocks, changelog: true };
        let resources = StoreResources::new(StoreOptions::default());
        StateDirectory::open(root, "app").unwrap().open_task(task, &[spec], 1, &resources).unwrap()
    }

    const TASK: TaskId = TaskId { sub_topology: 0, partition: Partition(0) };

    #[test]
    fn after_a_restore_the_position_is_the_groups_until_the_store_has_one_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let mut state = state(root.path(), TASK);
        let start = |committed, stored| Start { committed, stored };
        let inputs = [
            (at("restored"), start(Some(Offset(7)), None)),
            (at("reopened"), start(Some(Offset(9)), Some(Offset(9)))),
            (at("asked-in-vain"), start(None, Some(Offset(3)))),
            (at("unknown"), start(None, None)),
        ];
        let shown = Shown { view: state.view().unwrap(), inputs: Arc::new(inputs.into_iter().collect()) };
        let stored = vec![(at("reopened"), Offset(9)), (at("asked-in-vain"), Offset(3)), (at("later"), Offset(1))];
        assert_eq!(shown.token(&stored).to_string(), "asked-in-vain:0:3,later:0:1,reopened:0:9,restored:0:7");
        // A topic that was made anew begins again.
        let stored = vec![(at("reopened"), Offset(2)), (at("restored"), Offset(8))];
        assert_eq!(shown.token(&stored).to_string(), "reopened:0:2,restored:0:8");
    }

    #[test]
    fn a_closed_task_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        let mut state = state(root.path(), TASK);
        let views = Views::default();
        views.show(TASK, Shown { view: state.view().unwrap(), inputs: Arc::default() });
        assert!(views.of(TASK).is_some() && views.tasks().contains(&TASK));
        drop(state);
        assert!(views.of(TASK).is_none() && views.tasks().is_empty());
    }
}
