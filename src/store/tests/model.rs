//! Random sequences of operations against a plain map: whatever the layers, a store must answer as the map does.
//!
//! The read cache is tiny, so that what is not pinned is evicted all the time, and a commit reaches the database when the
//! sequence says so, or has to wait for it.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;

use super::super::writer::HeldJobs;
use super::super::{Bounds, Commit, StoreIndex, TaskState};
use super::{MEMORY, Published, ROCKS, collect, contents, open_held, publish, specs};
use crate::position::{Offset, Partition, TopicPartition};
use crate::record::Timestamp;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Clone)]
enum Op {
    Write(StoreIndex, Vec<u8>, Option<Vec<u8>>),
    Read(StoreIndex, Vec<u8>),
    /// Reads every key there can be.
    ReadAll(StoreIndex),
    Range(StoreIndex, Bound<Vec<u8>>, Bound<Vec<u8>>),
    Prefix(StoreIndex, Vec<u8>),
    BeginRecord,
    CommitRecord,
    RollbackRecord,
    Publish,
    Seal,
    Commit,
    DropStaged,
    /// The commit under way reaches the database.
    Arrive,
    Restore(StoreIndex, Vec<Write>),
    Reopen,
}

type Write = (Vec<u8>, Option<Vec<u8>>);

/// What the stores should hold, at each of the levels that an abort can fall back to.
#[derive(Debug, Clone, Default)]
struct Model {
    committed: [Map; 2],
    sealed: Option<[Map; 2]>,
    current: [Map; 2],
    before_record: Option<[Map; 2]>,
    /// What a reader of the changelog knows: by transaction, as it is torn out by an abort.
    changelog: [Map; 2],
    sealed_changelog: Option<Vec<Published>>,
    current_changelog: Vec<Published>,
    /// Commits and restores.
    steps: i64,
    /// Up to which changelog offset the store on disk is.
    restored_to: Option<Offset>,
    position: Option<Offset>,
}

fn number(store: StoreIndex) -> usize {
    usize::from(store == MEMORY)
}

fn put(maps: &mut [Map; 2], store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => _ = maps[number(store)].insert(key.to_vec(), value.to_vec()),
        None => _ = maps[number(store)].remove(key),
    }
}

/// Few keys, with common prefixes and the bytes at which bounds go wrong.
const KEY_BYTES: [u8; 5] = [0, 1, b'a', 0xfe, 0xff];
const LONGEST_KEY: usize = 3;

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(KEY_BYTES.to_vec()), 0..=LONGEST_KEY)
}

fn all_keys() -> Vec<Vec<u8>> {
    let mut keys = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..LONGEST_KEY {
        let shorter = keys.split_off(from);
        from += shorter.len();
        let longer = shorter.iter().flat_map(|key| KEY_BYTES.map(|byte| [key.as_slice(), &[byte]].concat()));
        let longer: Vec<_> = longer.collect();
        keys.extend(shorter);
        keys.extend(longer);
    }
    keys
}

/// Values that fit into a slot of the table, that don't, and that are too large for the cache.
fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    let bytes = prop_oneof![8 => 0..6usize, 2 => 40..60usize, 2 => 60..256usize, 1 => 256..6000usize];
    prop::option::weighted(0.7, bytes.prop_flat_map(|bytes| any::<u8>().prop_map(move |byte| vec![byte; bytes])))
}

fn store() -> impl Strategy<Value = StoreIndex> {
    prop::sample::select(vec![ROCKS, MEMORY])
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![Just(Bound::Unbounded), key().prop_map(Bound::Included), key().prop_map(Bound::Excluded)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        16 => (store(), key(), value()).prop_map(|(store, key, value)| Op::Write(store, key, value)),
        8 => (store(), key()).prop_map(|(store, key)| Op::Read(store, key)),
        1 => store().prop_map(Op::ReadAll),
        2 => (store(), bound(), bound()).prop_map(|(store, start, end)| Op::Range(store, start, end)),
        2 => (store(), key()).prop_map(|(store, key)| Op::Prefix(store, key)),
        3 => Just(Op::BeginRecord),
        2 => Just(Op::CommitRecord),
        2 => Just(Op::RollbackRecord),
        2 => Just(Op::Publish),
        2 => Just(Op::Seal),
        3 => Just(Op::Commit),
        1 => Just(Op::DropStaged),
        2 => Just(Op::Arrive),
        1 => (store(), prop::collection::vec((key(), value()), 0..8)).prop_map(|(store, writes)| Op::Restore(store, writes)),
        1 => Just(Op::Reopen),
    ]
}

fn input() -> TopicPartition {
    TopicPartition { topic: "input".into(), partition: Partition(3) }
}

/// One step on both sides; the model says whether the step is allowed where it stands.
fn step(state: &mut TaskState, model: &mut Model, op: &Op) {
    match op {
        Op::Write(store, key, value) => {
            state.write(*store, key, value.as_deref());
            put(&mut model.current, *store, key, value.as_deref());
        }
        Op::Read(store, key) => {
            let expected = model.current[number(*store)].get(key).cloned();
            assert_eq!(state.read(*store, key).unwrap(), expected);
        }
        Op::ReadAll(store) => {
            for key in all_keys() {
                let expected = model.current[number(*store)].get(&key).map(Vec::as_slice);
                state.read_with(*store, &key, |value| assert_eq!(value, expected)).unwrap();
            }
        }
        Op::Range(store, start, end) => {
            let bounds = Bounds { start: start.as_ref().map(Vec::as_slice), end: end.as_ref().map(Vec::as_slice) };
            let expected = model.current[number(*store)].iter().filter(|(key, _)| bounds_contain(bounds, key));
            let expected: Vec<_> = expected.map(|(key, value)| (key.clone(), value.clone())).collect();
            assert_eq!(collect(state, *store, bounds), expected);
        }
        Op::Prefix(store, prefix) => {
            let expected = model.current[number(*store)].keys().filter(|key| key.starts_with(prefix));
            let mut scan = state.prefix(*store, prefix).unwrap();
            for key in expected {
                assert_eq!(scan.next().unwrap().map(|(key, _)| key), Some(key.as_slice()));
            }
            assert_eq!(scan.next().unwrap(), None);
        }
        Op::BeginRecord if model.before_record.is_none() => {
            state.begin_record();
            model.before_record = Some(model.current.clone());
        }
        Op::CommitRecord if model.before_record.take().is_some() => state.commit_record(),
        Op::RollbackRecord => {
            if let Some(before) = model.before_record.take() {
                state.rollback_record();
                model.current = before;
            }
        }
        Op::Publish if model.before_record.is_none() => model.current_changelog.extend(publish(state)),
        Op::DropStaged => {
            state.drop_staged();
            abort(model);
            assert!(state.is_clean());
        }
        Op::Arrive => state.check().unwrap(),
        _ if model.before_record.is_none() => transaction_step(state, model, op),
        _ => {}
    }
}

fn transaction_step(state: &mut TaskState, model: &mut Model, op: &Op) {
    match op {
        Op::Seal if model.sealed.is_none() => {
            model.current_changelog.extend(publish(state));
            state.seal();
            model.sealed = Some(model.current.clone());
            model.sealed_changelog = Some(std::mem::take(&mut model.current_changelog));
        }
        Op::Commit => {
            if model.sealed.is_none() {
                model.current_changelog.extend(publish(state));
            }
            model.steps += 1;
            let next = Offset(model.steps);
            let commit = Commit {
                changelog_next: &[(ROCKS, next), (MEMORY, next)],
                positions: &[(input(), next)],
                stream_time: Some(Timestamp(model.steps)),
            };
            state.commit(&commit).unwrap();
            (model.restored_to, model.position) = (Some(next), Some(next));
            let published = match model.sealed_changelog.take() {
                Some(published) => published,
                None => std::mem::take(&mut model.current_changelog),
            };
            published.iter().for_each(|(store, key, value)| put(&mut model.changelog, *store, key, value.as_deref()));
            model.committed = model.sealed.take().unwrap_or_else(|| model.current.clone());
            // Restoring from the changelog must give what was committed.
            assert_eq!(model.changelog, model.committed);
        }
        Op::Restore(store, writes) if state.is_clean() => {
            model.steps += 1;
            let records = writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
            state.restore(*store, records, Offset(model.steps)).unwrap();
            if *store == ROCKS {
                model.restored_to = Some(Offset(model.steps));
            }
            for (key, value) in writes {
                for maps in [&mut model.committed, &mut model.current, &mut model.changelog] {
                    put(maps, *store, key, value.as_deref());
                }
            }
            // Nothing is staged, but an empty transaction may be sealed.
            model.sealed = model.sealed.take().map(|_| model.current.clone());
        }
        _ => {}
    }
}

/// What waits for the database would wait for ever.
fn let_arrive(jobs: &HeldJobs, op: &Op) {
    if matches!(op, Op::Range(..) | Op::Prefix(..) | Op::Commit | Op::Arrive | Op::Restore(..) | Op::Reopen) {
        jobs.write_next();
    }
}

fn bounds_contain(bounds: Bounds<'_>, key: &[u8]) -> bool {
    std::ops::RangeBounds::<[u8]>::contains(&bounds, key)
}

fn abort(model: &mut Model) {
    model.current = model.committed.clone();
    (model.sealed, model.before_record, model.sealed_changelog) = (None, None, None);
    model.current_changelog.clear();
}

/// After a restart the store on disk is as committed, and the one in memory comes from its changelog.
fn restart(state: &mut TaskState, model: &mut Model) {
    abort(model);
    assert_eq!(state.changelog_next(MEMORY), None);
    assert_eq!(state.changelog_next(ROCKS), model.restored_to);
    assert_eq!(state.position(&input()), model.position);
    assert_eq!(state.stream_time(), model.position.map(|next| Timestamp(next.0)));
    let records = model.changelog[1].iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice())));
    state.restore(MEMORY, records, Offset(model.steps)).unwrap();
}

fn compare(state: &mut TaskState, model: &Model) {
    for store in [ROCKS, MEMORY] {
        let expected: Vec<_> = model.current[number(store)].clone().into_iter().collect();
        assert_eq!(contents(state, store), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn r17_stores_answer_as_a_map_through_records_transactions_aborts_and_restarts(
        ops in prop::collection::vec(op(), 1..250)
    ) {
        let root = tempfile::tempdir().unwrap();
        let (mut state, mut jobs) = open_held(root.path());
        let mut model = Model::default();
        for op in &ops {
            let_arrive(&jobs, op);
            if matches!(op, Op::Reopen) {
                drop(state);
                (state, jobs) = open_held(root.path());
                restart(&mut state, &mut model);
            }
            step(&mut state, &mut model, op);
        }
        jobs.write_next();
        compare(&mut state, &model);
    }

    #[test]
    fn a_state_without_directory_answers_as_a_map(ops in prop::collection::vec(op(), 1..200)) {
        let mut state = TaskState::in_memory(&specs());
        let mut model = Model::default();
        for op in &ops {
            step(&mut state, &mut model, op);
        }
        compare(&mut state, &model);
    }
}
