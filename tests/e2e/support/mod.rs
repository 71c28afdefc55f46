//! What all end-to-end tests share: servers, child processes, topics, database sessions.

pub(crate) mod app;
pub(crate) mod bed;
pub(crate) mod records;
pub(crate) mod script;
pub(crate) mod session;

use std::time::Duration;

pub(crate) use app::{App, PEER, Spec};
pub(crate) use bed::{MEMBERS, bed, queues, secured, share_groups, sharing, stores};
pub(crate) use chaos::network::proxy;
pub(crate) use chaos::{raw, transactions};
pub(crate) use records::Topics;
pub(crate) use session::Session;

/// How long anything may take that normally takes a second: generous, because a busy machine may be ten times slower.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `look` gives no reason against.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    testbed::wait::until(what, DEADLINE, look).unwrap_or_else(|error| panic!("{error}"))
}

/// `Ok` if it is so, else the reason.
pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("found {found:?}, expected {expected:?}")) }
}
