//! Many tasks at a time on one member, and what a restart does to those that it holds.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headrace::share::{Delivery, Pool, ShareSettings};
use tokio::sync::{Notify, watch};

use super::support::{Queue, number, run};
use crate::support::DEADLINE;

const TASKS: u32 = 300;

/// What was delivered: of each task its delivery counts, in order.
#[derive(Default)]
struct Seen(Mutex<BTreeMap<u32, Vec<u16>>>);

impl Seen {
    /// How often the task has come by now.
    fn note(&self, delivery: &Delivery) -> usize {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = seen.entry(number(delivery)).or_default();
        times.push(delivery.delivery_count);
        times.len()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn all(&self, holds: impl Fn(&Vec<u16>) -> bool) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().all(holds)
    }
}

/// Ends when something is true, which is looked at now and then.
async fn once(is_true: impl Fn() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let wait = async {
        while !is_true() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("in time");
}

fn pooled<F, T>(queue: &Queue, concurrency: usize, stop: impl Future<Output = ()>, task: F) -> impl Future<Output = ()>
where
    F: FnMut(Delivery) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let consumer = queue.join(ShareSettings { window: 32, ..queue.settings() });
    async move { Pool::new(concurrency).run(consumer, stop, task).await.unwrap() }
}

#[test]
fn so_many_run_at_the_same_time_and_a_slow_one_holds_up_nobody() {
    let queue = Queue::new("pool", 4, "");
    queue.produce(0..TASKS);
    run(async move {
        let (running, most, seen) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Seen::default()));
        let others_are_done = Arc::new(Notify::new());
        let stop = once({
            let seen = Arc::clone(&seen);
            move || seen.len() == TASKS as usize
        });
        let task = |delivery: Delivery| {
            let (running, most, seen) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&seen));
            let others = Arc::clone(&others_are_done);
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let mut tick = tokio::time::interval(Duration::from_millis(5));
                tick.tick().await;
                tick.tick().await;
                if number(&delivery) == 0 {
                    others.notified().await;
                }
                seen.note(&delivery);
                if seen.len() == TASKS as usize - 1 {
                    others.notify_one();
                }
                running.fetch_sub(1, Ordering::SeqCst);
                delivery.accept();
            }
        };
        pooled(&queue, 8, stop, task).await;
        assert_eq!(most.load(Ordering::SeqCst), 8);
        assert!(seen.all(|counts| counts == &[1]), "each once");
        queue.wait_done().await;
    });
}

#[test]
fn a_task_that_panics_gives_its_record_back_and_the_others_go_on() {
    let queue = Queue::new("panics", 2, "");
    queue.produce(0..20);
    run(async move {
        let seen = Arc::new(Seen::default());
        let done = Arc::new(AtomicUsize::new(0));
        let stop = once({
            let done = Arc::clone(&done);
            move || done.load(Ordering::SeqCst) == 20
        });
        let task = |delivery: Delivery| {
            let (seen, done) = (Arc::clone(&seen), Arc::clone(&done));
            async move {
                let again = seen.note(&delivery) > 1;
                assert!(number(&delivery) != 7 || again, "as a task may do");
                delivery.accept().await.unwrap();
                done.fetch_add(1, Ordering::SeqCst);
            }
        };
        pooled(&queue, 4, stop, task).await;
        assert!(seen.all(|counts| counts == &[1] || counts == &[1, 2]));
        assert!(!seen.all(|counts| counts == &[1]), "one came again");
        queue.wait_done().await;
    });
}

/// Java's members give back what they hold when they close, and each time counts; so a group with a limit of five loses tasks
/// in a rolling restart.
#[test]
fn r16_rolling_restarts_burn_no_attempt_of_what_is_held() {
    const RESTARTS: usize = 10;
    let queue = Queue::new("rolling", 4, ",share.delivery.count.limit=5");
    queue.produce(0..TASKS);
    run(async move {
        let seen = Arc::new(Seen::default());
        let accepted = Arc::new(AtomicUsize::new(0));
        for restart in 0..=RESTARTS {
            let (stopping, stopped) = watch::channel(false);
            let begun = Arc::new(AtomicUsize::new(0));
            let stop = {
                let (begun, accepted) = (Arc::clone(&begun), Arc::clone(&accepted));
                async move {
                    // With its hands full; at last, when all is done.
                    once(|| match restart {
                        RESTARTS => accepted.load(Ordering::SeqCst) == TASKS as usize,
                        _ => begun.load(Ordering::SeqCst) >= 8 || accepted.load(Ordering::SeqCst) == TASKS as usize,
                    })
                    .await;
                    _ = stopping.send(true);
                }
            };
            let task = |delivery: Delivery| {
                let (seen, accepted, begun) = (Arc::clone(&seen), Arc::clone(&accepted), Arc::clone(&begun));
                let mut stopped = stopped.clone();
                async move {
                    begun.fetch_add(1, Ordering::SeqCst);
                    if restart < RESTARTS {
                        // Held while the process is told to stop.
                        _ = stopped.wait_for(|stopped| *stopped).await;
                    }
                    if seen.note(&delivery) == 1 {
                        // Each fails once.
                        delivery.release().await.unwrap();
                    } else {
                        delivery.accept().await.unwrap();
                        accepted.fetch_add(1, Ordering::SeqCst);
                    }
                }
            };
            pooled(&queue, 8, stop, task).await;
        }
        assert_eq!(accepted.load(Ordering::SeqCst), TASKS as usize, "none is archived");
        assert!(seen.all(|counts| counts == &[1, 2]), "no restart has burnt one");
        queue.wait_done().await;
    });
}
