//! Targets of calls, as a driven topology sees them: what they answer is the test's to say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::position::{Origin, Position, TaskId};
use crate::processor::{Answer, Effects, Reply, Settled, SinkIndex};
use crate::record::Timestamp;
use crate::task::{Task, TaskFault};

use super::driver::TopologyDriver;

type Replies = Box<dyn FnMut(&[u8]) -> Reply + Send>;

/// Who answers calls, and which ones wait for it.
#[derive(Default)]
pub(super) struct Calls {
    /// What the targets reply, by the calls' names.
    targets: BTreeMap<String, Replies>,
    waiting: VecDeque<(Asked, Origin, Timestamp)>,
    /// Order keys of which something was not done since last nobody waited, by task and sink.
    undone: BTreeSet<(TaskId, usize, u64)>,
    /// Whose transactions are open.
    open: BTreeSet<TaskId>,
}

/// A call that was made, and not yet answered.
struct Asked {
    task: TaskId,
    sink: SinkIndex,
    order: u64,
    call: u64,
    anew: bool,
    body: Vec<u8>,
}

impl Calls {
    /// Takes the calls among a task's effects.
    pub(super) fn take(&mut self, task: TaskId, effects: &Effects, origin: &Origin, timestamp: Timestamp) {
        for request in effects.requests() {
            let Some(call) = request.call else { continue };
            if self.waiting.is_empty() {
                self.undone.clear();
            }
            let (sink, order, body) = (request.sink, request.order, effects.body(request).to_vec());
            let asked = Asked { task, sink, order, call: call.number, anew: call.anew, body };
            self.waiting.push_back((asked, origin.clone(), timestamp));
        }
    }

    /// A task has an open transaction.
    pub(super) fn open(&mut self, task: TaskId) {
        self.open.insert(task);
    }

    /// The target's answer to one call: it sees none behind one of the same order key that it has not done.
    fn answer(&mut self, asked: &Asked, target: &str) -> Answer {
        let place = (asked.task, asked.sink.0, asked.order);
        if asked.anew {
            self.undone.remove(&place);
        }
        if self.undone.contains(&place) {
            return Answer::Held;
        }
        let reply = self.targets.get_mut(target).map_or(Reply::Done("done"), |replies| replies(&asked.body));
        if !matches!(reply, Reply::Done(_)) {
            self.undone.insert(place);
        }
        reply.into()
    }
}

impl TopologyDriver {
    /// How the target of a call answers from here on, by what was asked. Where nothing is said it has done it.
    pub fn answer(&mut self, call: &str, replies: impl FnMut(&[u8]) -> Reply + Send + 'static) {
        self.calls.targets.insert(call.to_owned(), Box::new(replies));
    }

    /// Answers the call that has waited longest; false if none does.
    ///
    /// # Errors
    /// The nodes below the call have failed. A runtime would set aside whatever has asked.
    pub fn settle_next(&mut self) -> Result<bool, TaskFault> {
        let Some((asked, origin, timestamp)) = self.calls.waiting.pop_front() else { return Ok(false) };
        let answer = self.calls.answer(&asked, &self.topology.externals()[asked.sink.0].name);
        let now = self.clock.now();
        if let Some(task) = self.tasks.get_mut(&asked.task) {
            tell(task, &asked, &answer, &origin, now)?;
        }
        self.carry_out(asked.task, &origin, timestamp)?;
        Ok(true)
    }

    /// Answers all calls, and commits what is open.
    ///
    /// # Errors
    /// As [`settle_next`](Self::settle_next).
    pub fn settle(&mut self) -> Result<(), TaskFault> {
        while self.settle_next()? {}
        std::mem::take(&mut self.calls.open).into_iter().try_for_each(|task| self.finish(task))
    }
}

/// Tells a task what was answered.
///
/// # Errors
/// The nodes below the call have failed. A runtime would set aside whatever has asked.
fn tell(task: &mut Task, asked: &Asked, answer: &Answer, origin: &Origin, now: Timestamp) -> Result<(), TaskFault> {
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
