//! Keeps the operations of a group until all are there, and then has them written, one after the other.
//!
//! ```text
//!  groups topic ─▶ by-group ─▶ groups (groups, staged, group-timers) ─┬─▶ mutations topic: the next operations
//!        ▲                                                            └─▶ group-results: DONE, ABORTED
//!        └── log: an operation has ended at a target ◀── mutations topic ◀──┘
//! ```
//!
//! An operation whose turn has come is a mutation like any other: it has its place among those of its key, is tried again, and is known by
//! its token, so that nothing happens twice. Each step is one transaction: what has come, what is kept, and what is sent on.

use std::time::Duration;

use headrace::error::{RecordError, Stage};
use headrace::processor::{Context, Fault, Processor, Punctuator, Tick};
use headrace::record::{Headers, Record, Timestamp};
use headrace::store::{GlobalTable, Store, StoreIndex, Timers};

use crate::group::{self, End, Group, GroupRecord, GroupResult, MOST_OPERATIONS, Member, Phase, Progress, Staged};
use crate::mutation::{Mutation, is_name};
use crate::namespace::Namespace;

/// Timers that are taken in one go.
const AT_ONCE: usize = 100;
/// Operations of one key that are written together, and how many bytes of them.
const OF_A_KEY: usize = 64;
const BYTES_OF_A_KEY: usize = 1 << 20;

/// Gives each record the group as its key, whoever has written it.
#[derive(Debug, Clone)]
pub struct ByGroup;

impl Processor for ByGroup {
    type KeyIn = Vec<u8>;
    type ValueIn = GroupRecord;
    type KeyOut = String;
    type ValueOut = GroupRecord;

    fn process(
        &mut self,
        record: &Record<Vec<u8>, GroupRecord>,
        context: &mut Context<'_, String, GroupRecord>,
    ) -> Result<(), Fault> {
        let GroupRecord { namespace, group, .. } = &record.value;
        is_name(namespace).map_err(|reason| refused("group-name", format!("namespace: {reason}")))?;
        group::is_group(group).map_err(|reason| refused("group-name", format!("group: {reason}")))?;
        context.forward(&record.map(group::id(namespace, group), record.value.clone()));
        Ok(())
    }
}

/// What leaves the groups.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupStep {
    /// An operation's turn has come.
    Write(Mutation),
    /// A group has ended.
    Ended(GroupResult),
}

type Out<'a> = Context<'a, String, GroupStep>;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Groups {
    /// By [`group::id`].
    pub groups: Store<String, Group>,
    /// Operations that were not sent on, by group and place.
    pub staged: Store<String, Mutation>,
    /// When groups are looked at.
    pub timers: Timers,
    /// What holds for whom.
    pub namespaces: GlobalTable<String, Namespace>,
    /// How long the rest of a group is waited for.
    pub patience: Duration,
    /// How exact times are kept.
    pub tick: Duration,
}

impl Processor for Groups {
    type KeyIn = String;
    type ValueIn = GroupRecord;
    type KeyOut = String;
    type ValueOut = GroupStep;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.groups.index(), self.staged.index(), self.timers.index()]
    }

    fn punctuators(&self) -> Vec<Punctuator> {
        vec![Punctuator::wall_clock("due-groups", self.tick)]
    }

    fn punctuate(&mut self, _: &Tick<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
        for timer in out.timers(&self.timers).take(AT_ONCE)? {
            let id = String::from_utf8(timer.of).unwrap_or_default();
            let group = out.store(&self.groups).read(&id)?;
            if let Some(group) = group.filter(|group| group.timer == timer.at.0) {
                self.ring(group, out)?;
            }
        }
        Ok(())
    }

    fn process(&mut self, record: &Record<String, GroupRecord>, out: &mut Out<'_>) -> Result<(), Fault> {
        let (id, value) = (&record.key, &record.value);
        let known = out.store(&self.groups).read(id)?;
        if let Some(progress) = &value.progress {
            return known.map_or(Ok(()), |group| self.progress(group, progress, out));
        }
        let name = &value.namespace;
        let Some(namespace) = out.global(&self.namespaces).read(name)? else {
            return Err(Namespace::unknown(name).into());
        };
        let group = match known {
            Some(group) => group,
            None => self.open(value, out)?,
        };
        match value {
            GroupRecord { operation: Some(staged), .. } => self.stage(group, staged, &namespace, record.timestamp, out),
            GroupRecord { end: Some(end), .. } => self.end(group, end, out),
            GroupRecord { abort: true, .. } if matches!(group.phase, Phase::Open | Phase::Complete) => {
                self.abort(group, "it was taken back".to_owned(), out)
            }
            GroupRecord { abort: true, .. } => {
                out.count("too-late", name);
                Ok(())
            }
            GroupRecord { .. } => {
                Err(refused("empty", "a record that says nothing; send an operation, an end, or abort".to_owned()))
            }
        }
    }
}

impl Groups {
    fn open(&self, record: &GroupRecord, out: &mut Out<'_>) -> Result<Group, Fault> {
        let Timestamp(now) = out.now();
        let mut group = Group {
            namespace: record.namespace.clone(),
            group: record.group.clone(),
            phase: Phase::Open,
            end: None,
            staged: 0,
            next: 0,
            pending: Vec::new(),
            given_up: 0,
            timer: 0,
            since: now,
            reason: None,
        };
        out.count(group.phase.name(), &group.namespace);
        self.set_timer(&mut group, now.saturating_add(millis(self.patience)), out)?;
        Ok(group)
    }

    /// An operation has come: it is kept until all are there.
    fn stage(
        &self,
        mut group: Group,
        staged: &Staged,
        namespace: &Namespace,
        came: Timestamp,
        out: &mut Out<'_>,
    ) -> Result<(), Fault> {
        if group.phase != Phase::Open {
            out.count("late-operation", &group.namespace);
            return Ok(());
        }
        let mutation = Mutation { token: group::token(&group.group, staged.sequence), ..staged.mutation.clone() };
        if let Err(reason) = is_fit(&group, staged, &mutation, namespace, came) {
            return self.abort(group, format!("operation {}: {reason}", staged.sequence), out);
        }
        let place = place(&group, staged.sequence);
        match out.store(&self.staged).read(&place)? {
            Some(before) if group::checksum(&before) == staged.checksum => return Ok(()),
            Some(_) => {
                let reason = format!("operation {}: has come twice, and is not the same", staged.sequence);
                return self.abort(group, reason, out);
            }
            None => out.store(&self.staged).write(&place, Some(&mutation))?,
        }
        group.staged += 1;
        self.look(group, out)
    }

    fn end(&self, mut group: Group, end: &End, out: &mut Out<'_>) -> Result<(), Fault> {
        match &group.end {
            _ if group.phase != Phase::Open => return Ok(()),
            Some(before) if before == end => return Ok(()),
            Some(_) => return self.abort(group, "its end has come twice, and is not the same".to_owned(), out),
            None => {}
        }
        if !(1..=MOST_OPERATIONS).contains(&end.operations) {
            let reason = format!("it is to have {} operations; send 1 to {MOST_OPERATIONS}", end.operations);
            return self.abort(group, reason, out);
        }
        group.end = Some(end.clone());
        self.look(group, out)
    }

    /// Whether all are there, and are what was sent (rule W13).
    fn look(&self, mut group: Group, out: &mut Out<'_>) -> Result<(), Fault> {
        let Some(end) = group.end.clone().filter(|end| group.staged >= end.operations) else {
            return self.write(&group, out);
        };
        let mut checksums = Vec::new();
        for sequence in 0..end.operations {
            match out.store(&self.staged).read(&place(&group, sequence))? {
                Some(mutation) => checksums.push(group::checksum(&mutation)),
                None => {
                    return self.abort(
                        group,
                        format!("operation {sequence} is missing, and there is one too many"),
                        out,
                    );
                }
            }
        }
        if group.staged > end.operations {
            let reason = format!("{} operations have come, of {}", group.staged, end.operations);
            return self.abort(group, reason, out);
        }
        if group::whole(checksums) != end.checksum {
            return self.abort(group, "its checksum is not that of its operations".to_owned(), out);
        }
        self.turn(&mut group, Phase::Complete, out);
        match end.not_before.filter(|at| *at > out.now().0) {
            Some(at) => {
                self.set_timer(&mut group, at, out)?;
                self.write(&group, out)
            }
            None => self.apply(group, out),
        }
    }

    /// Its time has come: from here on it goes forward only.
    fn apply(&self, mut group: Group, out: &mut Out<'_>) -> Result<(), Fault> {
        self.stop_timer(&group, out)?;
        group.timer = 0;
        self.turn(&mut group, Phase::Applying, out);
        self.go_on(group, out)
    }

    /// Sends the next operations on: one, and those behind it that are of the same key.
    fn go_on(&self, mut group: Group, out: &mut Out<'_>) -> Result<(), Fault> {
        let operations = group.end.as_ref().map_or(0, |end| end.operations);
        while group.pending.is_empty() {
            if group.next >= operations {
                return self.close(group, Phase::Done, out);
            }
            self.send(&mut group, operations, out)?;
        }
        self.write(&group, out)
    }

    fn send(&self, group: &mut Group, operations: i64, out: &mut Out<'_>) -> Result<(), Fault> {
        let namespace = out.global(&self.namespaces).read(&group.namespace)?.unwrap_or_default();
        let (mut of, mut bytes, mut count) = (None, 0, 0);
        while group.next < operations && count < OF_A_KEY && bytes < BYTES_OF_A_KEY {
            let place = place(group, group.next);
            let Some(mutation) = out.store(&self.staged).read(&place)? else {
                // It was there when the group was complete.
                return Err(refused("group-store", format!("operation {} of a group is lost", group.next)));
            };
            let key = (mutation.target.clone(), mutation.ordering_key().to_owned());
            if of.as_ref().is_some_and(|of| *of != key) {
                break;
            }
            of = Some(key);
            (bytes, count) = (bytes + mutation.bytes(), count + 1);
            out.store(&self.staged).write(&place, None)?;
            self.send_one(group, mutation, &namespace, out);
            group.next += 1;
        }
        Ok(())
    }

    /// To each of its targets: what the namespace has now is what its end is waited for.
    fn send_one(&self, group: &mut Group, mutation: Mutation, namespace: &Namespace, out: &mut Out<'_>) {
        let all = || namespace.targets.iter().map(|target| target.name.clone()).collect();
        let targets: Vec<String> = mutation.target.clone().map_or_else(all, |target| vec![target]);
        for target in targets {
            // One of a namespace or target that was taken away meanwhile would be a dead letter, of which no word comes back.
            if namespace.target(&target).is_none() {
                group.given_up += 1;
                continue;
            }
            group.pending.push(waited(group.next, &target));
            let timestamp = out.now();
            let member = Member { group: group.group.clone(), sequence: group.next };
            let mutation = Mutation {
                target: Some(target),
                created_at: timestamp.0,
                not_before: None,
                delay_ms: Some(0),
                group: Some(member),
                ..mutation.clone()
            };
            let key = mutation.record_key();
            out.forward(&Record { key, value: GroupStep::Write(mutation), timestamp, headers: Headers::new() });
        }
    }

    /// An operation has ended at a target.
    fn progress(&self, mut group: Group, progress: &Progress, out: &mut Out<'_>) -> Result<(), Fault> {
        let waited = waited(progress.sequence, &progress.target);
        let Some(at) = group.pending.iter().position(|pending| *pending == waited) else { return Ok(()) };
        group.pending.swap_remove(at);
        if !progress.state.is_applied() {
            group.given_up += 1;
        }
        self.go_on(group, out)
    }

    /// Its timer has rung.
    fn ring(&self, group: Group, out: &mut Out<'_>) -> Result<(), Fault> {
        match group.phase {
            Phase::Open => {
                let of = group
                    .end
                    .as_ref()
                    .map_or_else(|| "its end is missing".to_owned(), |end| format!("of {}", end.operations));
                let patience = humantime::format_duration(self.patience);
                let reason = format!("not complete within {patience}: {} operations have come, {of}", group.staged);
                self.abort(group, reason, out)
            }
            Phase::Complete => self.apply(group, out),
            Phase::Done | Phase::Aborted => out.store(&self.groups).write(&group.id(), None),
            Phase::Applying => Ok(()),
        }
    }

    /// Nothing of it is applied, now or ever.
    fn abort(&self, mut group: Group, reason: String, out: &mut Out<'_>) -> Result<(), Fault> {
        let prefix = format!("{}/", group.id());
        let places: Result<Vec<(String, Mutation)>, _> = out.store(&self.staged).prefix(prefix.as_bytes())?.collect();
        for (place, _) in places? {
            // Ids may hold slashes: this may be another group's.
            if is_place_of(&place, &prefix) {
                out.store(&self.staged).write(&place, None)?;
            }
        }
        group.reason = Some(reason);
        self.close(group, Phase::Aborted, out)
    }

    /// Its only end; it is remembered for as long as a token is.
    fn close(&self, mut group: Group, phase: Phase, out: &mut Out<'_>) -> Result<(), Fault> {
        self.turn(&mut group, phase, out);
        let namespace = out.global(&self.namespaces).read(&group.namespace)?.unwrap_or_default();
        self.set_timer(&mut group, out.now().0.saturating_add(namespace.dedup_window_ms), out)?;
        self.write(&group, out)?;
        let result = GroupResult {
            namespace: group.namespace.clone(),
            group: group.group.clone(),
            phase,
            operations: group.end.as_ref().map_or(group.staged, |end| end.operations),
            given_up: group.given_up,
            reason: group.reason.clone(),
            ended: group.since,
        };
        let (key, timestamp) = (group.id(), out.now());
        out.forward(&Record { key, value: GroupStep::Ended(result), timestamp, headers: Headers::new() });
        Ok(())
    }

    fn turn(&self, group: &mut Group, phase: Phase, out: &mut Out<'_>) {
        (group.phase, group.since) = (phase, out.now().0);
        out.count(phase.name(), &group.namespace);
    }

    fn write(&self, group: &Group, out: &mut Out<'_>) -> Result<(), Fault> {
        out.store(&self.groups).write(&group.id(), Some(group))
    }

    /// A group has one timer.
    fn set_timer(&self, group: &mut Group, at: i64, out: &mut Out<'_>) -> Result<(), Fault> {
        self.stop_timer(group, out)?;
        group.timer = at;
        out.timers(&self.timers).set(Timestamp(at), group.id().as_bytes())
    }

    fn stop_timer(&self, group: &Group, out: &mut Out<'_>) -> Result<(), Fault> {
        match group.timer {
            0 => Ok(()),
            at => out.timers(&self.timers).cancel(Timestamp(at), group.id().as_bytes()),
        }
    }
}

/// Whether an operation is what was sent, and one that can be applied: of a group that can't be whole nothing is kept.
fn is_fit(
    group: &Group,
    staged: &Staged,
    mutation: &Mutation,
    namespace: &Namespace,
    came: Timestamp,
) -> Result<(), String> {
    if !(0..MOST_OPERATIONS).contains(&staged.sequence) {
        return Err(format!("its place is none of 0 to {}", MOST_OPERATIONS - 1));
    }
    if group::checksum(&staged.mutation) != staged.checksum {
        return Err("its checksum is not that of what has come".to_owned());
    }
    if mutation.namespace != group.namespace {
        return Err("namespace: is another one than its group's".to_owned());
    }
    mutation.validate().and_then(|()| namespace.admit(mutation, came.0)).map_err(|error| error.reason)
}

fn place(group: &Group, sequence: i64) -> String {
    format!("{}/{sequence:016x}", group.id())
}

fn is_place_of(place: &str, prefix: &str) -> bool {
    place.strip_prefix(prefix).is_some_and(|sequence| sequence.len() == 16 && !sequence.contains('/'))
}

fn waited(sequence: i64, target: &str) -> String {
    format!("{sequence}/{target}")
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn refused(class: &'static str, reason: String) -> Fault {
    RecordError::new(Stage::Process, class, reason).into()
}
