//! Queries of several instances: what is elsewhere is asked there, and what moves is never said to be absent.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headrace::topology::Topology;
use testbed::{free_port, wait};

use super::child::Process;
use super::operator::Operator;
use super::serving::{Asked, Serving};
use super::support::{Bench, PATIENCE, broker};

const KEYS: usize = 40;

/// A bench with the instances' topic, and keys that are all counted once.
fn bench(kafka: &testbed::Kafka, name: &str) -> Bench {
    let bench = Bench::new(kafka, name);
    bench.create(&Topology::instances_topic(&bench.application), 1);
    Operator::new(&bench).send((0..KEYS).map(|key| (format!("k-{key:02}"), key.to_string())));
    bench
}

fn serving(bench: &Bench, instance: &str, directory: &std::path::Path) -> Serving {
    Serving::start(bench, bench.topology(Duration::ZERO, true), bench.options(instance, directory))
}

/// Asks for every key; gives the instances that have answered.
fn all_keys(site: &Asked, query: &str) -> BTreeSet<String> {
    let ask = |key: usize| {
        let found = site.until(&format!("/counts/k-{key:02}{query}"), 200);
        assert_eq!(found["value"], "1", "{found}");
        found["instance"].as_str().expect("an instance").to_owned()
    };
    (0..KEYS).map(ask).collect()
}

fn both() -> BTreeSet<String> {
    ["left", "right"].map(str::to_owned).into()
}

#[test]
fn either_of_two_instances_answers_for_all_partitions() {
    let (kafka, _guard) = broker();
    let bench = bench(kafka, "routed");
    let (one, other) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    let left = serving(&bench, "left", one.path());
    bench.wait_drained();
    let right = serving(&bench, "right", other.path());
    for site in [&left.site, &right.site] {
        site.wait_owners(2);
        assert_eq!(all_keys(site, ""), both());
        let (entries, pages) = site.scan("counts", "limit=7");
        let keys: BTreeSet<_> = entries.iter().map(|(_, key, _)| key.clone()).collect();
        assert_eq!((entries.len(), keys.len()), (KEYS, KEYS));
        assert!(pages > KEYS / 7);
        assert!(site.ask("/counts/nothing").1["position"][bench.input()].as_object().is_some_and(|p| p.len() == 4));
    }
    // A partition of the other one: not here, found there, or told where.
    let found = left.site.until("/counts/k-00", 200);
    let (wrong, partition) = match found["instance"].as_str() {
        Some("left") => (&right.site, &found["partition"]),
        _ => (&left.site, &found["partition"]),
    };
    let owner = if wrong.address == left.site.address { &right.site } else { &left.site };
    let (status, told) = wrong.ask(&format!("/counts/k-00?partition={partition}&route=none"));
    assert_eq!((status, &told["owner"]), (421, &owner.address.clone().into()), "{told}");
    let (status, redirected) = wrong.ask(&format!("/counts/k-00?partition={partition}&route=redirect"));
    assert_eq!((status, &redirected["instance"]), (200, &found["instance"]), "the client follows: {redirected}");
    assert_eq!(wrong.ask("/counts/k-00?route=redirect").0, 400, "to one of several it can't be sent");
    let (_, here) = wrong.ask("/counts?route=none&limit=1000");
    assert_eq!(here["partitions"].as_array().map(Vec::len), Some(2), "{here}");
    right.stop().expect("stopped");
    left.stop().expect("stopped");
}

#[test]
fn while_partitions_move_a_key_is_there_or_unavailable_and_never_absent() {
    let (kafka, _guard) = broker();
    let bench = bench(kafka, "moving-reads");
    let (one, other) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    let left = serving(&bench, "left", one.path());
    bench.wait_drained();
    left.site.wait_owners(1);
    let (over, site) = (AtomicBool::new(false), left.site.clone());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut statuses = BTreeSet::new();
            for key in (0..KEYS).cycle() {
                let (status, body) = site.ask(&format!("/counts/k-{key:02}"));
                assert!([200, 503].contains(&status), "{status}: {body}");
                assert!(status != 200 || body["value"] == "1", "{body}");
                statuses.insert(status);
                if over.load(Ordering::Relaxed) {
                    return statuses;
                }
            }
            statuses
        });
        let right = serving(&bench, "right", other.path());
        left.site.wait_owners(2);
        assert_eq!(all_keys(&right.site, ""), both());
        right.stop().expect("stopped");
        left.site.wait_owners(1);
        assert_eq!(all_keys(&left.site, ""), ["left".to_owned()].into());
        over.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("no answer was wrong").contains(&200));
    });
    left.stop().expect("stopped");
}

#[test]
fn what_a_killed_instance_had_is_unavailable_until_its_heir_answers() {
    let (kafka, _guard) = broker();
    let bench = bench(kafka, "killed-owner");
    let (one, other) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    let heir = serving(&bench, "left", one.path());
    bench.wait_drained();
    let killed = Process::serving(&bench, "right", other.path(), free_port().expect("a port"));
    heir.site.wait_owners(2);
    let lost = wait::until("a key of the other one", PATIENCE, || {
        let keys = (0..KEYS).map(|key| format!("/counts/k-{key:02}"));
        let mut of_right = keys.filter(|path| heir.site.ask(path).1["instance"] == "right");
        of_right.next().ok_or_else(|| "none".to_owned())
    })
    .expect("a key");
    killed.kill();
    let (status, body) = heir.site.ask(&lost);
    assert_eq!(status, 503, "{body}");
    let found = heir.site.until(&lost, 200);
    assert_eq!((&found["instance"], &found["value"]), (&"left".into(), &"1".into()));
    assert_eq!(all_keys(&heir.site, ""), ["left".to_owned()].into());
    heir.stop().expect("stopped");
}
