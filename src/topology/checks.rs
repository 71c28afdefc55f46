//! What is checked of a topology as a whole, once it is declared: loose ends, topics that are read twice, cycles; and which
//! nodes belong together.

use std::collections::BTreeSet;

use super::builder::Builder;
use super::describe::NodeKind;
use super::graph::{SourceSpec, StoreDeclaration};

/// A way that records take from one sub-topology to another.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    /// The node that is told of, if they go round.
    pub(super) node: String,
    pub(super) from: u32,
    pub(super) to: u32,
    /// What is told then.
    pub(super) reason: String,
}

/// Whether what goes this way comes back.
fn goes_round(edges: &[Edge], edge: &Edge) -> bool {
    let mut reached = vec![edge.to];
    while let Some(next) = edges.iter().find(|next| reached.contains(&next.from) && !reached.contains(&next.to)) {
        reached.push(next.to);
    }
    reached.contains(&edge.from)
}

impl Builder {
    pub(super) fn check_loose_ends(&mut self) {
        if self.sources.is_empty() && self.workers.is_empty() {
            let name = self.name.clone();
            self.mistake(&name, "has neither source nor workers; nothing would ever happen");
        }
        let used: BTreeSet<usize> = self.nodes.iter().filter_map(|node| node.parent).collect();
        let sources: Vec<_> = self.sources.iter().map(|(node, source)| (*node, source.name.clone())).collect();
        for (node, name) in sources {
            if !used.contains(&node) {
                self.mistake(&name, "has no consumer; put a processor or a sink on it");
            }
        }
        // A table is used by its own source, too.
        let is_unused = |store: &StoreDeclaration, users: usize| users == usize::from(store.table.is_some());
        let unused: Vec<_> = self.stores.iter().filter(|(store, users)| is_unused(store, users.len())).collect();
        let unused: Vec<_> = unused.into_iter().map(|(store, _)| store.spec.name.clone()).collect();
        for store in unused {
            self.mistake(&store, "is used by no processor; name it in Processor::stores or remove it");
        }
    }

    /// Those of topics that have their names from outside, with their nodes.
    fn foreign_sources(&self) -> impl Iterator<Item = (usize, &SourceSpec)> {
        let is_own = |index: usize| self.repartitions.iter().any(|(own, ..)| own.source == index);
        let foreign = self.sources.iter().enumerate().filter(move |(index, _)| !is_own(*index));
        foreign.map(|(_, (node, source))| (*node, source))
    }

    /// A record is processed once: by the first source that matches its topic.
    pub(super) fn check_sources(&mut self) {
        let mut mistakes = Vec::new();
        let sources: Vec<_> = self.foreign_sources().map(|(_, source)| source).collect();
        for (at, source) in sources.iter().enumerate() {
            for earlier in &sources[..at] {
                let both = source.topics.names().find(|topic| earlier.topics.matches(topic));
                let both = both.or_else(|| earlier.topics.names().find(|topic| source.topics.matches(topic)));
                if let Some(topic) = both {
                    let reason = format!("reads {topic}, as {} does; put both processors on one source", earlier.name);
                    mistakes.push((source.name.clone(), reason));
                }
            }
        }
        mistakes.iter().for_each(|(source, reason)| self.mistake(source, reason));
    }

    /// What goes round would never end: no sub-topology may get its own records back, by whatever way. What workers give comes back
    /// from a share group: it has left the task that it came from. What is declared to come back may.
    pub(super) fn check_cycles(&mut self, groups: &[u32]) {
        let mut edges = self.edges_between();
        let written = self.nodes.iter().enumerate().filter_map(|(node, sketch)| match &sketch.kind {
            NodeKind::Sink { topic, .. } if self.is_written_by_workers(topic) || self.feedback.contains(topic) => None,
            NodeKind::Sink { topic, .. } => Some((groups[node], topic)),
            _ => None,
        });
        for (from, topic) in written {
            let read = self.foreign_sources().filter(|(_, source)| source.topics.matches(topic));
            let reason = format!("reads {topic}, which this topology writes: a cycle");
            edges.extend(read.map(|(to, source)| Edge {
                node: source.name.clone(),
                from,
                to: groups[to],
                reason: reason.clone(),
            }));
        }
        let mut mistakes: Vec<Edge> = Vec::new();
        for edge in edges.iter().filter(|edge| goes_round(&edges, edge)) {
            let is_told = mistakes.iter().any(|told| (&told.node, &told.reason) == (&edge.node, &edge.reason));
            if !is_told {
                mistakes.push(edge.clone());
            }
        }
        mistakes.iter().for_each(|edge| self.mistake(&edge.node, &edge.reason));
        self.check_dead_letters();
    }

    /// Dead letters come from everywhere.
    fn check_dead_letters(&mut self) {
        let Some((topic, _)) = &self.dead_letters else { return };
        let topic = self.sink_topics[*topic].clone();
        let readers = self.foreign_sources().filter(|(_, source)| source.topics.matches(&topic));
        let readers: Vec<_> = readers.map(|(_, source)| source.name.clone()).collect();
        for reader in readers {
            self.mistake(&reader, &format!("reads {topic}, which this topology writes: a cycle"));
        }
    }

    /// The sub-topology of each node: what is connected by edges or by a shared store.
    pub(super) fn group(&self) -> Vec<u32> {
        let mut root: Vec<usize> = (0..self.nodes.len()).collect();
        fn find(root: &mut [usize], mut node: usize) -> usize {
            while root[node] != node {
                root[node] = root[root[node]];
                node = root[node];
            }
            node
        }
        let mut join = |a: usize, b: usize| {
            let (a, b) = (find(&mut root, a), find(&mut root, b));
            root[a.max(b)] = a.min(b);
        };
        for (index, node) in self.nodes.iter().enumerate() {
            if let Some(parent) = node.parent.filter(|&parent| parent < self.nodes.len()) {
                join(index, parent);
            }
        }
        for (_, users) in &self.stores {
            users.iter().for_each(|&user| join(user, users.first().copied().unwrap_or(user)));
        }
        // Workers make no tasks, so that theirs are the last numbers.
        let of_workers: BTreeSet<usize> = self.workers.iter().map(|(node, _)| find(&mut root, *node)).collect();
        let mut numbers = Vec::new();
        for node in 0..self.nodes.len() {
            let root = find(&mut root, node);
            if !of_workers.contains(&root) && !numbers.contains(&root) {
                numbers.push(root);
            }
        }
        (0..self.nodes.len())
            .map(|node| {
                let root = find(&mut root, node);
                let known = numbers.iter().position(|&number| number == root);
                known.unwrap_or_else(|| {
                    numbers.push(root);
                    numbers.len() - 1
                }) as u32
            })
            .collect()
    }
}
