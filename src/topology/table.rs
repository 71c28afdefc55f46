//! Lookup tables: a compacted topic as a store that processors read and nobody writes.
//!
//! ```text
//!  co-partitioned   table topic, partition 3 ─▶ task 0_3: store ◀── read ── processor ◀─ input topic, partition 3
//!  global           table topic, all partitions ─▶ one store per process ◀── read ── processors of all tasks
//! ```
//!
//! A co-partitioned table is an input of the task like any other: its position is committed with the transaction, and the
//! topic is the store's changelog, so that it is not written once more. Keys have to be split as those of the other inputs.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::codec::{Codec, Shown};
use crate::processor::{SourceEntry, TableNode};
use crate::store::{GlobalTable, StoreIndex, StoreKind, StoreSpec, Stores, Table};

use super::builder::Builder;
use super::describe::{NodeKind, NodeSketch};
use super::graph::{SourceSpec, StoreDeclaration, Subject, SubjectPart, Topology};
use super::topics::Topics;

impl Builder {
    /// Declares a table: what a compacted topic has by key, read by the processors that name it among their stores. The task
    /// of partition 3 has the topic's partition 3, so the topic has to be split like the other inputs of these processors.
    ///
    /// * A record replaces the one of the same key; one without a value deletes it.
    /// * Whenever a task starts, the table is read to its end before anything else of the task's input is. Afterwards its
    ///   records have their turn among those of the other inputs, in the order in which they are fetched.
    /// * A transaction that is aborted takes back what it has read of the table, too. When its input is processed again, the
    ///   table may be newer than it was the first time, and is never older than what a committed output has seen.
    /// * A record that can't be decoded is set aside as any other. The table holds it all the same, as its topic does: a
    ///   processor that looks its key up is told that it can't be decoded, and is not given an older value.
    /// * Its records do not move stream time.
    pub fn table<K: 'static, V: 'static>(
        &mut self,
        name: &str,
        topic: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Table<K, V> {
        let index = StoreIndex(self.stores.len());
        if self.stores.iter().any(|(known, _)| known.spec.name == name) {
            self.mistake(name, "is declared twice; store names are unique");
        }
        let (_, store) = Stores::rocks(key, value).build(name, index);
        let (key, value) = (Arc::clone(store.key_codec()), Arc::clone(store.value_codec()));
        // Keys are looked up by their bytes, which have to be those that the topic's producers write.
        self.codec_use(Subject::Topic(topic.to_owned()), SubjectPart::Key, &key);
        self.codec_use(Subject::Read, SubjectPart::Value, &value);
        let codec = format!("{}, {}", key.name(), value.name());
        let source = format!("{name}-source");
        let read = self.node(NodeSketch::new(&source, NodeKind::Source { topics: Topics::from(topic), codec }, None));
        let node = self.node(NodeSketch::new(name, NodeKind::Process { stores: vec![index] }, Some(read)));
        let spec = StoreSpec { index, name: name.to_owned(), kind: StoreKind::Rocks, changelog: false };
        let (shown_key, shown_value) = (Shown::of(&key), Shown::of(&value));
        let table = Some(Arc::from(topic));
        let declaration = StoreDeclaration { spec, sub_topology: 0, key: shown_key, value: shown_value, table };
        self.stores.push((declaration, BTreeSet::from([node])));
        let factory = Arc::new(move || -> Box<dyn SourceEntry> {
            Box::new(TableNode::new(index, Arc::clone(&key), Arc::clone(&value)))
        });
        let spec =
            SourceSpec { name: source, topics: Topics::from(topic), sub_topology: 0, table: Some(index), factory };
        self.sources.push((read, spec));
        Table::new(store)
    }
}

/// A declared global table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalDeclaration {
    /// Its name.
    pub name: Arc<str>,
    /// The topic that it is a copy of.
    pub topic: Arc<str>,
}

impl Builder {
    /// Declares a global table: what all partitions of a compacted topic have by key, in each instance, for processors of any
    /// sub-topology and however their input is split. It is read to its end before the first record is processed, and kept up
    /// to date beside it.
    ///
    /// * Its position is in no transaction. A look-up sees the newest that has come; a record that is processed once more, after
    ///   an abort or elsewhere, may find another value.
    /// * What can't be decoded is kept, and refused to those that look it up.
    /// * Each instance has a copy of the whole on its disk: for what is small, or needed by any key. Else take a
    ///   [`table`](Self::table).
    pub fn global_table<K: 'static, V: 'static>(
        &mut self,
        name: &str,
        topic: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> GlobalTable<K, V> {
        self.check_name(name);
        let is_known = self.globals.iter().any(|known| &*known.name == name);
        if is_known || self.stores.iter().any(|(known, _)| known.spec.name == name) {
            self.mistake(name, "is declared twice; store names are unique");
        }
        let (_, store) = Stores::rocks(key, value).build(name, StoreIndex(usize::MAX));
        let (key, value) = (Arc::clone(store.key_codec()), Arc::clone(store.value_codec()));
        self.codec_use(Subject::Topic(topic.to_owned()), SubjectPart::Key, &key);
        self.codec_use(Subject::Read, SubjectPart::Value, &value);
        self.globals.push(GlobalDeclaration { name: name.into(), topic: topic.into() });
        GlobalTable::new(store)
    }
}

impl Topology {
    /// The global tables.
    pub fn globals(&self) -> &[GlobalDeclaration] {
        &self.globals
    }

    /// The table that is read from a topic.
    pub fn table_of(&self, topic: &str) -> Option<StoreIndex> {
        self.sources.iter().find_map(|source| source.table.filter(|_| source.topics.matches(topic)))
    }

    /// Topics that are read from their beginning where nothing is committed, whatever the configuration says: those between
    /// sub-topologies, and those of tables.
    pub fn read_whole(&self) -> impl Iterator<Item = &str> {
        let between = self.repartitions.iter().map(|own| self.repartition_name(own));
        between.chain(self.stores.iter().filter_map(|store| store.table.as_deref()))
    }
}
