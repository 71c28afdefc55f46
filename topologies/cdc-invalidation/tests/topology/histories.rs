//! Any interleaving, duplication and replay of the rows' histories ends with the newest version, in the store and in the
//! cache.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::cache::View;
use crate::support::{Bench, Event, content};

/// What happens to a row next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write,
    Delete,
    /// Deleted and created again by one statement: one position.
    Replace,
}

/// Rows that change side by side.
const ROWS: usize = 3;

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![4 => Just(Step::Write), 1 => Just(Step::Delete), 1 => Just(Step::Replace)];
    proptest::collection::vec((0..ROWS, step), 1..40)
}

/// The histories as one log, and what each row is at its end.
fn log(steps: &[(usize, Step)]) -> (Vec<Event>, Vec<View>) {
    let mut events = Vec::new();
    let mut last = vec![View::Miss; ROWS];
    for (at, (row, step)) in steps.iter().enumerate() {
        let (id, lsn, name) = (*row as i64, 1000 + 8 * at as u64, format!("version {at}"));
        let there = matches!(last[*row], View::Content(_));
        match step {
            Step::Delete if there => {
                events.extend([Event::delete(id, lsn), Event::tombstone(id)]);
                last[*row] = View::Absent;
                continue;
            }
            Step::Replace if there => {
                events.extend([Event::delete(id, lsn), Event::tombstone(id), Event::create(id, lsn, &name)]);
            }
            _ if there => events.push(Event::update(id, lsn, &name)),
            _ => events.push(Event::create(id, lsn, &name)),
        }
        last[*row] = content(id, &name);
    }
    (events, last)
}

fn check(bench: &mut Bench, last: &[View]) -> Result<(), TestCaseError> {
    for (id, expected) in last.iter().enumerate() {
        prop_assert_eq!(&bench.view(id as i64), expected);
        let stored = bench.stored("public.items", &format!(r#"{{"id":{id}}}"#));
        let fence = bench.cache.version(&format!("public.items:{id}")).map(str::to_owned);
        prop_assert_eq!(stored.as_ref().map(|stored| stored.version.clone()), fence);
        let image = match expected {
            View::Content(content) => Some(content.clone()),
            View::Absent | View::Miss => None,
        };
        prop_assert_eq!(stored.and_then(|stored| stored.image), image);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The connector starts again from earlier places, as after kills, and comes to the end each time or is cut short.
    #[test]
    fn f14_rewinds_end_at_the_newest(steps in steps(), rewinds in proptest::collection::vec(any::<(Index, Index)>(), 0..4)) {
        let (events, last) = log(&steps);
        let mut bench = Bench::write_through();
        bench.send_all(&events);
        for (from, to) in rewinds {
            let from = from.index(events.len());
            let to = from + to.index(events.len() - from + 1);
            bench.send_all(&events[from..to]);
            check(&mut bench, &last)?;
        }
        check(&mut bench, &last)?;
    }

    /// Worse than Kafka can: every record at any place, some of them twice.
    #[test]
    fn c2_any_order_ends_at_the_newest(steps in steps(), order in any::<Vec<Index>>(), seed in any::<u64>()) {
        let (mut events, last) = log(&steps);
        let again: Vec<_> = order.iter().map(|index| events[index.index(events.len())].clone()).collect();
        events.extend(again);
        let mut shuffle = proptest::test_runner::TestRng::from_seed(
            proptest::test_runner::RngAlgorithm::ChaCha,
            &[seed.to_le_bytes(), seed.to_be_bytes(), [7; 8], [9; 8]].concat(),
        );
        for at in (1..events.len()).rev() {
            events.swap(at, (shuffle.next_u64() % (at as u64 + 1)) as usize);
        }
        let mut bench = Bench::write_through();
        bench.send_all(&events);
        check(&mut bench, &last)?;
    }

    /// The cache is ahead of the store by any part of the log: killed between the replies of Redis and the commit.
    #[test]
    fn c10_cache_that_is_ahead_of_the_store_is_never_put_back(steps in steps(), ahead in any::<Index>()) {
        let (events, last) = log(&steps);
        let mut killed = Bench::write_through();
        killed.send_all(&events[..ahead.index(events.len() + 1)]);
        let mut bench = Bench::write_through();
        bench.cache = std::mem::take(&mut killed.cache);
        bench.send_all(&events);
        check(&mut bench, &last)?;
    }

    /// Snapshot reads of any age, at any place of the stream, never win over what was streamed.
    #[test]
    fn c7_snapshot_reads_at_any_place_change_no_streamed_row(
        steps in steps(),
        reads in proptest::collection::vec((0..ROWS, 0_u64..5000, any::<Index>()), 0..10),
    ) {
        let (mut events, last) = log(&steps);
        for (row, lsn, at) in reads {
            if last[row] != View::Miss {
                events.insert(at.index(events.len() + 1), Event::read(row as i64, lsn, "from the snapshot"));
            }
        }
        let mut bench = Bench::write_through();
        bench.send_all(&events);
        check(&mut bench, &last)?;
    }
}
