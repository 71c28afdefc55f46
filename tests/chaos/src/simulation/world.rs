//! One run's world: its state, and the baton that goes from thread to thread.
//!
//! ```text
//!  stream thread ─ any call of a client ─▶ pause: who goes on? ─┬─ the network, the group, a fault …: one step, and again
//!        ▲                                                      ├─ this thread
//!        └──────────────────────────────────────────────────────┴─ another: it is woken, and this one waits
//! ```
//!
//! The loop runs as it is, nested waits and all, each stream thread on a thread of its own, but only one of them moves at any
//! time: the one that holds the baton. Who gets it next is drawn from the seed. Time stands still but where a step moves it.
//! So what happens is a function of the seed, and a kill is what it is in life: the thread never comes back from a call.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use headrace::clock::Simulated;
use headrace::position::TopicPartition;
use headrace::wire::fetch::Feed;

use super::arm::Arm;
use super::broker::Broker;
use super::dice::Plan;
use super::group::Group;
use super::instance::Instance;
use super::network::{Late, Sender};
use crate::ground::Stage;

/// The end of a thread whose process was killed.
pub(super) struct Killed;

/// A stream thread.
pub(super) struct Actor {
    pub(super) instance: usize,
    /// It goes on at this time, or as soon as there is news for it.
    pub(super) until: Duration,
    pub(super) news: bool,
    pub(super) killed: bool,
    pub(super) ended: bool,
    waker: Arc<Condvar>,
}

/// A fetcher's other end, and whose it is.
pub(super) struct Fed {
    pub(super) actor: usize,
    pub(super) feed: Feed,
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Season {
    /// Load and faults.
    Rough,
    /// All are up; what there is gets done.
    Calm,
    /// All were told to stop.
    Over,
}

/// All there is.
pub(super) struct State {
    pub(super) rng: Rng,
    pub(super) clock: Simulated,
    pub(super) arm: Arm,
    pub(super) plan: Plan,
    pub(super) stage: Stage,
    pub(super) broker: Broker,
    pub(super) group: Group,
    pub(super) senders: BTreeMap<u64, Sender>,
    pub(super) late: Vec<Late>,
    pub(super) feeds: BTreeMap<u64, Fed>,
    pub(super) actors: Vec<Actor>,
    pub(super) instances: Vec<Instance>,
    pub(super) season: Season,
    /// Until when the coordinators are away.
    pub(super) coordinators_away: Duration,
    /// Until when the leaders of this partition number are away.
    pub(super) leader_away: (i32, Duration),
    pub(super) next_fault: Duration,
    /// Events of each origin that were produced.
    pub(super) produced: Vec<u64>,
    pub(super) faults: BTreeMap<&'static str, u64>,
    pub(super) trace: Vec<String>,
    /// What no run may come to.
    pub(super) defects: Vec<String>,
    pub(super) steps: u64,
    pub(super) calm_since: Duration,
    next_key: u64,
    running: Option<usize>,
    over: bool,
}

/// Shared by all threads of a run.
pub(super) struct World {
    state: Mutex<State>,
    over: Condvar,
}

impl State {
    pub(super) fn new(
        rng: Rng,
        arm: Arm,
        plan: Plan,
        stage: Stage,
        broker: Broker,
        group: Group,
        instances: Vec<Instance>,
    ) -> Self {
        State {
            rng,
            clock: Simulated::default(),
            arm,
            produced: vec![0; plan.origins as usize],
            plan,
            stage,
            broker,
            group,
            senders: BTreeMap::new(),
            late: Vec::new(),
            feeds: BTreeMap::new(),
            actors: Vec::new(),
            instances,
            season: Season::Rough,
            coordinators_away: Duration::ZERO,
            leader_away: (0, Duration::ZERO),
            next_fault: Duration::ZERO,
            faults: BTreeMap::new(),
            trace: Vec::new(),
            defects: Vec::new(),
            steps: 0,
            calm_since: Duration::ZERO,
            next_key: 0,
            running: None,
            over: false,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Into the trace.
    pub(super) fn note(&mut self, what: impl AsRef<str>) {
        let at = self.now();
        self.trace.push(format!("{:>9.3} {}", at.as_secs_f64() * 1000.0, what.as_ref()));
    }

    /// A name for something new.
    pub(super) fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// A new stream thread; it waits for the baton.
    pub(super) fn actor(&mut self, instance: usize) -> usize {
        let until = self.now();
        let (news, killed, ended, waker) = (false, false, false, Arc::new(Condvar::new()));
        self.actors.push(Actor { instance, until, news, killed, ended, waker });
        self.actors.len() - 1
    }

    pub(super) fn are_coordinators_away(&self) -> bool {
        self.now() < self.coordinators_away
    }

    pub(super) fn is_leader_away(&self, at: &TopicPartition) -> bool {
        let (partition, until) = self.leader_away;
        at.partition.0 == partition && self.now() < until
    }
}

impl World {
    pub(super) fn new(state: State) -> Arc<World> {
        Arc::new(World { state: Mutex::new(state), over: Condvar::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the instances whose time it is.
    pub(super) fn start(self: &Arc<Self>) {
        self.lock().start_due(self);
    }

    /// Hands the baton on from nobody, and waits until the run is over; false if it is not within `patience` of the machine's time.
    pub(super) fn run(self: &Arc<Self>, patience: Duration) -> bool {
        let state = self.pass(self.lock(), None);
        let (state, _) =
            self.over.wait_timeout_while(state, patience, |state| !state.over).unwrap_or_else(PoisonError::into_inner);
        state.over
    }

    /// A step of a stream thread is over; the next one comes after `wait`, or when there is news. Does not come back to a
    /// thread whose process was killed meanwhile.
    pub(super) fn pause(self: &Arc<Self>, me: usize, wait: Duration) {
        let mut state = self.lock();
        if !state.actors[me].killed {
            let until = state.now() + wait;
            state.actors[me].until = until;
            state = self.pass(state, Some(me));
        }
        let killed = state.actors[me].killed;
        drop(state);
        if killed {
            resume_unwind(Box::new(Killed));
        }
    }

    /// The first wait of a thread.
    pub(super) fn begin(self: &Arc<Self>, me: usize) -> bool {
        let state = self.wait_for(self.lock(), me);
        !state.actors[me].killed
    }

    /// A thread is at its end.
    pub(super) fn end(self: &Arc<Self>, me: usize) {
        let mut state = self.lock();
        state.actors[me].ended = true;
        drop(self.pass(state, None));
    }

    fn pass<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>, me: Option<usize>) -> MutexGuard<'a, State> {
        let next = state.next(self);
        state.running = next;
        match next {
            None => {
                state.over = true;
                self.over.notify_all();
            }
            Some(next) => {
                state.actors[next].news = false;
                if Some(next) != me {
                    state.actors[next].waker.notify_one();
                }
            }
        }
        match me {
            Some(me) => self.wait_for(state, me),
            None => state,
        }
    }

    fn wait_for<'a>(&self, mut state: MutexGuard<'a, State>, me: usize) -> MutexGuard<'a, State> {
        let waker = Arc::clone(&state.actors[me].waker);
        while state.running != Some(me) {
            state = waker.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}
