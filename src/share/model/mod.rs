//! A model checker of the share group's client (KIP-932): the real [`Engine`](super::engine::Engine), and all that brokers,
//! networks, workers and time may do to it, in worlds that are small enough to try everything.
//!
//! ```text
//!             the real thing                 │                    the model
//!  engine, ledger, membership, nodes,        │ coordinator · metadata · brokers: sessions, share-partitions, locks
//!  sessions: told the time, asked for calls  │ wires: requests and answers on their way, connections that end
//!           │          ▲                     │ those who work on records: accept, release, reject, hold
//!           ▼          │                     │
//!  mutants (a seam that mangles both ways) ──┼──▶ referee: what a member may send, and has to know by then
//! ```
//!
//! A [world](world) is a state; from each, every [action](actions) is tried, and whatever a rule forbids is noted in the state
//! (`broken`). [`stateright`] goes through all states, breadth first, so that the way to a broken rule that it gives is a short
//! one. From each state it is also asked whether [all ends well](rest) if nothing goes wrong any more.
//!
//! There are fourteen [worlds](worlds), of 2.3 million states together, each of which is gone through to its end. What is to be
//! seen in each (a lock that is renewed, a record's second delivery …) is asked for, and how many states it has at least: a
//! world in which nothing happens keeps every rule. Each rule has a [mutant](mutants) that breaks it, and has to be caught by that
//! rule's own property.
//!
//! **Why it is sound to take two states for one.** The engine has instants and counters that grow, so without that no world would end.
//! An [image](world::World) has what is ahead of now in steps of time, epochs compared with the other end's, and ranges by their
//! place. A [step of time](clock) is longer than every back-off, so how often something has failed, and each random number, makes no
//! difference. That nothing is missing in the image is tested: whenever a state is reached on a second way, each action has
//! to lead to the same states as on the first.
//!
//! | rules | checked here | elsewhere |
//! |---|---|---|
//! | R1 | epochs, fields, assignments | refusals: `membership_tests` |
//! | R2 | | the driver's: its beats go over the client's shared connections |
//! | R3 to R6 | all, with lost connections that either end notices first | the wrap of epochs: `session_tests` |
//! | R7 | gaps, damage, neighbours that were not acquired | real batches: `wire::share::records` |
//! | R8 | no more is asked for than there is room | what brokers give: `tests/e2e/share` |
//! | R9, R11 to R15 | all, against the broker's own books | |
//! | R16 | drain and close | |
//! | R10, R16b, R17 to R19 | | the brokers': `tests/e2e/share` |
//!
//! Not modelled: the wait for company (`linger`), quotas, more than one topic, topics that are made anew, brokers that go back to
//! older books (4.2 and 4.3), two members that a leader's move concerns at once.

mod actions;
mod answers;
mod bounds;
mod checks;
pub(super) mod clock;
mod cluster;
mod coordinator;
mod exploration;
mod log;
mod member;
mod mutants;
mod rest;
mod rules;
mod sending;
mod shared;
mod shares;
mod wire;
mod world;
mod worlds;
