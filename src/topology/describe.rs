//! The picture of a topology: text (as Kafka Streams prints it), Mermaid, DOT, JSON.
//!
//! `describe` is what the README shows; a test keeps the two the same, so the picture can't go stale.

use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use crate::processor::Schedule;
use crate::store::StoreIndex;

use super::graph::StoreDeclaration;
use super::table::GlobalDeclaration;
use super::topics::Topics;

/// What a node is, while the graph is being declared.
#[derive(Debug, Clone)]
pub(super) enum NodeKind {
    Source { topics: Topics, codec: String },
    Workers { topics: Topics, codec: String },
    Process { stores: Vec<StoreIndex> },
    Sink { topic: String, codec: String },
    NamingSink { codec: String },
    External { target: String },
    Call { target: String },
}

/// A declared node and the edge it hangs on.
#[derive(Debug, Clone)]
pub(super) struct NodeSketch {
    pub(super) name: String,
    pub(super) kind: NodeKind,
    pub(super) parent: Option<usize>,
}

impl NodeSketch {
    pub(super) fn new(name: &str, kind: NodeKind, parent: Option<usize>) -> Self {
        NodeSketch { name: name.to_owned(), kind, parent }
    }
}

/// An output format of `describe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Kafka Streams' `Topology#describe` text, which kafka-streams-viz draws.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// Graphviz.
    Dot,
    /// The [`Description`] as JSON.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "text" => Ok(Format::Text),
            "mermaid" => Ok(Format::Mermaid),
            "dot" => Ok(Format::Dot),
            "json" => Ok(Format::Json),
            other => Err(format!("unknown format {other}; one of text, mermaid, dot, json")),
        }
    }
}

/// One node.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeDescription {
    /// Its name.
    pub name: String,
    /// `source`, `workers`, `processor`, `sink`, `naming-sink` (to the topics that its records name), `external` or `call`.
    pub kind: &'static str,
    /// Topics that it reads or writes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// Its codecs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Kind of the external target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Stores that it uses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<String>,
    /// Its punctuators, each with clock and interval.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub punctuators: Vec<String>,
    /// Nodes that feed it.
    pub predecessors: Vec<String>,
    /// Nodes that it feeds.
    pub successors: Vec<String>,
}

impl NodeDescription {
    fn reads(&self) -> bool {
        matches!(self.kind, "source" | "workers")
    }
}

/// A connected part.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SubTopologyDescription {
    /// Its number, the first half of a task id.
    pub id: u32,
    /// Its nodes in the order of declaration.
    pub nodes: Vec<NodeDescription>,
}

/// A topology as data.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Description {
    /// The topology's name.
    pub name: String,
    /// Its parts.
    pub sub_topologies: Vec<SubTopologyDescription>,
    /// Tables that each instance has whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub global_tables: Vec<GlobalTableDescription>,
    /// Where records go that can't be processed.
    pub dead_letters: Option<String>,
}

/// A global table.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GlobalTableDescription {
    /// Its name.
    pub name: String,
    /// The topic that it is a copy of.
    pub topic: String,
}

impl Description {
    pub(super) fn new(
        name: &str,
        nodes: &[NodeSketch],
        groups: &[u32],
        stores: &[StoreDeclaration],
        schedules: &[(usize, Arc<Schedule>)],
        dead_letters: Option<&str>,
    ) -> Self {
        let parts = groups.iter().max().map_or(0, |last| last + 1);
        let mut sub_topologies: Vec<SubTopologyDescription> =
            (0..parts).map(|id| SubTopologyDescription { id, nodes: Vec::new() }).collect();
        for (index, node) in nodes.iter().enumerate() {
            let id = groups[index];
            let mut description = describe_node(index, node, nodes, stores);
            let own = schedules.iter().filter(|(owner, _)| *owner == index);
            let own = own.flat_map(|(_, schedule)| &schedule.punctuators);
            description.punctuators = own.map(ToString::to_string).collect();
            sub_topologies[id as usize].nodes.push(description);
        }
        let global_tables = Vec::new();
        Description {
            name: name.to_owned(),
            sub_topologies,
            global_tables,
            dead_letters: dead_letters.map(str::to_owned),
        }
    }

    pub(super) fn with_globals(mut self, tables: &[GlobalDeclaration]) -> Self {
        let own = |table: &GlobalDeclaration| GlobalTableDescription {
            name: table.name.to_string(),
            topic: table.topic.to_string(),
        };
        self.global_tables = tables.iter().map(own).collect();
        self
    }

    /// Renders it.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Mermaid => self.mermaid(),
            Format::Dot => self.dot(),
            Format::Json => serde_json::to_string_pretty(self).unwrap_or_default() + "\n",
        }
    }

    fn nodes(&self) -> impl Iterator<Item = &NodeDescription> {
        self.sub_topologies.iter().flat_map(|part| &part.nodes)
    }

    fn text(&self) -> String {
        let mut text = String::from("Topologies:\n");
        for part in &self.sub_topologies {
            let is_of_workers = part.nodes.iter().any(|node| node.kind == "workers");
            let remark = if is_of_workers { " for a share group (will not generate tasks)" } else { "" };
            _ = writeln!(text, "   Sub-topology: {}{remark}", part.id);
            for node in &part.nodes {
                let successors = if node.successors.is_empty() { "none".into() } else { node.successors.join(", ") };
                let predecessors = node.predecessors.join(", ");
                let topics = node.topics.join(", ");
                _ = match node.kind {
                    "source" | "workers" => {
                        writeln!(text, "    Source: {} (topics: [{topics}])\n      --> {successors}", node.name)
                    }
                    "processor" => writeln!(
                        text,
                        "    Processor: {} (stores: [{}])\n      --> {successors}\n      <-- {predecessors}",
                        node.name,
                        node.stores.join(", ")
                    ),
                    "call" => writeln!(
                        text,
                        "    Processor: {} (stores: [])\n      --> {successors}\n      <-- {predecessors}",
                        node.name
                    ),
                    "sink" => writeln!(text, "    Sink: {} (topic: {topics})\n      <-- {predecessors}", node.name),
                    "naming-sink" => {
                        writeln!(text, "    Sink: {} (extractor class: record)\n      <-- {predecessors}", node.name)
                    }
                    _ => writeln!(
                        text,
                        "    Sink: {} (topic: {}:external)\n      <-- {predecessors}",
                        node.name,
                        node.target.as_deref().unwrap_or_default()
                    ),
                };
            }
            text.push('\n');
        }
        for (number, GlobalTableDescription { name, topic }) in (self.sub_topologies.len()..).zip(&self.global_tables) {
            _ = writeln!(text, "   Sub-topology: {number} for global store (will not generate tasks)");
            _ = writeln!(text, "    Source: {name}-source (topics: [{topic}])\n      --> {name}");
            _ = writeln!(text, "    Processor: {name} (stores: [{name}])\n      --> none\n      <-- {name}-source\n");
        }
        text
    }

    fn mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for node in self.nodes() {
            let id = identifier(&node.name);
            let line = match node.kind {
                "source" | "workers" => {
                    for topic in &node.topics {
                        // What another part writes is the same topic there.
                        let written = self.nodes().any(|other| other.kind == "sink" && other.topics.contains(topic));
                        let from = identifier(topic) + if written { "_topic" } else { "" };
                        _ = writeln!(text, "    {from}[/\"{topic}\"/] --> {id}");
                    }
                    let (open, close) = if node.kind == "workers" { ("[[", "]]") } else { ("([", "])") };
                    format!("{id}{open}\"{}\"{close}", node.name)
                }
                "processor" => format!("{id}[\"{}\"]", node.name),
                "sink" => {
                    let topic = node.topics.first().map(String::as_str).unwrap_or_default();
                    format!("{id}([\"{}\"]) --> {}[/\"{topic}\"/]", node.name, identifier(topic) + "_topic")
                }
                "naming-sink" => format!("{id}([\"{}\"]) --> {id}_topics[/\"topics that records name\"/]", node.name),
                _ => format!("{id}{{{{\"{} ({})\"}}}}", node.name, node.target.as_deref().unwrap_or_default()),
            };
            _ = writeln!(text, "    {line}");
            for store in &node.stores {
                _ = writeln!(text, "    {id} <--> {}[(\"{store}\")]", identifier(store) + "_store");
            }
            for successor in &node.successors {
                _ = writeln!(text, "    {id} --> {}", identifier(successor));
            }
        }
        for GlobalTableDescription { name, topic } in &self.global_tables {
            let (from, to) = (identifier(topic), identifier(name) + "_store");
            _ = writeln!(text, "    {from}[/\"{topic}\"/] --> {to}[(\"{name}\")]");
        }
        if let Some(topic) = &self.dead_letters {
            for source in self.nodes().filter(|node| node.reads()) {
                _ = writeln!(
                    text,
                    "    {} -. poison records .-> {}[/\"{topic}\"/]",
                    identifier(&source.name),
                    identifier(topic)
                );
            }
        }
        text
    }

    fn dot(&self) -> String {
        let mut text = format!("digraph \"{}\" {{\n    rankdir=LR;\n", self.name);
        for node in self.nodes() {
            let shape = match node.kind {
                "processor" => "box",
                "workers" => "box3d",
                "external" | "call" => "hexagon",
                _ => "oval",
            };
            _ = writeln!(text, "    \"{}\" [shape={shape}];", node.name);
            for topic in &node.topics {
                _ = writeln!(text, "    \"topic {topic}\" [label=\"{topic}\", shape=parallelogram];");
                _ = match node.reads() {
                    true => writeln!(text, "    \"topic {topic}\" -> \"{}\";", node.name),
                    false => writeln!(text, "    \"{}\" -> \"topic {topic}\";", node.name),
                };
            }
            if node.kind == "naming-sink" {
                _ = writeln!(
                    text,
                    "    \"topics of {}\" [label=\"topics that records name\", shape=parallelogram];",
                    node.name
                );
                _ = writeln!(text, "    \"{}\" -> \"topics of {}\";", node.name, node.name);
            }
            for store in &node.stores {
                _ = writeln!(text, "    \"store {store}\" [label=\"{store}\", shape=cylinder];");
                _ = writeln!(text, "    \"{}\" -> \"store {store}\" [dir=both];", node.name);
            }
            for successor in &node.successors {
                _ = writeln!(text, "    \"{}\" -> \"{successor}\";", node.name);
            }
        }
        for GlobalTableDescription { name, topic } in &self.global_tables {
            _ = writeln!(text, "    \"topic {topic}\" [label=\"{topic}\", shape=parallelogram];");
            _ = writeln!(text, "    \"store {name}\" [label=\"{name}\", shape=cylinder];");
            _ = writeln!(text, "    \"topic {topic}\" -> \"store {name}\";");
        }
        if let Some(topic) = &self.dead_letters {
            _ = writeln!(text, "    \"topic {topic}\" [label=\"{topic}\", shape=parallelogram];");
            for source in self.nodes().filter(|node| node.reads()) {
                _ = writeln!(text, "    \"{}\" -> \"topic {topic}\" [style=dashed, label=\"poison\"];", source.name);
            }
        }
        text + "}\n"
    }
}

fn describe_node(
    index: usize,
    node: &NodeSketch,
    nodes: &[NodeSketch],
    stores: &[StoreDeclaration],
) -> NodeDescription {
    let mut description = NodeDescription {
        name: node.name.clone(),
        kind: "processor",
        topics: Vec::new(),
        codec: None,
        target: None,
        stores: Vec::new(),
        punctuators: Vec::new(),
        predecessors: node
            .parent
            .and_then(|parent| nodes.get(parent))
            .map(|parent| parent.name.clone())
            .into_iter()
            .collect(),
        successors: nodes.iter().filter(|other| other.parent == Some(index)).map(|other| other.name.clone()).collect(),
    };
    match &node.kind {
        NodeKind::Source { topics, codec } => {
            description.kind = "source";
            description.topics = topics.iter().map(str::to_owned).collect();
            description.codec = Some(codec.clone());
        }
        NodeKind::Workers { topics, codec } => {
            description.kind = "workers";
            description.topics = topics.iter().map(str::to_owned).collect();
            description.codec = Some(codec.clone());
        }
        NodeKind::Process { stores: used } => {
            let names = used.iter().filter_map(|store| stores.get(store.0)).map(|store| store.spec.name.clone());
            description.stores = names.collect();
        }
        NodeKind::Sink { topic, codec } => {
            description.kind = "sink";
            description.topics = vec![topic.clone()];
            description.codec = Some(codec.clone());
        }
        NodeKind::NamingSink { codec } => {
            description.kind = "naming-sink";
            description.codec = Some(codec.clone());
        }
        NodeKind::External { target } => {
            description.kind = "external";
            description.target = Some(target.clone());
        }
        NodeKind::Call { target } => {
            description.kind = "call";
            description.target = Some(target.clone());
        }
    }
    description
}

/// A Mermaid identifier: letters, digits and underscores; `end` is a keyword there, hence the prefix.
fn identifier(name: &str) -> String {
    let mut id = String::from("n_");
    id.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    id
}
