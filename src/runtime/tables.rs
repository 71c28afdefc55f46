//! Lookup tables on the stream thread: their topic is the changelog of their store, and an input of their task besides.
//!
//! ```text
//!  task opened, or reconciled ─▶ store filled up to the end of the topic ─▶ input moved there, and the position committed
//!  afterwards                 ─▶ records of the topic are processed like others, written to the store with the commit
//! ```
//!
//! So the place from which a table's input is read is never the group's committed position but the one that the store has:
//! they are the same after a commit, and after a restore the store is ahead.

use crate::position::{Offset, TaskId, TopicPartition};
use crate::telemetry::AbortReason;

use super::halt::Halt;
use super::stream_thread::{GRACE, StreamThread};
use super::tasks::OwnedTask;

impl StreamThread {
    /// Takes the inputs of tables out of the list, whose tasks are open, and gives them with the positions of their stores.
    pub(super) fn tables(&mut self, inputs: &mut Vec<TopicPartition>) -> Vec<(TopicPartition, Offset)> {
        let mut tables = Vec::new();
        inputs.retain(|at| {
            let known = self.tasks.find(&at.topic, at.partition).and_then(|owned| stored(owned, at));
            tables.extend(known.map(|next| (at.clone(), next)));
            known.is_none()
        });
        tables
    }

    /// Moves new inputs that are tables to where their stores are. That is committed with the next transaction: nobody has to
    /// read what is before it.
    pub(super) fn begin_tables(&mut self, id: TaskId, inputs: &[TopicPartition]) -> Result<(), Halt> {
        let Some(owned) = self.tasks.get_mut(id) else { return Ok(()) };
        let tables: Vec<_> = inputs.iter().filter_map(|at| Some((at.clone(), stored(owned, at)?))).collect();
        if tables.is_empty() {
            return Ok(());
        }
        let sought = self.consumer.seek(&tables, GRACE);
        sought.map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))?;
        self.commit_beginnings(&tables);
        Ok(())
    }

    /// A table's topic was made anew: what its stores have is of the old one. The tasks are closed, and their state is set
    /// aside before they are opened again.
    pub(super) fn condemn_tables(&mut self, topic: &str) {
        if self.topology.table_of(topic).is_none() {
            return;
        }
        for id in self.tasks.ids() {
            if self.topology.reads(id.sub_topology, topic)
                && let Some(mut owned) = self.tasks.remove(id)
            {
                owned.task.rewind();
                self.put_off(owned);
                self.condemned.insert(id, format!("topic {topic} of its table was made anew"));
            }
        }
    }
}

/// The position of a table's store; `None` if the input is of no table.
fn stored(owned: &mut OwnedTask, at: &TopicPartition) -> Option<Offset> {
    let table = owned.changelogs.iter().find(|changelog| changelog.is_table && changelog.at == *at)?.store;
    owned.task.state().changelog_next(table)
}
