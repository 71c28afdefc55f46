//! What a producer leaves behind when it goes: dropped, it aborts what it has open; killed, it can't.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use headrace::wire::producer::{Producer, ProducerSettings};

use super::support::{commit, end, initialise, producer, record, sees, settings, stable, start, values};
use crate::runtime::support::{Bench, broker};
use crate::support::{eventually, expect, transactions};

const CHILD: &str = "HEADRACE_E2E_KILLED";
/// Longer than any test waits: what ends within a test, the broker's patience has not ended.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(600);
/// Partitions of the output: the dropped producer's and the killed one's.
const DROPPED: i32 = 0;
const KILLED: i32 = 1;

fn patient(transactional_id: &str) -> ProducerSettings {
    ProducerSettings { transaction_timeout: TRANSACTION_TIMEOUT, ..settings(transactional_id) }
}

/// Appends a record that nobody commits, and waits until the broker has it.
fn begin(bench: &Bench, producer: &mut Producer, partition: i32) {
    producer.append(&record(&bench.output(), partition, "of nobody")).unwrap();
    eventually("the transaction is open", || {
        producer.serve(Duration::from_millis(6)).map_err(|error| error.to_string())?;
        expect(&(end(bench, &bench.output(), partition) > 0), &true)
    });
}

/// A producer in a process of its own, with a transaction open; killed when dropped.
struct Killed(Child);

impl Killed {
    fn start(bench: &Bench, transactional_id: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["produce::dropped::the_killed_one_itself", "--exact", "--nocapture"])
            .env(CHILD, transactional_id)
            .env("HEADRACE_E2E_SERVERS", &bench.servers)
            .env("HEADRACE_E2E_APPLICATION", &bench.application)
            // It ends when this pipe does: with the test, however that ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Killed(child.unwrap())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Not a test but what [`Killed`] runs; without the environment it does nothing.
#[test]
fn the_killed_one_itself() {
    let Ok(transactional_id) = std::env::var(CHILD) else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let bench = Bench { servers: variable("HEADRACE_E2E_SERVERS"), application: variable("HEADRACE_E2E_APPLICATION") };
    let mut producer = producer(&bench.servers, patient(&transactional_id));
    begin(&bench, &mut producer, KILLED);
    // Until the pipe ends; by then it is killed.
    _ = std::io::stdin().read(&mut [0]);
    std::process::exit(1);
}

#[test]
fn a_dropped_producer_aborts_what_it_has_open_and_a_killed_one_leaves_it_to_its_successor() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "dropped");
    let output = bench.output();
    let open = || -> Result<Vec<i32>, String> {
        let mut open: Vec<i32> =
            transactions::open_in(&bench.servers, &output)?.iter().map(|open| open.partition).collect();
        open.sort_unstable();
        Ok(open)
    };
    let killed_id = format!("{}-killed", bench.application);
    let killed = Killed::start(&bench, &killed_id);
    eventually("the other process's transaction is open", || expect(&open()?, &vec![KILLED]));
    drop(killed);

    let mut dropped = producer(&bench.servers, patient(&bench.application));
    begin(&bench, &mut dropped, DROPPED);
    eventually("both are open", || expect(&open()?, &vec![DROPPED, KILLED]));
    assert_eq!((stable(&bench, &output, DROPPED), stable(&bench, &output, KILLED)), (0, 0));
    drop(dropped);
    // The marker of its end takes an offset.
    eventually("the dropped one's is ended", || expect(&stable(&bench, &output, DROPPED), &2));

    // The control arm went before, and its readers wait still.
    eventually("only the killed one's is open", || expect(&open()?, &vec![KILLED]));
    assert_eq!(stable(&bench, &output, KILLED), 0);
    initialise(&mut start(&bench.servers, patient(&killed_id)));
    eventually("its successor ends it", || expect(&stable(&bench, &output, KILLED), &2));
    eventually("none is open", || expect(&open()?, &Vec::new()));
    sees::<&str>(&bench, &output, &[]);
}

#[test]
fn a_producer_that_is_dropped_after_its_commit_takes_nothing_back() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "dropped-late");
    let output = bench.output();
    let mut last = producer(&bench.servers, patient(&bench.application));
    last.append(&record(&output, 0, "committed")).unwrap();
    commit(&mut last).unwrap();
    begin(&bench, &mut last, 1);
    drop(last);
    // Sealed, and dropped before its outcome was looked at: one or the other, and nothing stays open.
    let mut hasty = producer(&bench.servers, patient(&bench.application));
    hasty.append(&record(&output, 2, "in haste")).unwrap();
    hasty.seal(&[], None).unwrap();
    drop(hasty);
    eventually("all is ended", || expect(&transactions::open_in(&bench.servers, &output)?, &Vec::new()));
    let seen = values(&bench, &output);
    assert!(seen == ["committed"] || seen == ["committed", "in haste"], "{seen:?}");
}
