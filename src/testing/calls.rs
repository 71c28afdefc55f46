//! Targets of calls, as a driven topology sees them: what they answer is the test's to say.

use std::collections::{BTreeMap, BTreeSet};

use crate::position::{Origin, Position, TaskId};
use crate::processor::{Answer, Effects, Reply, Settled, SinkIndex};
use crate::record::Timestamp;
use crate::task::{Task, TaskFault};

use super::driver::TopologyDriver;

type Replies = Box<dyn FnMut(&[u8]) -> Reply + Send>;

/// What the targets of calls reply, by the calls' names.
#[derive(Default)]
pub(super) struct Targets(BTreeMap<String, Replies>);

/// A call that was made, and not yet answered.
pub(super) struct Asked {
    sink: SinkIndex,
    order: u64,
    call: u64,
    anew: bool,
    body: Vec<u8>,
}

/// The calls among a task's effects.
pub(super) fn asked(effects: &Effects) -> Vec<Asked> {
    let calls = effects.requests().iter().filter_map(|request| {
        let call = request.call?;
        let (sink, order, body) = (request.sink, request.order, effects.body(request).to_vec());
        Some(Asked { sink, order, call: call.number, anew: call.anew, body })
    });
    calls.collect()
}

/// What one record, or one tick, has left undone: of each call's order keys.
#[derive(Default)]
pub(super) struct Undone(BTreeSet<(usize, u64)>);

impl TopologyDriver {
    /// How the target of a call answers from here on, by what was asked. Where nothing is said it has done it.
    pub fn answer(&mut self, call: &str, replies: impl FnMut(&[u8]) -> Reply + Send + 'static) {
        self.targets.0.insert(call.to_owned(), Box::new(replies));
    }

    /// The target's answer to one call: it sees none behind one of the same order key that it has not done.
    pub(super) fn answer_to(&mut self, asked: &Asked, undone: &mut Undone) -> Answer {
        let place = (asked.sink.0, asked.order);
        if asked.anew {
            undone.0.remove(&place);
        }
        if undone.0.contains(&place) {
            return Answer::Held;
        }
        let name = &self.topology.externals()[asked.sink.0].name;
        let reply = self.targets.0.get_mut(name).map_or(Reply::Done("done"), |replies| replies(&asked.body));
        if !matches!(reply, Reply::Done(_)) {
            undone.0.insert(place);
        }
        reply.into()
    }
}

/// Tells a task what was answered.
///
/// # Errors
/// The nodes below the call have failed. A runtime would set aside whatever has asked.
pub(super) fn tell(
    task: &mut Task,
    asked: &Asked,
    answer: &Answer,
    origin: &Origin,
    now: Timestamp,
) -> Result<(), TaskFault> {
    let Some(error) = task.settle(Settled { sink: asked.sink, call: asked.call, answer }, origin, now)? else {
        return Ok(());
    };
    Err(match origin {
        Origin::Record(position) => TaskFault::Unhandled { position: position.clone(), error },
        Origin::Punctuator { task, name } => {
            TaskFault::UnhandledTick { task: *task, name: name.to_string(), at: now, reason: error.to_string() }
        }
    })
}

/// A record's place, as what has asked.
pub(super) fn record_at(topic: &str, id: TaskId, offset: crate::position::Offset) -> Origin {
    Origin::Record(Position { topic: topic.into(), partition: id.partition, offset })
}
