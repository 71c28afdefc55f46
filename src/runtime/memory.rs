//! The memory budget against the number of tasks, which is known when the topics are (rule R-25).
//!
//! All large parts have a bound for the process. What is left is what a task has for itself: a RocksDB with its log, its
//! column families, its open files. An instance that is alone has all partitions, so that is what has to fit. Copies for
//! others (rule R-24) are in it: an instance has each task once, to process it or to keep it warm. Global tables are not, for
//! each instance has all of them in any case, in one database of their own, with a client for each.

use std::collections::BTreeMap;

use crate::kafka::TopicState;
use crate::topology::Topology;

/// What a task with stores takes before it holds any data: a RocksDB, its log's buffer, its lock, its journals. Measured with
/// 64 of them (`store-memory`): 340 kB.
pub const TASK_BYTES: u64 = 384 << 10;
/// What each of its stores adds: a column family with the least memtable, its readers of files. Measured: 85 kB.
pub const STORE_BYTES: u64 = 96 << 10;

/// What a global table takes beside its store: 4 MiB that wait in its client, the answer that is on its way there, what is
/// collected for one write, and the client's own threads.
pub const GLOBAL_BYTES: u64 = 8 << 20;

/// The budget, and what of it is planned whatever the number of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// `memory.budget`, in bytes.
    pub budget: u64,
    /// Caches, queues, buffers and the process itself, in bytes.
    pub planned: u64,
}

impl MemoryPlan {
    /// For programs that set their parts themselves, and look after the sum.
    pub const UNBOUNDED: MemoryPlan = MemoryPlan { budget: u64::MAX, planned: 0 };

    /// Why so many tasks (partitions, and stores of each) and global tables don't fit, with the arithmetic.
    pub(super) fn problem(&self, tasks: &[(i32, usize)], globals: usize) -> Option<String> {
        let each = |(partitions, stores): &(i32, usize)| (u64::try_from(*partitions).unwrap_or(0), *stores as u64);
        let of = |(tasks, stores): (u64, u64)| tasks.saturating_mul(TASK_BYTES + stores * STORE_BYTES);
        let of_globals = if globals == 0 { 0 } else { TASK_BYTES + globals as u64 * (STORE_BYTES + GLOBAL_BYTES) };
        let planned = self.planned.saturating_add(of_globals);
        let needed = tasks.iter().map(each).map(of).fold(planned, u64::saturating_add);
        if needed <= self.budget {
            return None;
        }
        let line = |(partitions, stores): (u64, u64)| {
            format!("{partitions} tasks × ({} KiB + {stores} stores × {} KiB)", TASK_BYTES >> 10, STORE_BYTES >> 10)
        };
        let mut lines: Vec<String> = tasks.iter().map(each).map(line).collect();
        if globals > 0 {
            let (database, each) = (TASK_BYTES >> 10, (STORE_BYTES + GLOBAL_BYTES) >> 10);
            lines.push(format!("{database} KiB + {globals} global tables × {each} KiB"));
        }
        Some(format!(
            "memory.budget: {} MiB is too little for all partitions on one instance: {} MiB for caches, queues, buffers and the \
             process + {} = {} MiB; raise it, or lower state.block-cache, state.write-buffers, state.read-cache, \
             memory.restore, memory.consumer-queue or processing.max-staged",
            self.budget >> 20,
            self.planned >> 20,
            lines.join(" + "),
            needed.div_ceil(1 << 20),
        ))
    }
}

/// Tasks that an instance has when it is alone: of each sub-topology with stores its partitions, and the number of stores.
pub(super) fn tasks(topology: &Topology, topics: &BTreeMap<String, TopicState>) -> Vec<(i32, usize)> {
    let of = |part| {
        let read = topics.iter().filter(|(topic, _)| topology.reads(part, topic));
        (read.map(|(_, state)| state.partitions).max().unwrap_or(0), topology.stores_of(part).count())
    };
    (0..topology.sub_topologies()).map(of).filter(|(_, stores)| *stores > 0).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec::{raw, text};
    use crate::processor::{Context, Fault, Processor};
    use crate::record::Record;
    use crate::store::{StoreIndex, Stores};

    const MIB: u64 = 1 << 20;

    #[derive(Clone)]
    struct Pass(Vec<StoreIndex>);

    impl Processor for Pass {
        type KeyIn = Vec<u8>;
        type ValueIn = Vec<u8>;
        type KeyOut = Vec<u8>;
        type ValueOut = Vec<u8>;

        fn stores(&self) -> Vec<StoreIndex> {
            self.0.clone()
        }

        fn process(
            &mut self,
            record: &Record<Vec<u8>, Vec<u8>>,
            context: &mut Context<'_, Vec<u8>, Vec<u8>>,
        ) -> Result<(), Fault> {
            context.forward(record);
            Ok(())
        }
    }

    /// orders ─▶ seen (one store) ─▶ by-colour ─▶ count (two stores and a table) ─▶ out, and a global table of prices.
    fn topology() -> Topology {
        let mut builder = Topology::builder("shop");
        let orders = builder.source("orders", "orders-topic", (raw(), raw()));
        let seen = builder.store("seen", Stores::rocks(text(), text()));
        let rekeyed = builder.process("rekey", orders, Pass(vec![seen.index()]));
        let by_colour = builder.repartition("by-colour", rekeyed, raw(), raw());
        let counts = builder.store("counts", Stores::rocks(text(), text()));
        let sums = builder.store("sums", Stores::rocks(text(), text()));
        let names = builder.table("names", "names-topic", text(), text());
        let counted = builder.process("count", by_colour, Pass(vec![counts.index(), sums.index(), names.index()]));
        builder.global_table("prices", "prices-topic", text(), text());
        builder.sink("out", counted, "out-topic", raw(), raw());
        builder.build().unwrap()
    }

    #[test]
    fn r25_tasks_behind_a_repartition_and_tables_are_counted_with_the_partitions_that_they_have() {
        let topology = topology().of_application("app");
        let topic = |(name, partitions): (&str, i32)| (name.to_owned(), TopicState { partitions, replicas: None });
        let topics = [("orders-topic", 4), ("app-by-colour-repartition", 64), ("names-topic", 64), ("prices-topic", 9)];
        let topics: BTreeMap<String, TopicState> = topics.into_iter().map(topic).collect();
        assert_eq!(tasks(&topology, &topics), [(4, 1), (64, 3)]);
        let plan = MemoryPlan { budget: 100 * MIB, planned: 48 * MIB };
        assert!(plan.problem(&tasks(&topology, &topics), 1).unwrap().contains("64 tasks × (384 KiB + 3 stores"));
    }

    #[test]
    fn r25_a_budget_that_can_not_hold_all_tasks_is_refused_with_the_arithmetic() {
        let plan = MemoryPlan { budget: 512 * MIB, planned: 460 * MIB };
        assert_eq!(plan.problem(&[(64, 4)], 0), None);
        let text = plan.problem(&[(64, 4), (10, 1)], 0).unwrap();
        assert!(text.contains("64 tasks × (384 KiB + 4 stores × 96 KiB) + 10 tasks × (384 KiB + 1 stores × 96 KiB)"));
        assert!(text.contains("512 MiB is too little") && text.contains("460 MiB for") && text.contains("= 513 MiB"));
        assert_eq!(plan.problem(&[], 0), None);
        // 48 MiB of tasks leave 4 MiB: too little for a single global table.
        let text = plan.problem(&[(64, 4)], 1).unwrap();
        assert!(text.contains("4 stores × 96 KiB) + 384 KiB + 1 global tables × 8288 KiB = 517 MiB"), "{text}");
        assert_eq!(plan.problem(&[(0, 0)], 6), None);
        assert!(plan.problem(&[(0, 0)], 7).is_some());
        assert_eq!(MemoryPlan::UNBOUNDED.problem(&[(1 << 20, 100)], 100), None);
    }
}
