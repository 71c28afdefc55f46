//! What is held, settled, refused and lost, step by step.

use super::*;

const LOCK: Duration = Duration::from_secs(30);
const ONE: BrokerId = BrokerId(1);
const TWO: BrokerId = BrokerId(2);

fn named(partition: i32) -> Named {
    (crate::wire::TopicId([7; 16]), partition)
}

impl Ledger {
    fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }
}

fn ledger() -> Ledger {
    Ledger::new(true)
}

fn acquire(ledger: &mut Ledger, broker: BrokerId, partition: i32, range: (i64, i64), sent: Instant) -> Arc<Grant> {
    let acquisition = Acquisition { broker, named: named(partition), topic: "jobs".into(), range, fetched: sent };
    ledger.acquire(acquisition, sent, LOCK)
}

fn settle(ledger: &mut Ledger, grant: &Grant, indices: impl IntoIterator<Item = u32>, kind: Acknowledgement) {
    for index in indices {
        ledger.settle(Settlement { grant: grant.number, index, kind });
    }
}

/// What a load tells, as `partition: first-last kind …`.
fn told(ledger: &Ledger, load: &Load) -> Vec<String> {
    let batch = |batch: &AcknowledgedBatch| format!("{}-{} {:?}", batch.first, batch.last, batch.kinds[0]);
    let part = |part: &SharePart| {
        let batches: Vec<String> = part.acknowledged.iter().map(batch).collect();
        format!("{}: {}", part.partition, batches.join(", "))
    };
    ledger.parts(load).iter().map(part).collect()
}

fn answer(ledger: &mut Ledger, load: Load, verdict: Verdict, sent: Instant) {
    for told in load.told {
        ledger.answered(told, ONE, verdict, (sent, Some(LOCK)));
    }
}

#[test]
fn r11_neighbours_of_one_kind_go_as_one_batch_in_the_order_of_offsets() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let late = acquire(&mut ledger, ONE, 0, (100, 109), now);
    let early = acquire(&mut ledger, ONE, 0, (40, 42), now);
    settle(&mut ledger, &late, [3, 1, 2, 5], Acknowledgement::Accept);
    settle(&mut ledger, &late, [4], Acknowledgement::Reject);
    settle(&mut ledger, &early, [0], Acknowledgement::Release);
    let load = ledger.take(ONE);
    assert_eq!(told(&ledger, &load), ["0: 40-40 Release, 101-103 Accept, 104-104 Reject, 105-105 Accept"]);
    assert_eq!(ledger.held(), 13 - 6);
    assert!(ledger.take(ONE).told.is_empty(), "each is told once");
}

#[test]
fn r12_acknowledgements_go_to_the_broker_that_has_handed_the_record_over() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let one = acquire(&mut ledger, ONE, 0, (0, 0), now);
    let two = acquire(&mut ledger, TWO, 0, (1, 1), now);
    settle(&mut ledger, &one, [0], Acknowledgement::Accept);
    settle(&mut ledger, &two, [0], Acknowledgement::Accept);
    let load = ledger.take(ONE);
    assert_eq!(told(&ledger, &load), ["0: 0-0 Accept"]);
    assert!(ledger.has_waiting(TWO) && !ledger.has_waiting(ONE));
}

#[test]
fn what_is_settled_twice_or_too_late_is_not_heard() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let grant = acquire(&mut ledger, ONE, 0, (0, 1), now);
    settle(&mut ledger, &grant, [0], Acknowledgement::Accept);
    settle(&mut ledger, &grant, [0], Acknowledgement::Release);
    ledger.expire(now + LOCK);
    settle(&mut ledger, &grant, [1], Acknowledgement::Accept);
    assert_eq!((grant.fate(0), grant.fate(1)), (Fate::Lost(Lost::Expired), Fate::Lost(Lost::Expired)));
    assert!(ledger.is_empty() && ledger.held() == 0);
}

#[test]
fn r9_what_is_on_the_wire_when_its_lock_ends_is_the_brokers_to_judge() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let grant = acquire(&mut ledger, ONE, 0, (0, 1), now);
    settle(&mut ledger, &grant, [0], Acknowledgement::Accept);
    let load = ledger.take(ONE);
    ledger.expire(now + LOCK);
    assert_eq!((grant.fate(0), grant.fate(1)), (Fate::Held, Fate::Lost(Lost::Expired)));
    answer(&mut ledger, load, Verdict::Taken, now);
    assert_eq!(grant.fate(0), Fate::Settled);
    assert!(ledger.is_empty());
}

#[test]
fn locks_are_renewed_at_half_of_their_time_without_what_was_settled() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let grant = acquire(&mut ledger, ONE, 0, (0, 4), now);
    settle(&mut ledger, &grant, [2], Acknowledgement::Accept);
    assert!(ledger.renewals(ONE, now + LOCK * 44 / 100).told.is_empty());
    let due = now + LOCK * 56 / 100;
    let load = ledger.renewals(ONE, due);
    assert_eq!((told(&ledger, &load), load.renews), (vec!["0: 0-1 Renew, 3-4 Renew".to_owned()], true));
    answer(&mut ledger, load, Verdict::Taken, due);
    ledger.expire(now + LOCK);
    assert_eq!(grant.fate(0), Fate::Held, "the lock was renewed");
    ledger.expire(due + LOCK);
    assert_eq!(grant.fate(0), Fate::Lost(Lost::Expired));
}

#[test]
fn r14_of_what_is_refused_together_the_wrong_one_is_found_and_the_others_are_taken() {
    for wrong in 0..13 {
        let (mut ledger, now) = (ledger(), Instant::now());
        let grant = acquire(&mut ledger, ONE, 0, (100, 112), now);
        settle(&mut ledger, &grant, 0..13, Acknowledgement::Accept);
        let mut requests = 0;
        while ledger.has_waiting(ONE) {
            let load = ledger.take(ONE);
            assert!(load.told.len() <= 1, "one group of a partition in a request");
            let parts = ledger.parts(&load);
            let has_wrong = parts
                .iter()
                .flat_map(|part| &part.acknowledged)
                .any(|batch| (batch.first..=batch.last).contains(&(100 + wrong)));
            answer(&mut ledger, load, if has_wrong { Verdict::OneIsWrong } else { Verdict::Taken }, now);
            requests += 1;
        }
        assert!(requests <= 10, "{requests} for 13 records");
        for index in 0..13 {
            let due = if i64::from(index) == wrong { Fate::Lost(Lost::Refused) } else { Fate::Settled };
            assert_eq!(grant.fate(index), due, "{wrong}: {index}");
        }
        assert!(ledger.is_empty());
    }
}

#[test]
fn r14_what_the_keeper_of_the_state_could_not_write_is_told_again() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let grant = acquire(&mut ledger, ONE, 0, (0, 2), now);
    settle(&mut ledger, &grant, 0..3, Acknowledgement::Accept);
    let load = ledger.take(ONE);
    answer(&mut ledger, load, Verdict::Later, now);
    let load = ledger.take(ONE);
    assert_eq!(told(&ledger, &load), ["0: 0-2 Accept"]);
    answer(&mut ledger, load, Verdict::Taken, now);
    assert_eq!(grant.fate(1), Fate::Settled);
    assert!(ledger.is_empty());
}

#[test]
fn r13_a_group_that_does_not_renew_leaves_the_locks_to_their_end() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let grant = acquire(&mut ledger, ONE, 0, (0, 0), now);
    let due = now + LOCK * 56 / 100;
    let load = ledger.renewals(ONE, due);
    answer(&mut ledger, load, Verdict::OneIsWrong, due);
    assert_eq!(grant.fate(0), Fate::Held);
    assert!(ledger.renewals(ONE, due).told.is_empty(), "once is enough");
    settle(&mut ledger, &grant, [0], Acknowledgement::Accept);
    let load = ledger.take(ONE);
    answer(&mut ledger, load, Verdict::Taken, due);
    assert_eq!(grant.fate(0), Fate::Settled);
}

#[test]
fn r13_renewals_that_were_refused_together_are_told_again_and_never_with_a_fetch() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let grant = acquire(&mut ledger, ONE, 0, (0, 1), now);
    let due = now + LOCK * 56 / 100;
    let load = ledger.renewals(ONE, due);
    answer(&mut ledger, load, Verdict::OneIsWrong, due);
    assert!(ledger.renews_again(ONE));
    let load = ledger.take(ONE);
    assert_eq!((told(&ledger, &load), load.renews), (vec!["0: 0-0 Renew".to_owned()], true));
    answer(&mut ledger, load, Verdict::Taken, due);
    let load = ledger.take(ONE);
    assert_eq!(told(&ledger, &load), ["0: 1-1 Renew"]);
    answer(&mut ledger, load, Verdict::OneIsWrong, due);
    assert!(!ledger.renews_again(ONE));
    assert_eq!((grant.fate(0), grant.fate(1)), (Fate::Held, Fate::Lost(Lost::Refused)));
}

#[test]
fn r13_a_renewal_that_is_refused_where_others_were_not_means_that_the_lock_is_lost() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let grant = acquire(&mut ledger, ONE, 0, (0, 0), now);
    let due = now + LOCK * 56 / 100;
    let load = ledger.renewals(ONE, due);
    answer(&mut ledger, load, Verdict::Taken, due);
    let load = ledger.renewals(ONE, due + LOCK * 56 / 100);
    answer(&mut ledger, load, Verdict::OneIsWrong, due);
    assert_eq!(grant.fate(0), Fate::Lost(Lost::Refused));
}

#[test]
fn r5_a_session_that_is_over_takes_all_of_its_broker_with_it_and_nothing_of_others() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let one = acquire(&mut ledger, ONE, 0, (0, 2), now);
    let two = acquire(&mut ledger, TWO, 1, (0, 0), now);
    settle(&mut ledger, &one, [0, 1], Acknowledgement::Accept);
    ledger.lose_broker(ONE, Lost::Session);
    assert!((0..3).all(|index| one.fate(index) == Fate::Lost(Lost::Session)));
    assert_eq!((two.fate(0), ledger.held()), (Fate::Held, 1));
    assert!(!ledger.has_waiting(ONE) && ledger.take(ONE).told.is_empty());
}

#[test]
fn what_is_given_back_is_released_and_its_holders_are_told() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let grant = acquire(&mut ledger, ONE, 0, (0, 2), now);
    settle(&mut ledger, &grant, [0], Acknowledgement::Accept);
    ledger.give_back();
    let load = ledger.take(ONE);
    assert_eq!(told(&ledger, &load), ["0: 0-0 Accept, 1-2 Release"]);
    answer(&mut ledger, load, Verdict::Taken, now);
    assert_eq!((grant.fate(0), grant.fate(1)), (Fate::Settled, Fate::Lost(Lost::Closed)));
    assert!(ledger.is_empty());
}

#[test]
fn r13_a_renewal_is_asked_for_once_until_it_is_answered() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let grant = acquire(&mut ledger, ONE, 0, (0, 1), now);
    let due = now + LOCK * 56 / 100;
    let load = ledger.renewals(ONE, due);
    assert!(ledger.renewals(ONE, due).told.is_empty(), "it is on its way");
    answer(&mut ledger, load, Verdict::OneIsWrong, due);
    assert!(ledger.renewals(ONE, due).told.is_empty(), "it is told again in halves, and not as a whole besides");
    let load = ledger.take(ONE);
    answer(&mut ledger, load, Verdict::Taken, due);
    assert!(ledger.renewals(ONE, due + LOCK * 44 / 100).told.is_empty());
    let load = ledger.renewals(ONE, due + LOCK * 56 / 100);
    assert_eq!(told(&ledger, &load), ["0: 0-1 Renew"]);
    assert_eq!(grant.fate(0), Fate::Held);
}

/// This member may hold the record anew by then, and the broker would take the word for that.
#[test]
fn r9_what_is_to_be_told_again_is_not_told_after_the_end_of_its_lock() {
    for verdict in [Verdict::Later, Verdict::OneIsWrong] {
        let (mut ledger, now) = (ledger(), Instant::now());
        let grant = acquire(&mut ledger, ONE, 0, (0, 1), now);
        settle(&mut ledger, &grant, 0..2, Acknowledgement::Accept);
        let load = ledger.take(ONE);
        answer(&mut ledger, load, verdict, now);
        assert!(ledger.has_waiting(ONE));
        ledger.expire(now + LOCK);
        assert!(!ledger.has_waiting(ONE) && ledger.take(ONE).told.is_empty());
        assert_eq!((grant.fate(0), grant.fate(1)), (Fate::Lost(Lost::Expired), Fate::Lost(Lost::Expired)));
        assert!(ledger.is_empty());
    }
}

/// What was settled before is not renewed with its neighbours.
#[test]
fn r9_the_renewal_of_others_does_not_put_off_the_end_of_what_waits() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let grant = acquire(&mut ledger, ONE, 0, (0, 2), now);
    settle(&mut ledger, &grant, [1], Acknowledgement::Accept);
    let due = now + LOCK * 56 / 100;
    let load = ledger.renewals(ONE, due);
    assert_eq!(told(&ledger, &load), ["0: 0-0 Renew, 2-2 Renew"]);
    // Settled while its renewal is on its way, which it has part in.
    settle(&mut ledger, &grant, [2], Acknowledgement::Accept);
    answer(&mut ledger, load, Verdict::Taken, due);
    ledger.expire(now + LOCK);
    assert_eq!(
        (0..3).map(|index| grant.fate(index)).collect::<Vec<_>>(),
        [Fate::Held, Fate::Lost(Lost::Expired), Fate::Held]
    );
    assert_eq!(ledger.wakes(|_| false), Some(due + LOCK), "nothing ends before");
    let load = ledger.take(ONE);
    assert_eq!(told(&ledger, &load), ["0: 2-2 Accept"]);
    ledger.expire(due + LOCK);
    assert_eq!((grant.fate(0), grant.fate(2)), (Fate::Lost(Lost::Expired), Fate::Held), "the other is on the wire");
}

/// The same of what was refused with others.
#[test]
fn r9_the_renewal_of_others_does_not_put_off_the_end_of_what_is_told_again() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let grant = acquire(&mut ledger, ONE, 0, (0, 2), now);
    settle(&mut ledger, &grant, 0..2, Acknowledgement::Accept);
    let load = ledger.take(ONE);
    let due = now + LOCK * 56 / 100;
    let renewal = ledger.renewals(ONE, due);
    answer(&mut ledger, renewal, Verdict::Taken, due);
    answer(&mut ledger, load, Verdict::Later, due);
    ledger.expire(now + LOCK);
    assert!(!ledger.has_waiting(ONE));
    assert_eq!((grant.fate(1), grant.fate(2)), (Fate::Lost(Lost::Expired), Fate::Held));
}

#[test]
fn r8_what_waits_behind_something_that_is_told_again_frees_no_place() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let grant = acquire(&mut ledger, ONE, 0, (0, 3), now);
    settle(&mut ledger, &grant, 0..2, Acknowledgement::Accept);
    assert_eq!(ledger.freed_by(ONE), 2);
    let load = ledger.take(ONE);
    answer(&mut ledger, load, Verdict::OneIsWrong, now);
    settle(&mut ledger, &grant, 2..4, Acknowledgement::Accept);
    assert_eq!((ledger.freed_by(ONE), ledger.held()), (0, 2));
}

#[path = "model/image/ledger.rs"]
mod image;
