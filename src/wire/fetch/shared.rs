//! What the stream thread and its I/O thread share: portions and events one way, commands the other, behind one lock.
//!
//! ```text
//!  I/O thread ─ deliver ─▶ a line per partition ─ take, in turn ─▶ Portion ─ read, dropped ─▶ give_back ─ Freed ─▶ I/O
//! ```
//!
//! The lock is taken once a portion, never once a record. A ticket says which assignment or seek a partition's line is of:
//! what comes with an older one is void, on both sides. Bounds: lines by bytes ([`super::FetcherSettings`]), news by the
//! number of brokers, commands by what the owner does between two turns of the I/O thread, which never waits with them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::event::Event;
use super::portion::{Claim, Portion, Tools};
use super::sorting::Run;
use crate::position::{Offset, TopicPartition};

/// Bytes of an answer, counted as held until the last of its portions is gone: they share its memory.
#[derive(Debug)]
pub(super) struct Weight {
    bytes: usize,
    held: Arc<AtomicUsize>,
}

impl Weight {
    pub(super) fn new(bytes: usize, held: &Arc<AtomicUsize>) -> Arc<Self> {
        held.fetch_add(bytes, Ordering::Relaxed);
        Arc::new(Weight { bytes, held: Arc::clone(held) })
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// From the stream thread. A partition has a slot for as long as it is assigned.
#[derive(Debug)]
pub(super) enum Command {
    Assign {
        slot: usize,
        ticket: u64,
        at: TopicPartition,
        position: i64,
    },
    Unassign {
        slot: usize,
    },
    Seek {
        slot: usize,
        ticket: u64,
        position: i64,
    },
    Pause {
        slot: usize,
        paused: bool,
    },
    /// So many bytes of the partition's line were read.
    Freed {
        slot: usize,
        ticket: u64,
        bytes: usize,
    },
    Close,
}

/// The position of a partition that begins at what its group has committed.
pub(super) const UNPLACED: i64 = -1;

/// What waits in a partition's line.
#[derive(Debug)]
pub(super) enum Waiting {
    Run(Run, Arc<Weight>),
    /// The partition goes on there: nobody may see what was before, or it begins there.
    Skip(i64),
    Event(Box<Event>),
}

/// A partition's line.
struct Lane {
    at: TopicPartition,
    claim: Claim,
    line: VecDeque<Waiting>,
    paused: bool,
    /// A portion of it is with the stream thread; the next comes after it.
    out: bool,
    /// Whether it is among the ready ones.
    listed: bool,
    /// What is given next.
    position: i64,
}

/// A paused line that was emptied to make room: it is fetched again from there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Evicted {
    pub(super) slot: usize,
    pub(super) ticket: u64,
    pub(super) position: i64,
}

/// What is behind the lock.
#[derive(Default)]
pub(super) struct State {
    commands: Vec<Command>,
    lanes: Vec<Option<Lane>>,
    index: HashMap<TopicPartition, usize>,
    ready: VecDeque<usize>,
    news: VecDeque<Event>,
    tools: Option<Tools>,
    last_ticket: u64,
    /// The I/O thread waits for room.
    hungry: bool,
    gone: bool,
}

/// The meeting place.
#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Wakes the I/O thread.
    pub(super) wake: Notify,
    /// Bytes of all answers that are held.
    pub(super) held: Arc<AtomicUsize>,
}

impl State {
    fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    fn lane(&mut self, at: &TopicPartition) -> Option<(usize, &mut Lane)> {
        let slot = *self.index.get(at)?;
        Some((slot, self.lanes.get_mut(slot)?.as_mut()?))
    }

    /// The lane, if what somebody has is still of it.
    fn claimed(&mut self, slot: usize, ticket: u64) -> Option<&mut Lane> {
        self.lanes.get_mut(slot)?.as_mut().filter(|lane| lane.claim.ticket == ticket)
    }

    /// Puts a lane among the ready ones if it has something to give.
    fn list(&mut self, slot: usize) {
        let Some(Some(lane)) = self.lanes.get_mut(slot) else { return };
        if !lane.listed && !lane.paused && !lane.out && !lane.line.is_empty() {
            lane.listed = true;
            self.ready.push_back(slot);
        }
    }
}

impl Lane {
    /// Another beginning: what waits is void.
    fn restart(&mut self, ticket: u64, position: i64) {
        self.claim.ticket = ticket;
        let number = if self.paused { Claim::paused(ticket) } else { Claim::live(ticket) };
        self.claim.live.store(number, Ordering::Relaxed);
        self.line.clear();
        (self.out, self.position) = (false, position);
    }

    fn is_evictable(&self) -> bool {
        let harmless =
            |waiting: &Waiting| !matches!(waiting, Waiting::Event(event) if !matches!(**event, Event::End { .. }));
        self.paused && !self.out && !self.line.is_empty() && self.line.iter().all(harmless)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self, mut state: MutexGuard<'_, State>, command: Command) {
        state.commands.push(command);
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn assign(&self, at: &TopicPartition, position: i64) {
        let mut state = self.lock();
        if state.index.contains_key(at) {
            return self.sought(state, at, position);
        }
        let ticket = state.ticket();
        let slot = state.lanes.iter().position(Option::is_none).unwrap_or(state.lanes.len());
        let claim = Claim { slot, ticket, live: Arc::new(AtomicU64::new(Claim::live(ticket))) };
        let line = VecDeque::new();
        let lane = Lane { at: at.clone(), claim, line, paused: false, out: false, listed: false, position };
        match state.lanes.get_mut(slot) {
            Some(free) => *free = Some(lane),
            None => state.lanes.push(Some(lane)),
        }
        state.index.insert(at.clone(), slot);
        self.command(state, Command::Assign { slot, ticket, at: at.clone(), position });
    }

    pub(super) fn unassign(&self, at: &TopicPartition) {
        let mut state = self.lock();
        let Some(slot) = state.index.remove(at) else { return };
        let ticket = state.ticket();
        if let Some(Some(mut lane)) = state.lanes.get_mut(slot).map(Option::take) {
            lane.restart(ticket, 0);
        }
        state.ready.retain(|ready| *ready != slot);
        self.command(state, Command::Unassign { slot });
    }

    pub(super) fn seek(&self, at: &TopicPartition, position: i64) {
        self.sought(self.lock(), at, position);
    }

    fn sought(&self, mut state: MutexGuard<'_, State>, at: &TopicPartition, position: i64) {
        let ticket = state.ticket();
        let Some((slot, lane)) = state.lane(at) else { return };
        lane.restart(ticket, position);
        self.command(state, Command::Seek { slot, ticket, position });
    }

    pub(super) fn pause(&self, at: &TopicPartition, paused: bool) {
        let mut state = self.lock();
        let Some((slot, lane)) = state.lane(at) else { return };
        lane.paused = paused;
        let ticket = lane.claim.ticket;
        lane.claim.live.store(if paused { Claim::paused(ticket) } else { Claim::live(ticket) }, Ordering::Relaxed);
        state.list(slot);
        self.command(state, Command::Pause { slot, paused });
    }

    pub(super) fn position(&self, at: &TopicPartition) -> Option<Offset> {
        let position = self.lock().lane(at).map(|(_, lane)| lane.position);
        position.filter(|position| *position >= 0).map(Offset)
    }

    /// The next event, in turn over the partitions; none at the deadline. A wait of nothing asks no clock.
    pub(super) fn take(self: &Arc<Self>, deadline: Option<Instant>, max_plain: usize) -> Option<Event> {
        let mut state = self.lock();
        loop {
            if let Some(news) = state.news.pop_front() {
                return Some(news);
            }
            while let Some(slot) = state.ready.pop_front() {
                if let Some(event) = self.take_from(&mut state, slot, max_plain) {
                    return Some(event);
                }
            }
            let left = deadline?.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn take_from(self: &Arc<Self>, state: &mut State, slot: usize, max_plain: usize) -> Option<Event> {
        let lane = state.lanes.get_mut(slot)?.as_mut()?;
        lane.listed = false;
        if lane.paused || lane.out {
            return None;
        }
        let event = match lane.line.pop_front()? {
            Waiting::Skip(position) => {
                lane.position = position;
                None
            }
            Waiting::Event(event) => Some(*event),
            Waiting::Run(run, weight) => {
                lane.out = true;
                let (claim, at) = (lane.claim.clone(), lane.at.clone());
                let tools = state.tools.take().unwrap_or_default();
                Some(Event::Records(Portion::new(Arc::clone(self), claim, at, (run, weight), (tools, max_plain))))
            }
        };
        state.list(slot);
        event
    }

    /// A portion is done with, or was put down; `read` bytes of it are.
    pub(super) fn give_back(&self, claim: &Claim, run: Run, weight: Option<Arc<Weight>>, read: usize, tools: Tools) {
        let mut state = self.lock();
        state.tools.get_or_insert(tools);
        let mut spent = None;
        if let Some(lane) = state.claimed(claim.slot, claim.ticket) {
            lane.out = false;
            lane.position = run.from;
            match weight {
                Some(weight) if !run.bytes.is_empty() => lane.line.push_front(Waiting::Run(run, weight)),
                weight => spent = weight,
            }
            state.list(claim.slot);
        } else {
            spent = weight;
        }
        // Before the I/O thread looks at what is held.
        drop(spent);
        state.commands.push(Command::Freed { slot: claim.slot, ticket: claim.ticket, bytes: read });
        if state.hungry {
            drop(state);
            self.wake.notify_one();
        }
    }

    pub(super) fn close(&self) {
        self.command(self.lock(), Command::Close);
    }

    pub(super) fn take_commands(&self, commands: &mut Vec<Command>) {
        commands.append(&mut self.lock().commands);
    }

    /// Hands over what has come, and says whether more room would be of use. Gives back whether there are commands.
    pub(super) fn deliver(
        &self,
        deliveries: &mut Vec<(usize, u64, Waiting)>,
        news: &mut Vec<Event>,
        hungry: bool,
    ) -> bool {
        let mut state = self.lock();
        let something = !deliveries.is_empty() || !news.is_empty();
        for (slot, ticket, waiting) in deliveries.drain(..) {
            match (state.claimed(slot, ticket), waiting) {
                // At once where nothing is before it: it holds while the partition is paused, too.
                (Some(lane), Waiting::Skip(position)) if lane.line.is_empty() && !lane.out => lane.position = position,
                (Some(lane), waiting) => lane.line.push_back(waiting),
                (None, _) => continue,
            }
            state.list(slot);
        }
        state.news.extend(news.drain(..));
        state.hungry = hungry;
        let commanded = !state.commands.is_empty();
        drop(state);
        if something {
            self.changed.notify_all();
        }
        commanded
    }

    /// Empties paused lines, so that others have room; nothing while the stream thread has something to do.
    pub(super) fn evict(&self) -> Vec<Evicted> {
        let mut state = self.lock();
        let busy = !state.ready.is_empty() || state.lanes.iter().flatten().any(|lane| lane.out);
        let mut evicted = Vec::new();
        if busy {
            return evicted;
        }
        for slot in 0..state.lanes.len() {
            let ticket = state.last_ticket + 1;
            if let Some(Some(lane)) = state.lanes.get_mut(slot)
                && lane.is_evictable()
            {
                let position = lane.position;
                lane.restart(ticket, position);
                evicted.push(Evicted { slot, ticket, position });
                state.last_ticket = ticket;
            }
        }
        evicted
    }

    /// The I/O thread is over.
    pub(super) fn leave(&self) {
        self.lock().gone = true;
        self.changed.notify_all();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.lock().gone
    }

    /// Waits until the I/O thread is over, or the deadline.
    pub(super) fn join(&self, deadline: Instant) {
        let mut state = self.lock();
        while !state.gone {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
