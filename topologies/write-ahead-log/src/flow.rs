//! The topology, node by node.

use std::sync::Arc;

use headrace::codec::{avro, raw, text};
use headrace::dead_letter::Policy;
use headrace::error::FatalError;
use headrace::processor::Only;
use headrace::store::{self, GlobalTable, Lines, Stores};
use headrace::topology::{Builder, Stream, Topology};

use crate::breaker::Breakers;
use crate::calls::Calls;
use crate::config::Config;
use crate::conflict::Conflict;
use crate::due::Timers;
use crate::entry::{Command, Entry, MutationResult};
use crate::group::{Group, GroupRecord, GroupResult};
use crate::groups::{ByGroup, GroupStep, Groups};
use crate::input::{ByLane, Input, InputCodec};
use crate::ledger::{Ledger, Step};
use crate::log::Log;
use crate::mutation::Mutation;
use crate::namespace::Namespace;
use crate::settle::Settle;
use crate::stamps::Stamps;
use crate::targets::topic::TopicValue;
use crate::targets::{Options, Targets};
use crate::version::Clock;
use crate::versions::Versions;

/// How often a record is tried that a processor fails at.
const ATTEMPTS: u32 = 3;

/// The topology, with the table of what holds for whom.
pub(crate) fn build(config: &Config) -> Result<(Topology, GlobalTable<String, Namespace>), FatalError> {
    let (topics, mut builder) = (&config.topics, Topology::builder("write-ahead-log"));
    builder.own_feedback_topic(&topics.mutations);
    builder.own_feedback_topic(&topics.commands);
    builder.own_topic(&topics.namespaces);
    builder.own_feedback_topic(&topics.groups);
    let namespaces = builder.global_table("namespaces", &topics.namespaces, text(), avro::<Namespace>());
    let inputs = vec![topics.mutations.clone(), of_namespaces(&topics.mutations), topics.commands.clone()];
    let inputs = builder.source("inputs", &inputs, InputCodec::new(&topics.commands));
    let stamps = Stamps {
        region: config.region.name.clone(),
        clock: Clock::default(),
        last: builder.store("hybrid-clock", Stores::memory(text(), text())),
    };
    let by_lane = builder.process("lane", inputs, ByLane { namespaces: namespaces.clone(), stamps });
    let by_lane = builder.repartition("lanes", by_lane, text(), avro::<Input>());
    groups(config, &mut builder, &namespaces);
    let ledger = Ledger {
        entries: builder.store("entries", Stores::rocks(text(), avro::<Entry>())),
        lines: Lines::new(builder.store("lines", Stores::rocks(raw(), raw()))),
        clocks: builder.store("clocks", Stores::rocks(text(), text())),
        timers: Timers(store::Timers::new(builder.store("timers", Stores::rocks(raw(), raw())))),
        delays: Timers(store::Timers::new(builder.store("delays", Stores::rocks(raw(), raw())))),
        versions: Versions { last: builder.store("versions", Stores::rocks(text(), text())) },
        namespaces: namespaces.clone(),
        breakers: Breakers::default(),
    };
    let log = Log::new(ledger.clone(), config.mutations.tick.duration(), &config.region.name);
    let steps = builder.process("log", by_lane, log);
    let woken = Only::new(|step| if let Step::Wake(command) = step { Some(command) } else { None });
    let woken = builder.process("woken", steps, woken);
    builder.sink("wake", woken, &topics.commands, text(), avro::<Command>());
    let lost = Only::new(|step| if let Step::Conflict(conflict) = step { Some(&**conflict) } else { None });
    let lost = builder.process("lost", steps, lost);
    builder.sink("conflicts", lost, &topics.conflicts, text(), avro::<Conflict>());
    let asked = Only::new(|step| if let Step::Ask(ask) = step { Some(&**ask) } else { None });
    let asked = builder.process("asked", steps, asked);
    let targets = Arc::new(Targets::new(Options { most_links: config.targets.connections }));
    let answers = builder.call("targets", asked, Calls { targets });
    let settled = builder.process("settle", answers, Settle { ledger });
    ends(config, &mut builder, steps, "");
    ends(config, &mut builder, settled, "-settled");
    let written = Only::new(|step| if let Step::Written(record) = step { Some(record) } else { None });
    let written = builder.process("written", settled, written);
    builder.sink_by("target-topics", written, |record| &record.value.topic, text(), TopicValue);
    builder.dead_letters(&topics.dead_letters, Policy::after_attempts(ATTEMPTS));
    let topology = builder.build().map_err(|error| FatalError::Topology(error.to_string()))?;
    Ok((topology, namespaces))
}

/// Groups, as long as they are not written into the log.
fn groups(config: &Config, builder: &mut Builder, namespaces: &GlobalTable<String, Namespace>) {
    let topics = &config.topics;
    let records = builder.source("groups", &topics.groups, (raw(), avro::<GroupRecord>()));
    let by_group = builder.process("by-group", records, ByGroup);
    let by_group = builder.repartition("groups", by_group, text(), avro::<GroupRecord>());
    let groups = Groups {
        groups: builder.store("groups", Stores::rocks(text(), avro::<Group>())),
        staged: builder.store("staged", Stores::rocks(text(), avro::<Mutation>())),
        timers: store::Timers::new(builder.store("group-timers", Stores::rocks(raw(), raw()))),
        namespaces: namespaces.clone(),
        patience: config.groups.timeout.duration(),
        tick: config.mutations.tick.duration(),
    };
    let steps = builder.process("staging", by_group, groups);
    let written = Only::new(|step| if let GroupStep::Write(mutation) = step { Some(mutation) } else { None });
    let written = builder.process("due-operations", steps, written);
    builder.sink("operations", written, &topics.mutations, text(), avro::<Mutation>());
    let ended = Only::new(|step| if let GroupStep::Ended(result) = step { Some(result) } else { None });
    let ended = builder.process("ended-groups", steps, ended);
    builder.sink("group-results", ended, &topics.group_results, text(), avro::<GroupResult>());
}

/// The topics that namespaces have for themselves.
fn of_namespaces(mutations: &str) -> String {
    format!("^{}\\..+", mutations.replace('.', "\\."))
}

/// What has become of mutations; `suffix` tells the nodes from others.
fn ends(config: &Config, builder: &mut Builder, steps: Stream<String, Step>, suffix: &str) {
    let ended = Only::new(|step| if let Step::Ended(result) = step { Some(result) } else { None });
    let ended = builder.process(&format!("ended{suffix}"), steps, ended);
    builder.sink(&format!("results{suffix}"), ended, &config.topics.results, text(), avro::<MutationResult>());
    let exhausted = Only::new(|step| if let Step::Exhausted(mutation) = step { Some(mutation) } else { None });
    let exhausted = builder.process(&format!("given-up{suffix}"), steps, exhausted);
    builder.sink(&format!("exhausted{suffix}"), exhausted, &config.topics.exhausted, text(), avro::<Mutation>());
    let progress = Only::new(|step| if let Step::Progress(progress) = step { Some(progress) } else { None });
    let progress = builder.process(&format!("ended-operations{suffix}"), steps, progress);
    builder.sink(&format!("progress{suffix}"), progress, &config.topics.groups, text(), avro::<GroupRecord>());
}
