//! What is known of the mutations of a partition: who waits for what, and what comes next.
//!
//! ```text
//!  entries   id ▶ entry                        what has become of it, and its value until it is applied
//!  lines     lane ▶ 3 ── 7 ── 8                who is behind a mutation that was not done, by number
//!  clocks    lane ▶ when its line goes on      one timer for each line in which somebody stands
//!  delays    time ▶ begin                      whose time comes when
//!  timers    time ▶ line, forget, version
//!  versions  namespace, target, key ▶ when and where it was written last, where several regions write
//! ```
//!
//! A mutation whose line is empty is asked at once, and never stands in one. One that was not done is parked: it becomes the first
//! of a line, and whoever comes after it stands behind, while all other lanes go on (M8). All of this is state of one task, changed
//! in the transaction that has read the cause; answers are in before it is sealed. So across a commit nobody is
//! [asked](State::Asked), and a line has somebody in it if, and only if, it has a clock.

use headrace::processor::{Context, Fault};
use headrace::record::{Headers, Record, Timestamp};
use headrace::store::{GlobalTable, Lines, Store, StoreIndex};

use crate::breaker::{Breakers, Trip};
use crate::conflict::Conflict;
use crate::due::{Due, Timers};
use crate::entry::{Command, Entry, MutationResult, State};
use crate::group::{self, GroupRecord, Member, Progress};
use crate::mutation::Mutation;
use crate::namespace::{Namespace, OnExhausted, TargetSpec};
use crate::targets::topic::TopicRecord;
use crate::versions::Versions;

/// When a line goes on, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    /// In milliseconds since the epoch.
    pub(crate) at: i64,
    pub(crate) pace: Pace,
}

/// How a line goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Its first one alone. Others of the lane may have been asked before the first one failed, and their answers, that they were held,
    /// are on their way: they have places before those who stand in line. When the first one's next answer is in, theirs are, too.
    One,
    /// As many as there are: all who may have to be before them stand in line.
    Many,
    /// Not at all, until somebody says what is to be done.
    Halted,
}

impl Clock {
    const HALTED: Clock = Clock { at: i64::MAX, pace: Pace::Halted };

    pub(crate) fn one(at: i64) -> Self {
        Clock { at, pace: Pace::One }
    }

    pub(crate) fn many(at: i64) -> Self {
        Clock { at, pace: Pace::Many }
    }

    /// As stored.
    fn encode(self) -> String {
        match self.pace {
            Pace::One => format!("{} one", self.at),
            Pace::Many => format!("{} many", self.at),
            Pace::Halted => "halted".to_owned(),
        }
    }

    /// One that nobody can read goes on at once: its line must not stand still for good.
    fn decode(text: &str) -> Self {
        match text.split_once(' ') {
            None if text == "halted" => Clock::HALTED,
            Some((at, pace)) => {
                Clock { at: at.parse().unwrap_or(0), pace: if pace == "many" { Pace::Many } else { Pace::One } }
            }
            None => Clock::one(0),
        }
    }
}

/// What a mutation's target is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Which mutation.
    pub entry: Entry,
    /// Where it is to be written.
    pub target: TargetSpec,
    /// Whether it stands in its line.
    pub in_line: bool,
    /// Whether it is asked although one of its lane was not done before it.
    pub anew: bool,
    /// Whether it is the last of those of its line that are asked together.
    pub is_last: bool,
}

/// What leaves the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A target is to be asked.
    Ask(Box<Ask>),
    /// A mutation has ended.
    Ended(MutationResult),
    /// It was given up, and is kept as it came.
    Exhausted(Mutation),
    /// An operation of a group has ended; the key is the group's.
    Progress(GroupRecord),
    /// It was applied by being written to a topic; the key is the mutation's.
    Written(TopicRecord),
    /// The log is to be told what the time is.
    Wake(Command),
    /// It lost against another region's; the key is the namespace and what orders it.
    Conflict(Box<Conflict>),
}

/// A processor's context here.
pub type Out<'a> = Context<'a, String, Step>;

/// The state of all mutations of a partition.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// By id.
    pub entries: Store<String, Entry>,
    /// By lane.
    pub lines: Lines,
    /// By lane: when its line goes on, and how.
    pub clocks: Store<String, String>,
    /// When lines go on, and what need not be known any more: by the clock.
    pub timers: Timers,
    /// When the times of mutations come that were put off: by what comes in (see [`number`](crate::number)).
    pub delays: Timers,
    /// When keys were written last.
    pub versions: Versions,
    /// What holds for whom.
    pub namespaces: GlobalTable<String, Namespace>,
    /// Which targets are left alone.
    pub breakers: Breakers,
}

impl Ledger {
    /// The stores.
    pub fn stores(&self) -> Vec<StoreIndex> {
        let timers = [self.timers.0.index(), self.delays.0.index()];
        let tables = [self.entries.index(), self.lines.index(), self.clocks.index(), self.versions.last.index()];
        tables.into_iter().chain(timers).collect()
    }

    /// Writes an entry.
    pub(crate) fn write(&self, entry: &Entry, out: &mut Out<'_>) -> Result<(), Fault> {
        out.store(&self.entries).write(&entry.id(), Some(entry))
    }

    /// Gives something on.
    pub(crate) fn give(&self, lane: &str, step: Step, headers: Headers, out: &mut Out<'_>) {
        let (key, timestamp) = (lane.to_owned(), out.now());
        out.forward(&Record { key, value: step, timestamp, headers });
    }

    /// Its only end.
    pub(crate) fn end(&self, mut entry: Entry, state: State, remember_ms: i64, out: &mut Out<'_>) -> Result<(), Fault> {
        let (id, lane, Timestamp(now)) = (entry.id(), entry.lane(), out.now());
        (entry.state, entry.since, entry.due) = (state, now, None);
        let value = entry.mutation.value.take();
        self.write(&entry, out)?;
        self.timers.set(now.saturating_add(remember_ms), &Due::Forget(id), out)?;
        out.count(state.name(), &entry.mutation.namespace);
        self.give(&lane, Step::Ended(MutationResult::from(&entry)), Headers::new(), out);
        if let Some(member) = &entry.mutation.group {
            let (group, progress) = (group::id(&entry.mutation.namespace, &member.group), progress(&entry, member));
            self.give(&group, Step::Progress(progress), Headers::new(), out);
        }
        if state == State::Exhausted {
            let headers = why(&entry);
            let mutation = Mutation { value, ..entry.mutation };
            self.give(&lane, Step::Exhausted(mutation), headers, out);
        }
        Ok(())
    }

    /// It came too late.
    pub(crate) fn supersede(
        &self,
        mut entry: Entry,
        conflict: Conflict,
        remember_ms: i64,
        out: &mut Out<'_>,
    ) -> Result<(), Fault> {
        entry.reason = Some(match &conflict.kept {
            Some(kept) => format!("region {} has written the key later", kept.region),
            None => "it is older than version-window, and so may be what was written since".to_owned(),
        });
        self.give(&entry.mutation.record_key(), Step::Conflict(Box::new(conflict)), Headers::new(), out);
        self.end(entry, State::Superseded, remember_ms, out)
    }

    /// It can't be done. Its line goes on without it, or stands still, as the namespace has it (rule W10).
    pub(crate) fn give_up(
        &self,
        mut entry: Entry,
        namespace: &Namespace,
        in_line: bool,
        out: &mut Out<'_>,
    ) -> Result<(), Fault> {
        let lane = entry.lane();
        match namespace.on_exhausted {
            OnExhausted::Skip => {
                if in_line {
                    self.leave(&lane, &entry, out)?;
                }
                self.end(entry, State::Exhausted, namespace.dedup_window_ms, out)
            }
            OnExhausted::Halt => {
                (entry.state, entry.since) = (State::Halted, out.now().0);
                out.count(entry.state.name(), &entry.mutation.namespace);
                self.stand(&lane, &entry, in_line, out)?;
                self.set_clock(&lane, Clock::HALTED, out)?;
                self.write(&entry, out)
            }
        }
    }

    /// Puts one into its line, at its number; true if it is the first one there.
    pub(crate) fn stand(&self, lane: &str, entry: &Entry, in_line: bool, out: &mut Out<'_>) -> Result<bool, Fault> {
        if in_line {
            return Ok(false);
        }
        let number = entry.number.unwrap_or_default();
        out.lines(&self.lines).join_at(lane.as_bytes(), number, entry.id().as_bytes())
    }

    /// Takes one out of its line; who stood behind it is the first one then.
    pub(crate) fn leave(&self, lane: &str, entry: &Entry, out: &mut Out<'_>) -> Result<(), Fault> {
        let number = entry.number.unwrap_or_default();
        out.lines(&self.lines).leave(lane.as_bytes(), number)?;
        if out.lines(&self.lines).first(lane.as_bytes())?.is_none() {
            self.stop_clock(lane, out)?;
        }
        Ok(())
    }

    /// Has a line go on at a time, if no time is set.
    pub(crate) fn wake(&self, lane: &str, clock: Clock, out: &mut Out<'_>) -> Result<(), Fault> {
        match self.clock(lane, out)? {
            Some(_) => Ok(()),
            None => self.set_clock(lane, clock, out),
        }
    }

    /// Has a line go on at this time, whatever was set.
    pub(crate) fn set_clock(&self, lane: &str, clock: Clock, out: &mut Out<'_>) -> Result<(), Fault> {
        self.stop_clock(lane, out)?;
        if clock.pace != Pace::Halted {
            self.timers.set(clock.at, &Due::Line(lane.to_owned()), out)?;
        }
        out.store(&self.clocks).write(&lane.to_owned(), Some(&clock.encode()))
    }

    /// Has a line not go on by itself.
    pub(crate) fn stop_clock(&self, lane: &str, out: &mut Out<'_>) -> Result<(), Fault> {
        let Some(clock) = self.clock(lane, out)? else { return Ok(()) };
        if clock.pace != Pace::Halted {
            self.timers.cancel(clock.at, &Due::Line(lane.to_owned()), out)?;
        }
        out.store(&self.clocks).write(&lane.to_owned(), None)
    }

    /// When a line goes on.
    pub(crate) fn clock(&self, lane: &str, out: &mut Out<'_>) -> Result<Option<Clock>, Fault> {
        Ok(out.store(&self.clocks).read(&lane.to_owned())?.map(|clock| Clock::decode(&clock)))
    }
}

fn progress(entry: &Entry, member: &Member) -> GroupRecord {
    let (sequence, target, state) = (member.sequence, entry.target().to_owned(), entry.state);
    GroupRecord {
        namespace: entry.mutation.namespace.clone(),
        group: member.group.clone(),
        progress: Some(Progress { sequence, target, state }),
        ..GroupRecord::default()
    }
}

/// What holds for a target's breaker.
pub(crate) fn trip(namespace: &Namespace) -> Trip {
    Trip { failures: namespace.breaker.failures.max(0).unsigned_abs(), open_ms: namespace.breaker.open_ms }
}

/// What a target's breaker is known by.
pub(crate) fn breaker_of(entry: &Entry) -> String {
    format!("{}/{}", entry.mutation.namespace, entry.target())
}

/// What the record of one that was given up says beside it.
fn why(entry: &Entry) -> Headers {
    let mut headers = Headers::new();
    headers.push("headrace-target", entry.target());
    headers.push("headrace-attempts", entry.attempts.to_string());
    headers.push("headrace-reason", entry.reason.as_deref().unwrap_or_default());
    headers
}
