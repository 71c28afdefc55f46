//! The servers of the whole test binary.
//!
//! Nobody drops a static, and the harness ends the process without unwinding. So the first test registers an `atexit`
//! handler, which takes the servers out of the static and ends them in order, whatever the tests' outcome. Should the
//! process be killed, the kernel kills the servers (PDEATHSIG), and the next testbed removes their directories.

use std::sync::{Arc, Mutex, Once, PoisonError};

pub(crate) use chaos::brokers::share_groups;
use testbed::{Kafka, Testbed, TestbedBuilder};

use super::transactions;

type Shared = Mutex<Option<Arc<Testbed>>>;

static BED: Shared = Mutex::new(None);
static SECURED: Shared = Mutex::new(None);
static SHARING: Shared = Mutex::new(None);
static QUEUES: Shared = Mutex::new(None);
static STORES: Shared = Mutex::new(None);

/// The shared servers; the first call starts them, which takes about ten seconds.
pub(crate) fn bed() -> Arc<Testbed> {
    static WATCHED: Once = Once::new();
    let bed = shared(&BED, || {
        // A killed member holds up its group until its session ends: that may be short here.
        let kafka = Kafka::builder().unwrap().property("group.min.session.timeout.ms", "1000");
        Testbed::builder().kafka_with(kafka).registry().redis().postgres().connect()
    });
    WATCHED.call_once(|| transactions::watch(bed.kafka().unwrap().bootstrap_servers(), transactions::PATIENCE));
    bed
}

/// A shared broker with listeners for TLS and SASL, and an authorizer.
pub(crate) fn secured() -> Arc<Testbed> {
    shared(&SECURED, || Testbed::builder().kafka_with(Kafka::builder().unwrap().secured()))
}

/// A shared broker for share groups, whose locks may be short and whose members are told at once what they are to read.
pub(crate) fn sharing() -> Arc<Testbed> {
    shared(&SHARING, || {
        Testbed::builder().kafka_with(share_groups(Kafka::builder().unwrap()).property("group.share.max.size", MEMBERS))
    })
}

/// The same with a schema registry, for the task queue.
pub(crate) fn queues() -> Arc<Testbed> {
    shared(&QUEUES, || Testbed::builder().kafka_with(share_groups(Kafka::builder().unwrap())).registry())
}

/// Redis and PostgreSQL alone, for what is spoken with them.
pub(crate) fn stores() -> Arc<Testbed> {
    shared(&STORES, || Testbed::builder().redis().postgres())
}

/// Members that a group of the broker for share groups may have.
pub(crate) const MEMBERS: &str = "5";

fn shared(bed: &Shared, builder: impl FnOnce() -> TestbedBuilder) -> Arc<Testbed> {
    let mut bed = bed.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bed) = bed.as_ref() {
        return Arc::clone(bed);
    }
    let builder = builder();
    let started = Arc::new(builder.start().unwrap_or_else(|error| panic!("the testbed does not start: {error}")));
    // Once, with the first bed: it ends all of them, and has to run after whoever looks at one of them at the end.
    static ENDS: Once = Once::new();
    ENDS.call_once(end_with_the_process);
    Arc::clone(bed.insert(started))
}

extern "C" fn tear_down() {
    for bed in [&BED, &SECURED, &SHARING, &QUEUES, &STORES] {
        let bed = bed.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(bed);
    }
}

#[expect(unsafe_code, reason = "the standard library has no hook for the end of the process")]
fn end_with_the_process() {
    // SAFETY: `tear_down` is a function without captures that may run on any thread, and it does not unwind: dropping a
    // testbed waits for processes and reports nothing.
    let registered = unsafe { nix::libc::atexit(tear_down) };
    assert_eq!(registered, 0, "atexit has no room");
}
