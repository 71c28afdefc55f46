//! Topologies whose records go through topics of their own, and that look things up in tables.

use super::super::{Builder, Format, Stream, Topology};
use crate::codec::{raw, text};
use crate::processor::{Context, Fault, Processor};
use crate::record::Record;
use crate::store::{StoreIndex, Stores};

type Bytes = Vec<u8>;

#[derive(Clone)]
struct Pass(Vec<StoreIndex>);

impl Processor for Pass {
    type KeyIn = Bytes;
    type ValueIn = Bytes;
    type KeyOut = Bytes;
    type ValueOut = Bytes;

    fn stores(&self) -> Vec<StoreIndex> {
        self.0.clone()
    }

    fn process(&mut self, record: &Record<Bytes, Bytes>, context: &mut Context<'_, Bytes, Bytes>) -> Result<(), Fault> {
        context.forward(record);
        Ok(())
    }
}

fn source(builder: &mut Builder, name: &str) -> Stream<Bytes, Bytes> {
    builder.source(name, &format!("{name}-topic"), (raw(), raw()))
}

/// orders ─▶ rekey ─▶ by-colour ─▶ count (counts, names) ─▶ out
fn shop() -> Topology {
    let mut builder = Topology::builder("shop");
    let orders = source(&mut builder, "orders");
    let rekeyed = builder.process("rekey", orders, Pass(Vec::new()));
    let by_colour = builder.repartition("by-colour", rekeyed, raw(), raw());
    let counts = builder.store("counts", Stores::memory(text(), text()));
    let names = builder.table("names", "names-topic", text(), text());
    let counted = builder.process("count", by_colour, Pass(vec![counts.index(), names.index()]));
    builder.sink("out", counted, "out-topic", raw(), raw());
    builder.build().unwrap()
}

fn refused(add: impl FnOnce(&mut Builder, Stream<Bytes, Bytes>)) -> String {
    let mut builder = Topology::builder("shop");
    let orders = source(&mut builder, "orders");
    builder.sink("copy", orders, "copies", raw(), raw());
    add(&mut builder, orders);
    builder.build().map(drop).unwrap_err().to_string()
}

#[test]
fn a_repartition_parts_two_sub_topologies_and_a_table_belongs_to_its_readers() {
    let topology = shop();
    assert_eq!(topology.sub_topologies(), 2);
    let parts: Vec<_> = topology.sources().iter().map(|source| (source.name.as_str(), source.sub_topology)).collect();
    assert_eq!(parts, [("orders", 0), ("by-colour-repartition-source", 1), ("names-source", 1)]);
    assert!(topology.stores().iter().all(|store| store.sub_topology == 1));
    let table = &topology.stores()[1];
    assert_eq!((table.table.as_deref(), table.spec.changelog), (Some("names-topic"), false), "not copied once more");
    let [own] = topology.repartitions() else { panic!("one") };
    assert_eq!((own.from, own.to, own.partitions), (0, 1, None));
}

#[test]
fn its_topic_has_the_applications_id_once_that_is_known() {
    let topology = shop().of_application("shop-7");
    assert!(topology.is_between("shop-7-by-colour-repartition") && !topology.is_between("by-colour-repartition"));
    assert!(topology.reads(1, "shop-7-by-colour-repartition") && !topology.reads(0, "shop-7-by-colour-repartition"));
    assert_eq!(topology.sink_topics(), ["shop-7-by-colour-repartition", "out-topic"]);
    let again = topology.of_application("shop-7");
    assert_eq!(again.sink_topics(), topology.sink_topics(), "saying it again changes nothing");
    assert_eq!(topology.read_whole().collect::<Vec<_>>(), ["shop-7-by-colour-repartition", "names-topic"]);
    assert_eq!(shop().state_id(), topology.state_id(), "the state is the same");
}

#[test]
fn equal_partitions_are_needed_only_within_a_sub_topology() {
    assert!(shop().is_co_partitioned(), "the table and the topic between are read by the same tasks");
    let mut builder = Topology::builder("shop");
    let orders = source(&mut builder, "orders");
    let through = builder.repartition_into("through", orders, 9, raw(), raw());
    builder.sink("out", through, "out-topic", raw(), raw());
    let topology = builder.build().unwrap();
    assert_eq!((topology.sub_topologies(), topology.is_co_partitioned()), (2, false));
    assert_eq!(topology.repartitions()[0].partitions, Some(9));
}

#[test]
fn what_would_go_round_is_refused() {
    let refusal = refused(|builder, orders| {
        let shared = builder.store("shared", Stores::memory(text(), text()));
        let before = builder.process("before", orders, Pass(vec![shared.index()]));
        let after = builder.repartition("by-colour", before, raw(), raw());
        builder.process("after", after, Pass(vec![shared.index()]));
    });
    assert!(refusal.starts_with("topology shop: by-colour: goes back to where it comes from: a cycle."), "{refusal}");
    let refusal = refused(|builder, orders| {
        let shared = builder.store("shared", Stores::memory(text(), text()));
        let before = builder.process("before", orders, Pass(vec![shared.index()]));
        let first = builder.repartition("first", before, raw(), raw());
        let between = builder.process("between", first, Pass(Vec::new()));
        let second = builder.repartition("second", between, raw(), raw());
        builder.process("after", second, Pass(vec![shared.index()]));
    });
    assert_eq!(refusal.matches("a cycle").count(), 2, "both are part of it: {refusal}");
}

#[test]
fn each_mistake_names_its_node() {
    let refusal = refused(|builder, orders| {
        let one = builder.repartition("by-colour", orders, raw(), raw());
        let two = builder.repartition("by-colour", one, raw(), raw());
        builder.sink("end", two, "out", raw(), raw());
    });
    assert!(refusal.contains("by-colour-repartition-sink: is declared twice; node names are unique"), "{refusal}");
    let refusal = refused(|builder, orders| _ = builder.repartition("by-colour", orders, raw(), raw()));
    assert_eq!(
        refusal,
        "topology shop: by-colour-repartition-source: has no consumer; put a processor or a sink on it"
    );
    let refusal = refused(|builder, orders| {
        let split = builder.repartition_into("by-colour", orders, 0, raw(), raw());
        builder.sink("end", split, "out", raw(), raw());
    });
    assert_eq!(refusal, "topology shop: by-colour: is split into less than one partition");
    let refusal = refused(|builder, _| _ = builder.table("names", "names-topic", text(), text()));
    assert_eq!(refusal, "topology shop: names: is used by no processor; name it in Processor::stores or remove it");
    let refusal = refused(|builder, orders| {
        let names = builder.table("names", "orders-topic", text(), text());
        builder.process("p", orders, Pass(vec![names.index()]));
    });
    assert!(refusal.contains("names-source: reads orders-topic, as orders does"), "{refusal}");
    let refusal = refused(|builder, orders| {
        let names = builder.table("names", "copies", text(), text());
        builder.process("p", orders, Pass(vec![names.index()]));
    });
    assert!(refusal.contains("names-source: reads copies, which this topology writes: a cycle"), "{refusal}");
}

#[test]
fn a_topic_of_the_same_name_is_another_topic() {
    let mut builder = Topology::builder("shop");
    let orders = source(&mut builder, "orders");
    builder.sink("own", orders, "by-colour-repartition", raw(), raw());
    let through = builder.repartition("by-colour", orders, raw(), raw());
    builder.sink("again", through, "by-colour-repartition", raw(), raw());
    let topology = builder.build().unwrap().of_application("shop");
    assert_eq!(topology.sink_topics(), ["by-colour-repartition", "shop-by-colour-repartition"]);
}

const TEXT: &str = "Topologies:
   Sub-topology: 0
    Source: orders (topics: [orders-topic])
      --> rekey
    Processor: rekey (stores: [])
      --> by-colour-repartition-sink
      <-- orders
    Sink: by-colour-repartition-sink (topic: by-colour-repartition)
      <-- rekey

   Sub-topology: 1
    Source: by-colour-repartition-source (topics: [by-colour-repartition])
      --> count
    Source: names-source (topics: [names-topic])
      --> names
    Processor: names (stores: [names])
      --> none
      <-- names-source
    Processor: count (stores: [counts, names])
      --> out
      <-- by-colour-repartition-source
    Sink: out (topic: out-topic)
      <-- count

";

#[test]
fn is_drawn_as_kafka_streams_draws_it() {
    let topology = shop();
    assert_eq!(topology.describe().render(Format::Text), TEXT);
    let mermaid = topology.describe().render(Format::Mermaid);
    let ends = [
        "n_by_colour_repartition_sink([\"by-colour-repartition-sink\"]) --> n_by_colour_repartition_topic[",
        "n_by_colour_repartition_topic[/\"by-colour-repartition\"/] --> n_by_colour_repartition_source",
    ];
    assert!(ends.iter().all(|end| mermaid.contains(end)), "both ends are one topic: {mermaid}");
    let dot = topology.describe().render(Format::Dot);
    let ends = [
        "\"by-colour-repartition-sink\" -> \"topic by-colour-repartition\"",
        "\"topic by-colour-repartition\" -> \"by-colour-repartition-source\"",
    ];
    assert!(ends.iter().all(|end| dot.contains(end)), "{dot}");
    let json: serde_json::Value = serde_json::from_str(&topology.describe().render(Format::Json)).unwrap();
    assert_eq!(json["sub-topologies"][1]["nodes"][2]["stores"][0], "names");
}
