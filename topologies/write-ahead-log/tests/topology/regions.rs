//! Several regions that write the same keys (rule W14), and what is between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use write_ahead_log::call::Call;
use write_ahead_log::entry::State;
use write_ahead_log::mutation::{Mutation, Operation};
use write_ahead_log::namespace::{Namespace, TargetKind, TargetSpec};
use write_ahead_log::version::{Version, at_millis};

use crate::support::{BEGIN, Bench, namespace};

const SECOND: Duration = Duration::from_secs(1);

/// The regions; both take the same tokens.
const NAMES: [&str; 2] = ["eu", "us"];

/// A token with the region that it is of; one that came from another region has it.
fn of(token: &str, region: &str) -> String {
    if token.contains('@') { token.to_owned() } else { format!("{token}@{region}") }
}

/// A namespace of a cache and another region.
fn replicated() -> Namespace {
    let mut namespace = namespace();
    namespace.targets.push(TargetSpec::new("there", TargetKind::Region, "http://localhost:1"));
    namespace.retry.longest_backoff_ms = 2_000;
    namespace
}

/// Two regions.
struct Two {
    benches: [Bench; 2],
    /// Of each region and key the token that was applied last, with the region that it is of.
    last: [BTreeMap<String, String>; 2],
    /// Tokens that a region did not apply.
    lost: BTreeSet<String>,
}

impl Two {
    fn new() -> Self {
        let benches = NAMES.map(|region| Bench::in_region(region, &replicated()));
        Two { benches, last: [BTreeMap::new(), BTreeMap::new()], lost: BTreeSet::new() }
    }

    /// What each was told by the other one comes there; gives how much it was.
    fn carry(&mut self) -> usize {
        let mut carried = 0;
        for from in 0..2 {
            let told = std::mem::take(&mut self.benches[from].world.lock().unwrap().told);
            carried += told.len();
            told.into_iter().for_each(|call| _ = self.benches[1 - from].send(received(call)));
        }
        self.look();
        carried
    }

    fn look(&mut self) {
        for ((bench, last), region) in self.benches.iter_mut().zip(&mut self.last).zip(NAMES) {
            let applied = std::mem::take(&mut bench.world.lock().unwrap().applied);
            last.extend(applied.into_iter().map(|(_, key, token)| (key, of(&token, region))));
            self.lost.extend(bench.conflicts().into_iter().map(|conflict| of(&conflict.token, region)));
        }
    }

    /// A put in a region; gives its token, and the region's name.
    fn put(&mut self, region: usize, key: &str) -> String {
        of(&self.benches[region].put(key), NAMES[region])
    }

    fn send(&mut self, region: usize, mutation: Mutation) -> String {
        of(&self.benches[region].send(mutation), NAMES[region])
    }

    fn pass(&mut self, by: Duration) {
        self.benches.iter_mut().for_each(|bench| bench.pass(by));
        self.look();
    }

    fn apart(&mut self, apart: bool) {
        self.benches.iter_mut().for_each(|bench| bench.world.lock().unwrap().apart = apart);
    }
}

/// As the other region's intake has it.
fn received(call: Call) -> Mutation {
    Mutation {
        namespace: call.namespace,
        token: call.token,
        created_at: call.created_at,
        key: call.key,
        order: call.order,
        operation: call.operation,
        value: call.value,
        delay_ms: Some(0),
        headers: call.headers,
        version: call.version,
        ..Mutation::default()
    }
}

#[test]
fn w14_a_write_goes_to_the_other_region_once_and_never_comes_back() {
    let mut two = Two::new();
    let token = two.put(0, "a");
    assert_eq!(two.carry(), 1);
    assert_eq!(two.carry(), 0, "it does not come back");
    assert_eq!(two.last, [(); 2].map(|()| BTreeMap::from([("a".to_owned(), token.clone())])));
    let ends: Vec<_> = two.benches[1].ends();
    assert_eq!(ends, [(token, State::Applied)], "only at the cache there");
    // The same token in the other region is another write.
    let again = Mutation { token: "a-0".to_owned(), ..two.benches[1].mutation("a") };
    let again = two.send(1, again);
    assert_eq!(two.carry(), 1);
    assert_eq!(two.last, [(); 2].map(|()| BTreeMap::from([("a".to_owned(), again.clone())])));
}

#[test]
fn w14_of_two_writes_that_cross_both_regions_keep_the_later_one_and_one_has_the_conflict() {
    let mut two = Two::new();
    two.apart(true);
    let first = two.put(0, "a");
    two.pass(SECOND);
    let second = two.put(1, "a");
    two.look();
    assert_ne!(two.last[0], two.last[1], "while they are apart");
    two.apart(false);
    two.pass(5 * SECOND);
    while two.carry() > 0 {}
    assert_eq!(two.last, [(); 2].map(|()| BTreeMap::from([("a".to_owned(), second.clone())])));
    assert_eq!(two.lost, BTreeSet::from([first.clone()]));
    let result = two.benches[1].results().into_iter().find(|result| result.token == first).unwrap();
    assert_eq!(result.state, State::Superseded);
    assert_eq!(result.reason.as_deref(), Some("region us has written the key later"));
}

#[test]
fn w14_a_delete_is_not_undone_by_a_put_that_was_on_its_way_and_versions_are_forgotten_in_the_end() {
    let mut two = Two::new();
    two.benches[0].world.lock().unwrap().apart = true;
    let put = two.put(0, "a");
    two.pass(SECOND);
    let delete = Mutation { operation: Operation::Delete, value: None, ..two.benches[1].mutation("a") };
    let delete = two.send(1, delete);
    two.apart(false);
    two.pass(5 * SECOND);
    while two.carry() > 0 {}
    assert_eq!(two.last, [(); 2].map(|()| BTreeMap::from([("a".to_owned(), delete.clone())])));
    assert_eq!(two.lost, BTreeSet::from([put]));
    assert_eq!(two.benches[0].keys("versions").len(), 1);
    let window = Namespace { version_window_ms: 1_000, ..replicated() };
    two.benches[0].set("shop", &window);
    // The first time was set when the window was longer.
    two.benches[0].driver.advance_wall_clock(Duration::from_secs(8 * 24 * 60 * 60)).unwrap();
    assert_eq!(two.benches[0].keys("versions").len(), 0);
    let old = Version { at: at_millis(BEGIN), region: "us".to_owned() };
    let late = two.benches[0].mutation("a");
    let late = two.benches[0].send(Mutation { version: Some(old), ..late });
    assert_eq!(two.benches[0].ends().last(), Some(&(late, State::Superseded)), "nobody knows what came after it");
}

#[test]
fn w14_what_was_put_off_is_as_late_as_its_time() {
    let mut two = Two::new();
    let delete =
        Mutation { operation: Operation::Delete, value: None, delay_ms: Some(4_000), ..two.benches[0].mutation("a") };
    let delete = two.send(0, delete);
    two.pass(SECOND);
    let put = two.put(1, "a");
    while two.carry() > 0 {}
    assert_eq!(two.last.clone().map(|last| last["a"].clone()), [put.clone(), put]);
    two.pass(5 * SECOND);
    while two.carry() > 0 {}
    two.look();
    assert_eq!(two.last.clone().map(|last| last["a"].clone()), [delete.clone(), delete]);
    assert!(two.lost.is_empty());
}

#[test]
fn w3_a_region_whose_clock_runs_ahead_does_not_win_by_it() {
    let mut two = Two::new();
    let ahead = Version { at: at_millis(BEGIN + 2 * 60 * 60 * 1_000), region: "us".to_owned() };
    let mutation = two.benches[0].mutation("a");
    two.benches[0].send(Mutation { version: Some(ahead), ..mutation });
    assert!(two.benches[0].refused[0].contains("ahead of the log's clock"), "{:?}", two.benches[0].refused);
    assert!(two.benches[0].applied().is_empty());
}

#[test]
fn w14_without_a_name_a_region_writes_nothing_that_others_could_not_place() {
    let mut bench = Bench::in_region("", &replicated());
    bench.put("a");
    assert!(bench.refused[0].contains("set region.name"), "{:?}", bench.refused);
}

#[test]
fn w14_another_region_is_tried_for_as_long_as_it_is_away() {
    let mut two = Two::new();
    two.apart(true);
    let token = two.put(0, "a");
    two.pass(60 * SECOND);
    assert!(two.benches[0].exhausted().is_empty(), "it is tried thrice elsewhere");
    two.apart(false);
    two.pass(5 * SECOND);
    two.carry();
    assert_eq!(two.last[1], BTreeMap::from([("a".to_owned(), token)]));
}

#[derive(Debug, Clone)]
enum Op {
    Write { region: usize, key: usize, delete: bool, delay: i64 },
    Carry,
    Pass(u64),
    Apart(bool),
    Unheard(usize, bool),
    Restart(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let write = (0..2usize, 0..3usize, any::<bool>(), prop_oneof![3 => Just(0i64), 1 => 0..2_000i64]);
    prop_oneof![
        8 => write.prop_map(|(region, key, delete, delay)| Op::Write { region, key, delete, delay }),
        3 => Just(Op::Carry),
        4 => (1..100u64).prop_map(Op::Pass),
        1 => any::<bool>().prop_map(Op::Apart),
        1 => (0..2usize, any::<bool>()).prop_map(|(region, unheard)| Op::Unheard(region, unheard)),
        1 => (0..2usize).prop_map(Op::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However they are parted, restarted and told twice: once all is quiet, both regions have the same of each key, and what was written
    /// is that, or was applied before it, or is a conflict.
    #[test]
    fn w14_regions_converge_whatever_is_between_them(ops in prop::collection::vec(op(), 1..60)) {
        let mut two = Two::new();
        let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        // Both regions take the same tokens.
        let mut tokens = [0, 0];
        for op in ops {
            match op {
                Op::Write { region, key, delete, delay } => {
                    let (key, bench) = (format!("k{key}"), &mut two.benches[region]);
                    tokens[region] += 1;
                    let (token, delay_ms) = (format!("t{}", tokens[region]), (delay > 0).then_some(delay));
                    let mutation = Mutation { token, delay_ms, ..bench.mutation(&key) };
                    let mutation = match delete {
                        true => Mutation { operation: Operation::Delete, value: None, ..mutation },
                        false => mutation,
                    };
                    let token = two.send(region, mutation);
                    written.entry(key).or_default().insert(token);
                }
                Op::Carry => _ = two.carry(),
                Op::Pass(ticks) => two.pass(Duration::from_millis(10 * ticks)),
                Op::Apart(apart) => two.apart(apart),
                Op::Unheard(region, unheard) => two.benches[region].world.lock().unwrap().unheard = unheard,
                Op::Restart(region) => two.benches[region].restart(),
            }
            two.look();
        }
        two.apart(false);
        two.benches.iter().for_each(|bench| bench.world.lock().unwrap().unheard = false);
        for _ in 0..3 {
            two.pass(4 * SECOND);
            while two.carry() > 0 {}
        }
        prop_assert_eq!(&two.last[0], &two.last[1]);
        prop_assert_eq!(two.last[0].keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
        for (key, token) in &two.last[0] {
            prop_assert!(written[key].contains(token) && !two.lost.contains(token));
        }
    }
}
