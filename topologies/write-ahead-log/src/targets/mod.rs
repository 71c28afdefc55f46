//! Targets: what is spoken at each kind of place, and one connection for all of them.
//!
//! ```text
//!  lane ──bodies──▶ Multiplexer ─┬─▶ Link to redis://a    ┐
//!        ◀─replies──             ├─▶ Link to redis://b    ├ at the same time, each with its own patience
//!                                └─▶ Link to http://c     ┘
//! ```
//!
//! A batch has calls of any targets, and one that is away or slow is no failure of the others: each call has its own reply, and a
//! link never takes longer than its target's `timeout`. A kind is a file here, and a line in `kind`.
//!
//! Calls come again: after a failure, after a crash, and late from a connection that was given up. So each kind keeps a *fence*, the
//! last number that was applied by ordering key and key, where its target can (rule W8). A [topic] needs none: what is written there
//! is part of the log's own transaction.

mod http;
mod multiplexer;
mod postgres;
mod redis;
mod region;
mod rows;
mod settings;
pub mod topic;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use headrace::processor::{BoxFuture, OwnTopics, Reply};

use crate::call::Call;
use crate::namespace::{Problem, TargetKind, TargetSpec};

pub use multiplexer::{Options, Targets};
pub use settings::SECRETS;

/// A kind of target.
pub(crate) trait Kind: Debug + Send + Sync {
    /// All that is wrong with a target of this kind; touches no network.
    fn check(&self, target: &TargetSpec, problems: &mut Vec<Problem>);

    /// Where its keys are, as text: two targets of the same place would overwrite each other.
    fn place(&self, target: &TargetSpec) -> String;

    /// What is guaranteed there, for people.
    fn promise(&self, target: &TargetSpec) -> String;

    /// How long a fence is kept after the last mutation of its key; none where it stays, or where there is none.
    fn fence_life(&self, _: &TargetSpec) -> Option<Duration> {
        None
    }

    /// Settings that connections go by; others go by the address alone.
    fn connection_settings(&self) -> &'static [&'static str];

    /// A link that is not open yet.
    ///
    /// # Errors
    /// The address or a secret can't be used; without either of them in the text.
    fn link(&self, target: &TargetSpec) -> Result<Box<dyn Link>, String>;

    /// The same, where it may ask after topics of the log's own cluster.
    ///
    /// # Errors
    /// As [`link`](Self::link).
    fn link_on(&self, target: &TargetSpec, topics: Option<&Arc<dyn OwnTopics>>) -> Result<Box<dyn Link>, String> {
        _ = topics;
        self.link(target)
    }
}

/// What sends the calls of one address; opens its connection by itself, and anew after a failure.
pub(crate) trait Link: Send {
    /// Sends calls of different ordering keys and answers each, within this time.
    fn send<'a>(&'a mut self, calls: &'a [Call], patience: Duration) -> BoxFuture<'a, Vec<Reply>>;
}

/// The kind's own part.
pub(crate) fn kind(kind: TargetKind) -> &'static dyn Kind {
    match kind {
        TargetKind::Redis => &redis::Redis,
        TargetKind::Postgres => &postgres::Postgres,
        TargetKind::Http => &http::Http,
        TargetKind::Region => &region::Region,
        TargetKind::Topic => &topic::Topic,
    }
}

/// How long an attempt at a target may take.
///
/// # Errors
/// The setting is none.
pub fn timeout(target: &TargetSpec) -> Result<Duration, String> {
    settings::Settings(&target.settings).timeout()
}

/// The same failure for each of the calls, which may pass.
fn all_failed(calls: &[Call], reason: &str) -> Vec<Reply> {
    calls.iter().map(|_| failed(reason)).collect()
}

fn failed(reason: impl Into<String>) -> Reply {
    Reply::Failed { reason: reason.into(), after: None }
}

/// The replies by their places in the batch; each call has one.
fn in_order(mut replies: BTreeMap<usize, Reply>, count: usize) -> Vec<Reply> {
    (0..count).map(|at| replies.remove(&at).unwrap_or_else(|| failed("no answer in time"))).collect()
}
