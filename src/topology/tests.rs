//! Each mistake in a declaration is named with its node, and what is built is drawn as declared.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::codec::{raw, text};
use crate::dead_letter::Policy;
use crate::error::RecordError;
use crate::processor::{
    BoxFuture, Connect, Context, ExternalSink, Failure, Fault, Processor, Punctuator, Requests, Target,
};
use crate::record::{Record, Timestamp};
use crate::store::{Store, StoreIndex, Stores};

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

#[derive(Debug)]
struct Nowhere;

impl ExternalSink<Bytes, Bytes> for Nowhere {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn requests(&self, _: &Record<Bytes, Bytes>, _: &mut Requests<'_>) -> Result<(), RecordError> {
        Ok(())
    }

    fn target(&self) -> Arc<dyn Connect> {
        Arc::new(Nowhere)
    }
}

impl Connect for Nowhere {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Target>, Failure>> {
        Box::pin(async { Err(Failure::Away("nowhere".into())) })
    }
}

fn store(builder: &mut Builder, name: &str) -> Store<String, String> {
    builder.store(name, Stores::memory(text(), text()))
}

fn source(builder: &mut Builder, name: &str, topic: &str) -> Stream<Bytes, Bytes> {
    builder.source(name, topic, (raw(), raw()))
}

/// A topology without a mistake, into which `add` builds one; gives the error's text.
fn mistake(add: impl FnOnce(&mut Builder, Stream<Bytes, Bytes>)) -> String {
    let mut builder = Topology::builder("shop");
    let orders = source(&mut builder, "orders", "orders-topic");
    builder.sink("copy", orders, "copies", raw(), raw());
    add(&mut builder, orders);
    builder.build().map(drop).unwrap_err().to_string()
}

#[test]
fn each_mistake_names_its_node_and_the_way_out() {
    let text = mistake(|builder, orders| builder.sink("copy", orders, "other", raw(), raw()));
    assert_eq!(text, "topology shop: copy: is declared twice; node names are unique");
    let text = mistake(|builder, orders| builder.sink("Copy 2", orders, "other", raw(), raw()));
    assert!(text.starts_with("topology shop: Copy 2: is no kebab-case name"), "{text}");
    let text = mistake(|builder, _| _ = source(builder, "refunds", "refunds-topic"));
    assert_eq!(text, "topology shop: refunds: has no consumer; put a processor or a sink on it");
    let text = mistake(|builder, _| _ = store(builder, "totals"));
    assert_eq!(text, "topology shop: totals: is used by no processor; name it in Processor::stores or remove it");
    let text = mistake(|builder, orders| {
        let (first, _) = (store(builder, "totals"), store(builder, "totals"));
        _ = builder.process("p", orders, Pass(vec![first.index(), StoreIndex(1)]));
    });
    assert_eq!(text, "topology shop: totals: is declared twice; store names are unique");
    let text = mistake(|builder, orders| _ = builder.process("p", orders, Pass(vec![StoreIndex(7)])));
    assert_eq!(text, "topology shop: p: uses a store of another topology; declare it on this builder");
    let text = mistake(|builder, orders| builder.sink("back", orders, "orders-topic", raw(), raw()));
    assert_eq!(text, "topology shop: orders: reads orders-topic, which this topology writes: a cycle");
    let text = mistake(|builder, _| {
        builder.dead_letters("dead", Policy::after_attempts(1));
        builder.dead_letters("buried", Policy::after_attempts(1));
    });
    assert_eq!(text, "topology shop: buried: is a second dead-letter topic; a topology has one");
    let text = mistake(|builder, _| {
        let nothing = builder.source("nothing", &Vec::<String>::new(), (raw(), raw()));
        builder.sink("s", nothing, "other", raw(), raw());
    });
    assert_eq!(text, "topology shop: nothing: reads no topic; name at least one");
    let text = mistake(|builder, _| {
        let pattern = source(builder, "pattern", "^(");
        builder.sink("s", pattern, "other", raw(), raw());
    });
    assert!(text.starts_with("topology shop: pattern: is subscribed to an invalid pattern: ^("), "{text}");
}

/// As it is with a topic that others write, too.
#[test]
fn a_topic_that_is_written_and_read_is_a_cycle_only_if_records_come_back() {
    let mut builder = Topology::builder("shop");
    let late = source(&mut builder, "late", "late-topic");
    builder.sink("to-orders", late, "orders-topic", raw(), raw());
    let orders = source(&mut builder, "orders", "orders-topic");
    builder.sink("out", orders, "out-topic", raw(), raw());
    assert_eq!(builder.build().unwrap().sub_topologies(), 2);
    let text = mistake(|builder, orders| {
        builder.sink("to-late", orders, "late-topic", raw(), raw());
        let late = source(builder, "late", "late-topic");
        builder.sink("to-orders", late, "orders-topic", raw(), raw());
    });
    for reader in ["late: reads late-topic", "orders: reads orders-topic"] {
        assert!(text.contains(&format!("{reader}, which this topology writes: a cycle")), "{text}");
    }
}

#[test]
fn a_topic_that_is_declared_to_feed_back_may_go_round() {
    let feedback = |declares: bool| {
        let mut builder = Topology::builder("shop");
        let orders = source(&mut builder, "orders", "orders-topic");
        builder.sink("back", orders, "orders-topic", raw(), raw());
        if declares {
            builder.own_feedback_topic("orders-topic");
        }
        builder.build()
    };
    assert!(feedback(false).is_err());
    assert_eq!(feedback(true).unwrap().made_topics(), ["orders-topic"]);
}

#[test]
fn a_dead_letter_topic_that_is_read_is_a_cycle() {
    let text = mistake(|builder, _| builder.dead_letters("orders-topic", Policy::after_attempts(1)));
    assert_eq!(text, "topology shop: orders: reads orders-topic, which this topology writes: a cycle");
}

#[test]
fn a_topic_is_read_by_one_source() {
    for topic in ["orders-topic", "^orders.*"] {
        let text = mistake(|builder, _| {
            let again = source(builder, "again", topic);
            builder.sink("s", again, "other", raw(), raw());
        });
        assert_eq!(text, "topology shop: again: reads orders-topic, as orders does; put both processors on one source");
    }
}

#[test]
fn a_handle_of_another_builder_is_a_mistake() {
    let mut other = Topology::builder("other");
    let foreign = source(&mut other, "foreign", "foreign-topic");
    let text = mistake(|builder, _| builder.sink("s", foreign, "out", raw(), raw()));
    assert_eq!(text, "topology shop: s: is put on an edge of another topology; use this builder's handles");
}

#[test]
fn mistakes_are_reported_together() {
    let builder = Topology::builder("");
    let text = builder.build().map(drop).unwrap_err().to_string();
    assert_eq!(text.lines().count(), 2, "name and missing source: {text}");
}

/// Two parts: a stateful one with every kind of node, and a copy beside it.
fn shop() -> Topology {
    let mut builder = Topology::builder("shop");
    let orders = source(&mut builder, "orders", "orders-topic");
    let totals = store(&mut builder, "totals");
    let summed = builder.process("sum", orders, Pass(vec![totals.index()]));
    builder.sink("sums", summed, "sums-topic", raw(), raw());
    builder.external("notify", summed, Nowhere);
    let clicks = source(&mut builder, "clicks", "^clicks.*");
    builder.sink("end", clicks, "copies", raw(), raw());
    builder.dead_letters("dead", Policy::after_attempts(3));
    builder.build().unwrap()
}

#[test]
fn parts_without_an_edge_or_store_between_them_are_sub_topologies() {
    let topology = shop();
    assert_eq!(topology.sub_topologies(), 2);
    let parts: Vec<_> = topology.sources().iter().map(|source| (source.name.as_str(), source.sub_topology)).collect();
    assert_eq!(parts, [("orders", 0), ("clicks", 1)]);
    assert_eq!(topology.stores()[0].sub_topology, 0);
}

#[test]
fn a_shared_store_joins_two_parts() {
    let mut builder = Topology::builder("joined");
    let (left, right) = (source(&mut builder, "left", "l"), source(&mut builder, "right", "r"));
    let shared = store(&mut builder, "shared");
    _ = builder.process("p", left, Pass(vec![shared.index()]));
    _ = builder.process("q", right, Pass(vec![shared.index()]));
    assert_eq!(builder.build().unwrap().sub_topologies(), 1);
}

#[test]
fn state_has_a_new_identity_when_its_stores_change() {
    let id = |names: &[&str]| {
        let mut builder = Topology::builder("shop");
        let orders = source(&mut builder, "orders", "o");
        let stores = names.iter().map(|name| store(&mut builder, name).index()).collect();
        _ = builder.process("p", orders, Pass(stores));
        builder.build().unwrap().state_id()
    };
    assert_eq!(id(&["a", "b"]), id(&["a", "b"]));
    assert_ne!(id(&["a", "b"]), id(&["a"]));
    assert_ne!(id(&["a"]), id(&["b"]));
}

const TEXT: &str = "Topologies:
   Sub-topology: 0
    Source: orders (topics: [orders-topic])
      --> sum
    Processor: sum (stores: [totals])
      --> sums, notify
      <-- orders
    Sink: sums (topic: sums-topic)
      <-- sum
    Sink: notify (topic: http:external)
      <-- sum

   Sub-topology: 1
    Source: clicks (topics: [^clicks.*])
      --> end
    Sink: end (topic: copies)
      <-- clicks

";

const MERMAID: &str = "flowchart LR
    n_orders_topic[/\"orders-topic\"/] --> n_orders
    n_orders([\"orders\"])
    n_orders --> n_sum
    n_sum[\"sum\"]
    n_sum <--> n_totals_store[(\"totals\")]
    n_sum --> n_sums
    n_sum --> n_notify
    n_sums([\"sums\"]) --> n_sums_topic_topic[/\"sums-topic\"/]
    n_notify{{\"notify (http)\"}}
    n__clicks__[/\"^clicks.*\"/] --> n_clicks
    n_clicks([\"clicks\"])
    n_clicks --> n_end
    n_end([\"end\"]) --> n_copies_topic[/\"copies\"/]
    n_orders -. poison records .-> n_dead[/\"dead\"/]
    n_clicks -. poison records .-> n_dead[/\"dead\"/]
";

const DOT: &str = "digraph \"shop\" {
    rankdir=LR;
    \"orders\" [shape=oval];
    \"topic orders-topic\" [label=\"orders-topic\", shape=parallelogram];
    \"topic orders-topic\" -> \"orders\";
    \"orders\" -> \"sum\";
    \"sum\" [shape=box];
    \"store totals\" [label=\"totals\", shape=cylinder];
    \"sum\" -> \"store totals\" [dir=both];
    \"sum\" -> \"sums\";
    \"sum\" -> \"notify\";
    \"sums\" [shape=oval];
    \"topic sums-topic\" [label=\"sums-topic\", shape=parallelogram];
    \"sums\" -> \"topic sums-topic\";
    \"notify\" [shape=hexagon];
    \"clicks\" [shape=oval];
    \"topic ^clicks.*\" [label=\"^clicks.*\", shape=parallelogram];
    \"topic ^clicks.*\" -> \"clicks\";
    \"clicks\" -> \"end\";
    \"end\" [shape=oval];
    \"topic copies\" [label=\"copies\", shape=parallelogram];
    \"end\" -> \"topic copies\";
    \"topic dead\" [label=\"dead\", shape=parallelogram];
    \"orders\" -> \"topic dead\" [style=dashed, label=\"poison\"];
    \"clicks\" -> \"topic dead\" [style=dashed, label=\"poison\"];
}
";

#[test]
fn is_described_as_it_is_declared() {
    let topology = shop();
    let render = |format: &str| topology.describe().render(format.parse().unwrap());
    assert_eq!(render("text"), TEXT);
    assert_eq!(render("mermaid"), MERMAID);
    assert_eq!(render("dot"), DOT);
    assert!("png".parse::<Format>().unwrap_err().contains("one of text, mermaid, dot, json"));
}

#[test]
fn json_holds_what_the_pictures_show() {
    let json: serde_json::Value = serde_json::from_str(&shop().describe().render(Format::Json)).unwrap();
    assert_eq!(json["name"], "shop");
    assert_eq!(json["dead-letters"], "dead");
    let sum = &json["sub-topologies"][0]["nodes"][1];
    let wanted = serde_json::json!({
        "name": "sum", "kind": "processor", "stores": ["totals"],
        "predecessors": ["orders"], "successors": ["sums", "notify"],
    });
    assert_eq!(*sum, wanted);
    let end = &json["sub-topologies"][1]["nodes"][1];
    let wanted = serde_json::json!({
        "name": "end", "kind": "sink", "topics": ["copies"], "codec": "raw, raw",
        "predecessors": ["clicks"], "successors": [],
    });
    assert_eq!(*end, wanted);
}

#[test]
fn a_sink_whose_topics_its_records_name_is_described_as_such() {
    let mut builder = Topology::builder("shop");
    let orders = source(&mut builder, "orders", "orders-topic");
    builder.sink_by("feeds", orders, |record| std::str::from_utf8(&record.key).unwrap(), raw(), raw());
    let topology = builder.build().unwrap();
    assert_eq!(topology.sink_topics(), [""; 0], "nobody makes or checks them");
    let render = |format: &str| topology.describe().render(format.parse().unwrap());
    assert!(render("text").contains("    Sink: feeds (extractor class: record)\n      <-- orders\n"));
    assert!(render("mermaid").contains("n_feeds([\"feeds\"]) --> n_feeds_topics[/\"topics that records name\"/]"));
    assert!(render("dot").contains("    \"feeds\" -> \"topics of feeds\";\n"));
    let json: serde_json::Value = serde_json::from_str(&render("json")).unwrap();
    assert_eq!(json["sub-topologies"][0]["nodes"][1]["kind"], "naming-sink");
}

#[test]
fn a_topology_knows_its_own_topics_by_whatever_name() {
    let mut builder = Topology::builder("shop");
    let orders = source(&mut builder, "orders", "orders-topic");
    let clicks = source(&mut builder, "clicks", "^clicks\\..+");
    builder.sink("copies", orders, "copies-topic", raw(), raw());
    builder.sink("more", clicks, "copies-topic", raw(), raw());
    builder.own_topic("made-topic");
    builder.dead_letters("dead", Policy::after_attempts(1));
    let topology = builder.build().unwrap();
    for own in ["orders-topic", "clicks.a", "copies-topic", "made-topic", "dead", "app-1-totals-changelog"] {
        assert!(topology.has_topic("app-1", own), "{own}");
    }
    for other in ["orders", "clicks", "app-2-totals-changelog", "app-1", "app-10"] {
        assert!(!topology.has_topic("app-1", other), "{other}");
    }
}

/// Has punctuators, and forwards nothing.
#[derive(Clone)]
struct Ticking(Vec<Punctuator>);

impl Processor for Ticking {
    type KeyIn = Bytes;
    type ValueIn = Bytes;
    type KeyOut = Bytes;
    type ValueOut = Bytes;

    fn punctuators(&self) -> Vec<Punctuator> {
        self.0.clone()
    }

    fn process(&mut self, _: &Record<Bytes, Bytes>, _: &mut Context<'_, Bytes, Bytes>) -> Result<(), Fault> {
        Ok(())
    }
}

#[test]
fn r27_punctuators_have_a_store_with_a_changelog_and_are_drawn() {
    let mut builder = Topology::builder("shop");
    let orders = source(&mut builder, "orders", "orders-topic");
    let hour = Punctuator::stream_time("hour", Duration::from_secs(3600)).anchored_at(Timestamp(0));
    let punctuators = vec![hour, Punctuator::wall_clock("flush", Duration::from_secs(5))];
    builder.process("sum", orders, Ticking(punctuators));
    let topology = builder.build().unwrap();
    let store = &topology.stores()[0];
    assert_eq!((store.spec.name.as_str(), store.spec.changelog, store.sub_topology), ("sum-punctuators", true, 0));
    assert_eq!(topology.schedules(0).map(|schedule| schedule.punctuators.len()).collect::<Vec<_>>(), [2]);
    assert_eq!(topology.schedules(1).count(), 0);
    let json: serde_json::Value = serde_json::from_str(&topology.describe().render(Format::Json)).unwrap();
    let node = &json["sub-topologies"][0]["nodes"][1];
    let drawn = ["hour (every 3600000 ms of stream-time from 0)", "flush (every 5000 ms of wall-clock)"];
    assert_eq!((&node["stores"][0], &node["punctuators"]), (&"sum-punctuators".into(), &drawn.as_slice().into()));
}

#[test]
fn each_mistake_of_a_punctuator_names_its_processor() {
    let ticking = |punctuators| mistake(|builder, orders| _ = builder.process("p", orders, Ticking(punctuators)));
    let flush = |millis| Punctuator::wall_clock("flush", Duration::from_millis(millis));
    assert_eq!(ticking(vec![flush(0)]), "topology shop: p: punctuator flush: an interval below 1 ms");
    let text = ticking(vec![flush(1), flush(2)]);
    assert_eq!(text, "topology shop: p: has two punctuators flush; their names are unique");
    let text = ticking(vec![Punctuator::wall_clock("Flush it", Duration::from_secs(1))]);
    assert!(text.starts_with("topology shop: Flush it: is no kebab-case name"), "{text}");
    let text = mistake(|builder, orders| {
        let own = store(builder, "p-punctuators");
        let p = builder.process("p", orders, Ticking(vec![flush(1)]));
        builder.process("q", p, Pass(vec![own.index()]));
    });
    assert!(text.contains("p-punctuators: is the store of the processor's punctuators"), "{text}");
}
