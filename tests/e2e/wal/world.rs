//! Calls and their replies, as a lane has them; and the rules of fences, which are the same wherever there is one.

use std::collections::BTreeMap;
use std::time::Duration;

use headrace::processor::{Connect as _, Reply, Target};
use tokio::runtime::Runtime;
use write_ahead_log::call::Call;
use write_ahead_log::mutation::Operation;
use write_ahead_log::namespace::{Address, TargetKind, TargetSpec};
use write_ahead_log::targets::{Options, Targets};

use crate::support::eventually;

/// One connection to all targets, as a lane has it.
pub(super) struct Lane {
    runtime: Runtime,
    target: Box<dyn Target>,
}

impl Lane {
    pub(super) fn new() -> Self {
        Lane::with(Options::default())
    }

    pub(super) fn with(options: Options) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let target = runtime.block_on(Targets::new(options).connect()).unwrap();
        Lane { runtime, target }
    }

    /// One batch.
    pub(super) fn send(&mut self, calls: &[Call]) -> Vec<Reply> {
        let bodies: Vec<Vec<u8>> = calls.iter().map(|call| call.encode().unwrap()).collect();
        self.send_bodies(&bodies)
    }

    pub(super) fn send_bodies(&mut self, bodies: &[Vec<u8>]) -> Vec<Reply> {
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let replies = self.runtime.block_on(self.target.send(&bodies));
        let replies = replies.expect("the whole batch never fails");
        assert_eq!(replies.len(), bodies.len());
        replies
    }

    pub(super) fn one(&mut self, call: &Call) -> Reply {
        self.send(std::slice::from_ref(call)).remove(0)
    }

    /// What a call is answered in the end, while it may fail before.
    pub(super) fn settled(&mut self, call: &Call) -> Reply {
        eventually("an answer that is no failure", || match self.one(call) {
            Reply::Failed { reason, .. } => Err(reason),
            reply => Ok(reply),
        })
    }
}

/// A target in a namespace of its own.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) spec: TargetSpec,
}

impl Place {
    pub(super) fn new(kind: TargetKind, address: &str, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let spec = TargetSpec {
            name: kind.name().to_owned(),
            kind,
            address: Address::new(address),
            settings: settings.collect(),
        };
        Place { namespace: format!("n{:08x}", fastrand::u32(..)), spec }
    }

    /// With its own token for each number.
    pub(super) fn put(&self, key: &str, number: i64, value: &str) -> Call {
        Call {
            target: self.spec.clone(),
            namespace: self.namespace.clone(),
            token: format!("token-{key}-{number}"),
            number,
            attempt: 1,
            key: key.to_owned(),
            order: None,
            operation: Operation::Put,
            value: Some(value.as_bytes().to_vec()),
            headers: BTreeMap::new(),
            created_at: 1,
            version: None,
        }
    }

    pub(super) fn delete(&self, key: &str, number: i64) -> Call {
        Call { operation: Operation::Delete, value: None, ..self.put(key, number, "") }
    }
}

pub(super) const APPLIED: Reply = Reply::Done("applied");
pub(super) const EQUAL: Reply = Reply::Done("equal");
pub(super) const STALE: Reply = Reply::Done("stale");

/// The reason of a reply that says that another attempt may help.
#[track_caller]
pub(super) fn failed(reply: &Reply) -> (&str, Option<Duration>) {
    match reply {
        Reply::Failed { reason, after } => (reason, *after),
        other => panic!("{other:?} is no failure"),
    }
}

/// The reason of a reply that says that none can.
#[track_caller]
pub(super) fn refused(reply: &Reply) -> &str {
    match reply {
        Reply::Refused(reason) => reason,
        other => panic!("{other:?} is no refusal"),
    }
}

/// What each target with a fence has to do. `value` makes a value of a text, `read` gives the text that a key has.
pub(super) fn fence_holds(place: &Place, value: fn(&str) -> String, read: impl Fn(&str) -> Option<String>) {
    let mut lane = Lane::new();
    let put = |number, text: &str| place.put("1", number, &value(text));
    let has = |text: Option<&str>| assert_eq!(read("1").as_deref(), text);

    assert_eq!(lane.one(&put(5, "five")), APPLIED);
    assert_eq!(lane.one(&put(4, "four")), STALE);
    has(Some("five"));
    // The same again, as after a crash.
    assert_eq!(lane.one(&put(5, "five again")), EQUAL);
    has(Some("five"));

    assert_eq!(lane.one(&place.delete("1", 7)), APPLIED);
    has(None);
    assert_eq!(lane.one(&put(6, "six")), STALE, "a delete leaves its number behind");
    assert_eq!(lane.one(&place.delete("1", 7)), EQUAL);
    has(None);
    assert_eq!(lane.one(&put(8, "eight")), APPLIED);
    has(Some("eight"));

    // The same token under a new number: nothing happens, and what comes late from between is stale.
    let again = Call { number: 20, ..put(8, "eight again") };
    assert_eq!(lane.one(&again), EQUAL);
    has(Some("eight"));
    assert_eq!(lane.one(&put(19, "nineteen")), STALE);
    has(Some("eight"));

    // More than a double can tell apart.
    assert_eq!(lane.one(&put(i64::MAX, "last")), APPLIED);
    assert_eq!(lane.one(&put(i64::MAX - 1, "last but one")), STALE);
    has(Some("last"));
}

/// Numbers of another ordering key, target or namespace say nothing of this one's.
pub(super) fn fences_are_apart(place: &Place, other_place: &Place, value: fn(&str) -> String) {
    let mut lane = Lane::new();
    let call = place.put("1", 9, &value("nine"));
    assert_eq!(lane.one(&call), APPLIED);
    let other_order = Call { order: Some("another".to_owned()), ..place.put("1", 2, &value("two")) };
    assert_eq!(lane.one(&other_order), APPLIED);
    assert_eq!(lane.one(&other_order), EQUAL);
    let mut other_target = Call { target: other_place.spec.clone(), ..call.clone() };
    other_target.target.name = "another".to_owned();
    assert_eq!(lane.one(&other_target), APPLIED, "the same mutation at another target");
    let other_namespace = Call { namespace: format!("{}x", call.namespace), ..place.put("1", 1, &value("one")) };
    assert_eq!(lane.one(&other_namespace), APPLIED);
}

/// Two hundred keys in one batch, twice.
pub(super) fn many_keys(place: &Place, value: fn(&str) -> String) {
    let mut lane = Lane::new();
    let calls: Vec<Call> = (0..200).map(|at| place.put(&at.to_string(), at, &value("v"))).collect();
    assert_eq!(lane.send(&calls), vec![APPLIED; 200]);
    assert_eq!(lane.send(&calls), vec![EQUAL; 200]);
}
