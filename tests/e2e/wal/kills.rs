//! Processes that are killed in the middle of everything, over a target that fails: nothing is lost, nothing early, and each key has
//! what was written to it in the order in which it was written.

use std::collections::BTreeMap;

use write_ahead_log::entry::State;
use write_ahead_log::mutation::Mutation;
use write_ahead_log::namespace::{Namespace, TargetKind, TargetSpec};

use super::application::{Log, now, put};
use super::effects::{Book, Effects};
use crate::support::eventually;

const MUTATIONS: usize = 1_200;
const KEYS: usize = 40;
const KILLS: usize = 4;
/// One in so many calls fails.
const FAILING: u32 = 12;

/// What is wrong with what a target has.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    lost: usize,
    reordered: usize,
    early: usize,
}

/// `written`: when each mutation may be applied, in the order in which each key has to have those that were put off, and those that
/// were not: how the two lie to each other is a matter of when they came.
fn judge(written: &[(i64, Mutation)], book: &Book) -> Findings {
    let mut findings = Findings::default();
    let mut expected: BTreeMap<(&str, bool), Vec<(&str, i64)>> = BTreeMap::new();
    for (due, mutation) in written {
        expected.entry((&mutation.key, mutation.delay_ms.is_some())).or_default().push((&mutation.token, *due));
    }
    for ((key, _), expected) in expected {
        let effects = book.effects.get(key).map_or(&[][..], Vec::as_slice);
        let place: BTreeMap<&str, usize> =
            effects.iter().enumerate().map(|(at, effect)| (effect.token.as_str(), at)).collect();
        let mut last = None;
        for (token, due) in expected {
            let Some(&at) = place.get(token) else {
                findings.lost += 1;
                continue;
            };
            findings.early += usize::from(effects[at].at < due);
            findings.reordered += usize::from(last.is_some_and(|last| at < last));
            last = Some(at);
        }
    }
    findings
}

/// Mutations of all keys in turns; every tenth is put off.
fn mutations() -> Vec<Mutation> {
    let mutation = |number: usize| Mutation {
        delay_ms: number.is_multiple_of(10).then_some(1_500),
        ..put(&format!("key-{:02}", number % KEYS), &format!("t{number:05}"))
    };
    (0..MUTATIONS).map(mutation).collect()
}

/// What everybody writes first: what fails goes to the end, to be tried once more when its turn comes; nobody waits for it.
fn naive(mutations: &[Mutation], seed: u64) -> Findings {
    let effects = Effects::start(seed, FAILING);
    let http = reqwest::Client::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut queue: std::collections::VecDeque<&Mutation> = mutations.iter().collect();
    while let Some(mutation) = queue.pop_front() {
        let call = http.put(effects.url().replace("{key}", &mutation.key));
        let call = call.header("idempotency-key", &mutation.token).header("headrace-sequence", "0");
        if !runtime.block_on(call.send()).unwrap().status().is_success() {
            queue.push_back(mutation);
        }
    }
    let written: Vec<_> = mutations.iter().map(|mutation| (0, mutation.clone())).collect();
    judge(&written, &effects.book())
}

#[test]
fn m8_w7_kills_and_failures_leave_each_key_what_was_written_to_it_in_its_order() {
    let seed = fastrand::u64(..);
    let (effects, log) = (Effects::start(seed, FAILING), Log::new("wal-kills"));
    let target = TargetSpec::new("book", TargetKind::Http, effects.url());
    let mut namespace = Namespace { targets: vec![target], ..Namespace::default() };
    (namespace.retry.max_attempts, namespace.retry.backoff_ms) = (1_000, 50);
    namespace.retry.longest_backoff_ms = 500;
    log.set("shop", &namespace);
    let mut apps = [log.app("one"), log.app("two")];
    apps.iter_mut().for_each(|app| app.run());
    let mut written = Vec::new();
    let portions = mutations();
    for (kill, portion) in portions.chunks(MUTATIONS / KILLS).enumerate() {
        let portion: Vec<Mutation> = portion.iter().map(|own| Mutation { created_at: now(), ..own.clone() }).collect();
        log.write(&portion);
        written.extend(portion.into_iter().map(|own| (own.due(0), own)));
        log.wait_results(written.len() / 2);
        let app = &mut apps[kill % 2];
        app.kill();
        app.run();
    }
    let results = log.wait_results(MUTATIONS);
    let wrong: Vec<_> = results.values().filter(|all| all.len() != 1 || all[0].state != State::Applied).collect();
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    written.sort_by_key(|(due, _)| *due);
    let book = effects.book();
    let findings = judge(&written, &book);
    println!("{MUTATIONS} mutations, {KILLS} kills: {} calls, {} of them again", book.calls, book.repeated);
    assert!(book.repeated > 0, "nothing came again: there was nothing to withstand");
    assert_eq!(findings, Findings::default(), "seed {seed}");
    for effects in book.effects.values() {
        assert!(effects.is_sorted_by_key(|effect| effect.sequence), "seed {seed}: {effects:?}");
    }
    drop(book);
    assert!(naive(&portions, seed).reordered > 0, "the check proves nothing");
    for app in &mut apps {
        app.wait_ready();
        assert!(app.terminate().success());
    }
}

#[test]
fn m8_a_key_that_fails_holds_up_nobody_else_and_a_kill_changes_nothing() {
    let (effects, log) = (Effects::start(1, 0), Log::new("wal-parking"));
    effects.book().broken.insert("poison".to_owned());
    let target = TargetSpec::new("book", TargetKind::Http, effects.url());
    let mut namespace = Namespace { targets: vec![target], ..Namespace::default() };
    (namespace.retry.max_attempts, namespace.retry.backoff_ms) = (1_000, 100);
    namespace.retry.longest_backoff_ms = 1_000;
    log.set("shop", &namespace);
    let mut app = log.app("one");
    app.start_again();
    let poisoned: Vec<Mutation> = (0..20).map(|number| put("poison", &format!("p{number:02}"))).collect();
    let others: Vec<Mutation> =
        (0..200).map(|number| put(&format!("k{}", number % 20), &format!("o{number}"))).collect();
    log.write(&poisoned[..10]);
    log.write(&others);
    let results = log.wait_results(200);
    assert!(results.keys().all(|token| token.starts_with('o')), "{:?}", results.keys());
    eventually("the store to know it", || {
        let (status, body) = app.get("/state/entries?prefix=shop/p00")?;
        if status == 200 && body.contains("PARKED") { Ok(()) } else { Err(format!("{status}: {body}")) }
    });
    app.kill();
    app.start_again();
    log.write(&poisoned[10..]);
    effects.book().broken.clear();
    log.wait_results(220);
    let book = effects.book();
    let tokens: Vec<&str> = book.effects["poison"].iter().map(|effect| effect.token.as_str()).collect();
    assert_eq!(tokens, poisoned.iter().map(|own| own.token.as_str()).collect::<Vec<_>>());
    drop(book);
    assert!(app.terminate().success());
}
