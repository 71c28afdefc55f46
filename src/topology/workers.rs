//! Workers: a share group on topics, and what works on its records.
//!
//! They make no tasks: each instance is one member of the group, and any member is handed any record. So what stands behind
//! them is sinks only; to remember something, or to bring it into an order, is for a source on a sink's topic.

use std::fmt;
use std::sync::Arc;

use crate::codec::RecordCodec;
use crate::processor::{Worker, WorkerEntry, WorkerNode};

use super::builder::{Builder, Stream};
use super::describe::{NodeKind, NodeSketch};
use super::graph::{CodecUse, Topology};
use super::topics::Topics;

/// A node of workers, and how to make it.
#[derive(Clone)]
pub struct WorkersSpec {
    /// The node's name.
    pub name: String,
    /// What its group reads: topics, and their part of the turns.
    pub topics: Vec<(String, u32)>,
    /// On how many records an instance works at the same time.
    pub concurrency: usize,
    factory: Arc<dyn Fn() -> Arc<dyn WorkerEntry> + Send + Sync>,
}

impl WorkersSpec {
    /// The workers of this process.
    pub fn instantiate(&self) -> Arc<dyn WorkerEntry> {
        (self.factory)()
    }

    /// The share group's name.
    pub fn group(&self, application_id: &str) -> String {
        format!("{application_id}-{}", self.name)
    }
}

impl fmt::Debug for WorkersSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkersSpec").field("name", &self.name).field("topics", &self.topics).finish_non_exhaustive()
    }
}

impl Builder {
    /// Has a worker work on a topic's records, in each instance on `concurrency` of them at the same time. All instances are one
    /// share group, `<application-id>-<name>` (KIP-932): a record is handed to any of them, in no order.
    ///
    /// What the worker gives goes to the sinks that are put on the edge, and nowhere else.
    pub fn workers<W: Worker>(
        &mut self,
        name: &str,
        topic: &str,
        codec: impl RecordCodec<W::KeyIn, W::ValueIn>,
        concurrency: usize,
        worker: W,
    ) -> Stream<W::KeyOut, W::ValueOut> {
        self.workers_by_weight(name, &[(topic.to_owned(), 1)], codec, concurrency, worker)
    }

    /// The same on several topics, each with a weight: while there are records in all of them, each topic gets its part of what is
    /// begun. So none is starved, however much there is in the others, and what one leaves goes to them.
    pub fn workers_by_weight<W: Worker>(
        &mut self,
        name: &str,
        topics: &[(String, u32)],
        codec: impl RecordCodec<W::KeyIn, W::ValueIn>,
        concurrency: usize,
        worker: W,
    ) -> Stream<W::KeyOut, W::ValueOut> {
        let codec: Arc<dyn RecordCodec<W::KeyIn, W::ValueIn>> = Arc::new(codec);
        let names: Vec<String> = topics.iter().map(|(topic, _)| topic.clone()).collect();
        if names.is_empty() || names.iter().any(|topic| topic.starts_with('^')) {
            self.mistake(name, "reads no topic by its name; a share group takes no patterns");
        }
        if names.iter().enumerate().any(|(at, topic)| names[..at].contains(topic)) {
            self.mistake(name, "reads a topic twice; name each once, with one weight");
        }
        if concurrency == 0 {
            self.mistake(name, "works on 0 records at a time; it takes at least one");
        }
        self.codecs.push(CodecUse::reading(&codec));
        let sketch =
            NodeSketch::new(name, NodeKind::Workers { topics: Topics::from(&names), codec: codec.name() }, None);
        let (stream, slot) = self.node_with_edge(sketch);
        let worker = Arc::new(worker);
        let factory = Arc::new(move || -> Arc<dyn WorkerEntry> {
            Arc::new(WorkerNode::new(Arc::clone(&worker), Arc::clone(&codec), slot.instantiate()))
        });
        self.workers
            .push((stream.node, WorkersSpec { name: name.to_owned(), topics: topics.to_vec(), concurrency, factory }));
        stream
    }

    pub(super) fn check_workers(&mut self) {
        let is_worker = |node: usize| self.workers.iter().any(|(worker, _)| *worker == node);
        let behind = self.nodes.iter().filter(|node| node.parent.is_some_and(is_worker));
        let others = behind.filter(|node| !matches!(node.kind, NodeKind::Sink { .. }));
        let others: Vec<String> = others.map(|node| node.name.clone()).collect();
        for name in others {
            self.mistake(
                &name,
                "is put on workers, which have neither tasks nor order; put it on a source of a sink's topic",
            );
        }
    }

    /// Whether workers write the topic: what comes back from a share group has left the task it came from.
    pub(super) fn is_written_by_workers(&self, topic: &str) -> bool {
        let is_worker = |node: usize| self.workers.iter().any(|(worker, _)| *worker == node);
        let mut behind = self.nodes.iter().filter(|node| node.parent.is_some_and(is_worker));
        behind.any(|node| matches!(&node.kind, NodeKind::Sink { topic: written, .. } if written == topic))
    }
}

impl Topology {
    /// All workers.
    pub fn workers(&self) -> &[WorkersSpec] {
        &self.workers
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec::text;
    use crate::processor::{Context, Fault, Given, Job, Processor};
    use crate::record::Record;
    use crate::store::StoreIndex;
    use crate::topology::Format;

    type Strings = Record<String, String>;

    struct Echo;

    impl Worker for Echo {
        type KeyIn = String;
        type ValueIn = String;
        type KeyOut = String;
        type ValueOut = String;

        async fn run(&self, record: &Strings, _: &Job<String, String>) -> Given<String, String> {
            Ok(vec![record.clone()])
        }
    }

    #[derive(Clone)]
    struct Pass;

    impl Processor for Pass {
        type KeyIn = String;
        type ValueIn = String;
        type KeyOut = String;
        type ValueOut = String;

        fn stores(&self) -> Vec<StoreIndex> {
            Vec::new()
        }

        fn process(&mut self, record: &Strings, context: &mut Context<'_, String, String>) -> Result<(), Fault> {
            context.forward(record);
            Ok(())
        }
    }

    fn echo(builder: &mut Builder, name: &str, topics: &[&str], concurrency: usize) -> Stream<String, String> {
        let topics: Vec<(String, u32)> = topics.iter().map(|topic| ((*topic).to_owned(), 1)).collect();
        builder.workers_by_weight(name, &topics, (text(), text()), concurrency, Echo)
    }

    #[test]
    fn what_is_no_share_group_is_refused_by_name() {
        let mut builder = Topology::builder("app");
        echo(&mut builder, "none", &[], 1);
        echo(&mut builder, "pattern", &["a", "^b"], 1);
        let idle = echo(&mut builder, "idle", &["a"], 0);
        builder.process("ordered", idle, Pass);
        let error = builder.build().unwrap_err().to_string();
        for expected in
            ["none reads no topic", "pattern reads no topic", "idle works on 0 records", "ordered is put on workers"]
        {
            let (node, reason) = expected.split_once(' ').unwrap();
            assert!(error.lines().any(|line| line.contains(node) && line.contains(reason)), "{expected}: {error}");
        }
    }

    /// A task's sub-topology keeps its number, and with it its state, wherever workers are declared.
    #[test]
    fn workers_make_no_tasks_and_may_close_a_circle() {
        let mut builder = Topology::builder("app");
        let done = echo(&mut builder, "work", &["jobs"], 4);
        builder.sink("done", done, "done", text(), text());
        let wanted = builder.source("wanted", &"done".to_owned(), (text(), text()));
        let jobs = builder.process("plan", wanted, Pass);
        builder.sink("jobs", jobs, "jobs", text(), text());
        let topology = builder.build().unwrap();
        assert_eq!((topology.sub_topologies(), topology.sources()[0].sub_topology), (1, 0));
        assert_eq!(topology.workers()[0].group("app"), "app-work");
        let text = topology.describe().render(Format::Text);
        assert!(
            text.contains(
                "Sub-topology: 1 for a share group (will not generate tasks)\n    Source: work (topics: [jobs])"
            ),
            "{text}"
        );
        let mermaid = topology.describe().render(Format::Mermaid);
        assert!(mermaid.contains("n_work[[\"work\"]]"), "{mermaid}");
    }

    #[test]
    fn a_topology_may_be_workers_alone() {
        let mut builder = Topology::builder("app");
        echo(&mut builder, "work", &["jobs"], 4);
        let topology = builder.build().unwrap();
        assert_eq!((topology.sub_topologies(), topology.describe().sub_topologies.len()), (0, 1));
    }
}
