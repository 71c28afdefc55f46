//! The task queue's demo: tasks of several kinds, Python handlers that are called and such that ask, a kill -9, and each task
//! compared with its result.
//!
//! ```text
//! submitter ─▶ Kafka ─▶ task-queue: one (killed midway), two ─┬─ calls ──▶ handler.py      fast, flaky, broken, scheduled
//!                │                                            └◀─ ask ──── worker.py × 3   slow, with heart-beats
//!                └─▶ results ─▶ each compared with its task
//! ```
//!
//! Last line: `demo: tasks=N done=N failed=N lost=0 twice=0 wrong=0 early=0 p50_ms=… p99_ms=…`; the times are those of fast tasks
//! from submission to result.

mod kinds;
mod python;
mod scenario;
mod stage;
mod verdict;

pub(crate) use scenario::{run, up};
