//! A world as the checker wants it: states that are told apart by their images, and what has to hold in each.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use stateright::{Model, Property};

use super::actions::Action;
use super::bounds::Bounds;
use super::log::At;
use super::member::Told;
use super::mutants::Mutant;
use super::rest::Rest;
use super::rules::Rule;
use super::shares::Standing;
use super::wire::{Answer, Stage, Under};
use super::world::{Scene, World};

/// The liveness of all rules together.
pub(super) const END: &str = "in_the_end_every_record_is_done_and_nothing_is_left_to_be_told";

/// What is to be seen somewhere, or nothing is proven.
pub(super) const DONE: &str = "all is done";
pub(super) const RENEWED: &str = "a lock is renewed";
pub(super) const REPEATED: &str = "something is told again";
pub(super) const AGAIN: &str = "a record is accepted in its second delivery";
pub(super) const ARCHIVED: &str = "a record is archived after its last delivery";
pub(super) const TURNED_DOWN: &str = "what came from a leader of before goes back";
pub(super) const CLOSED: &str = "a member has closed";
/// All of these.
pub(super) const SIGHTS: [&str; 7] = [DONE, RENEWED, REPEATED, AGAIN, ARCHIVED, TURNED_DOWN, CLOSED];

/// One world.
#[derive(Clone)]
pub(super) struct Exploration {
    scene: Arc<Scene>,
    rest: Arc<Rest>,
}

/// A state, with the number by which it is known.
#[derive(Clone)]
pub(super) struct State {
    world: Arc<World>,
    print: u64,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, to: &mut H) {
        self.print.hash(to);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

/// A rule was broken nowhere.
macro_rules! kept {
    ($($rule:ident)*) => {
        vec![$(Property::always(Rule::$rule.name(), |_, state: &State| !state.world.broken.has(Rule::$rule))),*]
    };
}

impl Exploration {
    pub(super) fn new(bounds: Bounds, mutant: Mutant) -> Self {
        Exploration { scene: Arc::new(Scene::new(bounds, mutant)), rest: Arc::default() }
    }

    fn state(&self, world: World) -> State {
        let print = world.print(&self.scene);
        State { world: Arc::new(world), print }
    }

    fn ends_well(&self, state: &State) -> bool {
        // A mutant is to be caught by its own rule.
        let asked = self.scene.mutant == Mutant::None || self.scene.mutant == Mutant::NoLeaders;
        !asked || !state.world.broken.none() || self.rest.ends_well(&state.world, &self.scene)
    }

    /// What is done from a state on, in peace.
    pub(super) fn rest(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        self.rest.follow(&state.world, &self.scene, &mut actions);
        actions
    }

    /// Goes through the first `most` states, and looks at what follows whenever one is reached again: how many it were, and the ways on
    /// which two that look the same have gone on differently.
    pub(super) fn twins(&self, most: usize) -> (usize, Vec<Action>) {
        let mut known: HashMap<u64, Vec<(Action, u64)>> = HashMap::new();
        let mut pending = VecDeque::from(self.init_states());
        let (mut twins, mut wrong) = (0, Vec::new());
        while let Some(state) = pending.pop_front() {
            let mut actions = Vec::new();
            self.actions(&state, &mut actions);
            let next = |action: &Action| self.next_state(&state, *action).map(|state| (*action, state));
            let next: Vec<(Action, State)> = actions.iter().filter_map(next).collect();
            let prints: Vec<(Action, u64)> = next.iter().map(|(action, state)| (*action, state.print)).collect();
            match known.get(&state.print) {
                Some(before) => {
                    twins += 1;
                    let differs = before.iter().zip(&prints).find(|(one, other)| one != other);
                    wrong.extend(differs.map(|(_, (action, _))| *action));
                    if before.len() != prints.len() {
                        wrong.extend(prints.last().map(|(action, _)| *action));
                    }
                }
                None if known.len() < most => {
                    known.insert(state.print, prints);
                    pending.extend(next.into_iter().map(|(_, state)| state));
                }
                None => {}
            }
        }
        (twins, wrong)
    }
}

impl Model for Exploration {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.state(self.scene.first())]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What comes after a broken rule is of no interest.
        if state.world.broken.none() {
            actions.extend(state.world.actions(&self.scene));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.state(state.world.step(action, &self.scene)))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all: Vec<Property<Self>> = kept![
            R1Beats R3OneAtATime R4Opens R4Counts R5NeverAgain R5IsTold R6Deltas R7Acquired R7Gaps R8Room R9InTime
            R9NotBeyond R11WellFormed R12Acquirer R12IsTold R13Renewals R13HalfTime R14Verdicts R14Settled R14Once
            R15Leader R16Drain R16Close Wakes
        ];
        all.push(Property::always(END, |exploration: &Exploration, state: &State| exploration.ends_well(state)));
        all.push(Property::sometimes(DONE, |exploration: &Exploration, state: &State| {
            state.world.is_done(&exploration.scene)
        }));
        all.push(Property::sometimes(RENEWED, |_, state: &State| state.world.is_renewed()));
        all.push(Property::sometimes(REPEATED, |_, state: &State| {
            state.world.members.iter().flat_map(|member| &member.held).any(|held| held.told == Told::Again)
        }));
        all.push(Property::sometimes(AGAIN, |_, state: &State| state.world.has(true, 2)));
        all.push(Property::sometimes(ARCHIVED, |exploration: &Exploration, state: &State| {
            state.world.has(false, exploration.scene.bounds.limit) && exploration.scene.bounds.log[0] == At::Record
        }));
        all.push(Property::sometimes(TURNED_DOWN, |_, state: &State| {
            state.world.members.iter().flat_map(|member| &member.held).any(|held| held.stale)
        }));
        all.push(Property::sometimes(CLOSED, |_, state: &State| {
            state.world.members.iter().any(|member| member.engine.is_closed())
        }));
        all
    }
}

impl World {
    /// Whether the first record was accepted, or archived, in this delivery.
    fn has(&self, accepted: bool, count: u8) -> bool {
        let mut first = self.cluster.shares.iter().filter_map(|share| share.books.first());
        first.any(|page| page.standing == Standing::Done { accepted } && page.count == count)
    }

    fn is_renewed(&self) -> bool {
        let renewed = |under: &Under| match &under.stage {
            Stage::Answered(Answer::Said(0, parts)) => {
                under.sent.has_renewal() && parts.iter().any(|said| said.told == Some(0))
            }
            _ => false,
        };
        self.wires.iter().flat_map(|wire| &wire.under).any(renewed)
    }
}
