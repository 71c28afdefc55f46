//! Tasks that come again and again.

use std::time::Duration;

use task_queue::cron::{Cron, Missed};

use crate::support::Queue;

const MINUTE: Duration = Duration::from_secs(60);

fn every_minute() -> Cron {
    let (pattern, zone) = ("* * * * *".to_owned(), "UTC".to_owned());
    Cron {
        pattern,
        zone,
        queue: "default".to_owned(),
        kind: "sweep".to_owned(),
        good_for: Some(30_000),
        ..Cron::default()
    }
}

fn ids(queue: &mut Queue) -> Vec<String> {
    queue.planned().into_iter().map(|task| task.id).collect()
}

#[test]
fn each_time_comes_once_as_a_task_of_its_own() {
    let mut queue = Queue::new();
    assert!(queue.plan("sweep", Some(&every_minute())));
    queue.advance(MINUTE - Duration::from_millis(1));
    assert!(queue.planned().is_empty());
    queue.advance(Duration::from_millis(1));
    let task = queue.planned().remove(0);
    assert_eq!(
        (task.id.as_str(), task.kind.as_str(), task.deadline),
        ("sweep@1970-01-01T00:01:00Z", "sweep", Some(90_000))
    );
    assert!(queue.plan("sweep", Some(&every_minute())), "written again as it was");
    queue.advance(Duration::from_millis(10));
    assert!(queue.planned().is_empty());
    queue.advance(MINUTE);
    assert_eq!(ids(&mut queue), ["sweep@1970-01-01T00:02:00Z"]);
}

#[test]
fn a_cron_is_replaced_and_taken_away_by_its_name() {
    let mut queue = Queue::new();
    queue.plan("a", Some(&every_minute()));
    queue.plan("b", Some(&every_minute()));
    queue.plan("a", Some(&Cron { pattern: "*/5 * * * *".to_owned(), ..every_minute() }));
    queue.advance(MINUTE);
    assert_eq!(ids(&mut queue), ["b@1970-01-01T00:01:00Z"]);
    queue.plan("b", None);
    queue.advance(4 * MINUTE);
    assert_eq!(ids(&mut queue), ["a@1970-01-01T00:05:00Z"]);
    queue.plan("nobody", None);
}

#[test]
fn what_is_no_cron_is_a_dead_letter_and_leaves_the_one_before_in_force() {
    let mut queue = Queue::new();
    queue.plan("a", Some(&every_minute()));
    assert!(!queue.plan("a", Some(&Cron { pattern: "every day".to_owned(), ..every_minute() })));
    assert!(!queue.plan("a", Some(&Cron { zone: "Mars/Phobos".to_owned(), ..every_minute() })));
    queue.advance(MINUTE);
    assert_eq!(ids(&mut queue), ["a@1970-01-01T00:01:00Z"]);
}

#[test]
fn of_times_that_were_missed_the_last_is_made_up_for_or_each_or_none() {
    for (missed, expected) in [(Missed::Last, 1), (Missed::All, 3_000), (Missed::None, 0)] {
        let mut queue = Queue::new();
        queue.plan("a", Some(&Cron { missed, ..every_minute() }));
        // Nobody was there for two days and two hours, and a minute and a half.
        queue.advance(3_000 * MINUTE + MINUTE * 3 / 2 - MINUTE);
        let mut made_up = Vec::new();
        for _ in 0..5 {
            made_up.extend(ids(&mut queue));
            queue.advance(Duration::from_millis(10));
        }
        if missed == Missed::None {
            // The last one is half a minute old.
            assert_eq!(made_up.len(), 1, "{made_up:?}");
        } else {
            assert_eq!(made_up.len(), expected, "{missed:?}");
        }
        assert_eq!(made_up.last().map(String::as_str), Some("a@1970-01-03T02:00:00Z"), "{missed:?}");
        queue.advance(MINUTE);
        assert_eq!(ids(&mut queue), ["a@1970-01-03T02:01:00Z"], "{missed:?}");
    }
}
