//! Faults for applications, brokers and the network between them, and a checker of what they must not change.
//!
//! A run puts a topology under load, does something bad to it again and again, lets it finish, and compares every record of
//! every output and every store with what the input makes due. What is done, a seed decides; a control arm, the loop that
//! everybody writes, has to fail the same comparison.
//!
//! ```text
//!            ┌────────────── fleet: instances as child processes ──────────────┐
//!  load ──▶  │ events ─▶ tally ─▶ tallies                                      │  ◀── faults: kill, stop, disk, clock
//!            │            └─▶ regroup ─▶ moved ─▶ tally ─▶ totals              │  ◀── broker: kill, restart
//!            └───────────────────────────────┬─────────────────────────────────┘  ◀── network: the proxy's plan
//!                                            ▼
//!            check: lost, duplicated, reordered, misfolded, aborted but visible, torn; each store = fold(changelog)
//! ```
//!
//! # Layout
//!
//! ```text
//! kills, schedules          the two long runs on a broker, and what they report (verdict, report)
//! brokers                   what they run against: one broker, or three of a cluster
//! fleet ─▶ instance ─▶ child   applications in processes of their own
//! fault, disk, clock        what is done to them; a diary of it
//! network/                  a proxy on the real protocol, and the dice that say what it does
//! naive/                    the control arms
//! queue/                    the proofs of the task queue, whose binary is what is killed
//! wal/                      the proof of the write-ahead log, whose targets are killed, too
//! simulation/               the loop over a model of Kafka and of time, a seed at a time
//! check/                    the checker, pure: records in, findings out
//! ground, event, topology   the topics and the dataflow of a run
//! pages                     where an instance answers, where others have copies of its stores
//! reader, segments, ownership, transactions   what a run asks the brokers, and their logs on disk
//! ```
//!
//! To use it for another topology: start its binary with [`Fleet`], feed it, and give what it wrote to [`check`].

pub mod application;
pub mod brokers;
pub mod check;
pub mod child;
pub mod clock;
pub mod disk;
pub mod event;
pub mod fault;
pub mod fleet;
pub mod ground;
pub mod instance;
pub mod kills;
pub mod load;
pub mod naive;
pub mod network;
pub mod ownership;
pub mod pages;
pub mod pause;
pub mod positions;
pub mod queue;
pub mod raw;
pub mod reader;
pub mod recovery;
pub mod report;
pub mod schedules;
pub mod segments;
mod side_by_side;
pub mod simulation;
pub mod topology;
pub mod transactions;
pub mod verdict;
pub mod wal;

pub use fleet::Fleet;

/// What can go wrong with a run needs no class of its own: it is printed, and the run has failed.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
/// A result of this crate.
pub type Result<T> = std::result::Result<T, Failure>;
