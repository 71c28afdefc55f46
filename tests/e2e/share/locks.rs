//! Locks: renewed, run out, lost with the connection.

use std::sync::Arc;
use std::time::Duration;

use headrace::share::{Delivery, Lost, ShareSettings};

use super::support::{Queue, is_quiet, next, number, run};
use crate::support::DEADLINE;

/// The shortest that the shared broker allows.
const SHORT: &str = ",share.record.lock.duration.ms=1000";

#[test]
fn r13_a_task_of_many_locks_length_runs_once() {
    let queue = Queue::new("renewed", 1, ",share.record.lock.duration.ms=4000");
    queue.produce(0..1);
    run(async move {
        let mut consumer = queue.join(queue.settings());
        let delivery = next(&mut consumer).await;
        assert!(is_quiet(&mut consumer, Duration::from_secs(14)).await, "it came again");
        assert_eq!(delivery.lease().is_lost(), None);
        delivery.accept().await.unwrap();
        queue.wait_done().await;
        consumer.close(Duration::from_secs(5)).await;
    });
}

#[test]
fn r9_whoever_works_on_a_record_whose_lock_has_run_out_is_told_and_it_comes_again() {
    let queue = Queue::new("expired", 1, SHORT);
    queue.produce(0..1);
    run(async move {
        let mut consumer = queue.join(ShareSettings { renew: false, ..queue.settings() });
        let first = next(&mut consumer).await;
        assert_eq!(lost(&first).await, Lost::Expired);
        let again = next(&mut consumer).await;
        assert_eq!((number(&again), again.delivery_count), (0, 2));
        assert_eq!(first.accept().await.unwrap_err().reason, Lost::Expired);
        again.accept().await.unwrap();
        queue.wait_done().await;
        consumer.close(Duration::from_secs(5)).await;
    });
}

#[test]
fn r13_a_group_that_does_not_renew_leaves_the_lock_to_its_end() {
    let queue = Queue::new("forbidden", 1, ",share.record.lock.duration.ms=10000,share.renew.acknowledge.enable=false");
    queue.produce(0..2);
    run(async move {
        let mut consumer = queue.join(queue.settings());
        let (one, two) = (next(&mut consumer).await, next(&mut consumer).await);
        // A renewal is refused after half of the lock's time.
        assert!(is_quiet(&mut consumer, Duration::from_secs(6)).await, "it came again");
        one.accept().await.expect("its lock stands, though no renewal was granted");
        assert_eq!(lost(&two).await, Lost::Expired);
        consumer.close(Duration::from_secs(5)).await;
    });
}

#[test]
fn r16_a_process_that_is_killed_gives_its_records_to_others_at_once() {
    // Longer than the test waits: it is the connection's end that frees them.
    let queue = Arc::new(Queue::new("killed", 1, ",share.record.lock.duration.ms=60000"));
    queue.produce(0..10);
    run(async move {
        let held = killed(&queue, 10).await;
        let mut other = queue.join(queue.settings());
        for _ in 0..10 {
            let delivery = next(&mut other).await;
            assert_eq!(delivery.delivery_count, 2);
            delivery.accept().await.unwrap();
        }
        drop(held);
        queue.wait_done().await;
        other.close(Duration::from_secs(5)).await;
    });
}

/// Waits until a record is lost.
async fn lost(delivery: &Delivery) -> Lost {
    tokio::time::timeout(DEADLINE, delivery.lease().lost()).await.expect("it is lost in time")
}

/// A member on a runtime of its own, which ends without a word once the member holds so many; and what it holds.
async fn killed(queue: &Arc<Queue>, count: usize) -> impl Send {
    let queue = Arc::clone(queue);
    let killed = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let held = runtime.block_on(async {
            let mut member = queue.join(queue.settings());
            let mut held = Vec::new();
            while held.len() < count {
                held.push(next(&mut member).await);
            }
            (member, held)
        });
        runtime.shutdown_background();
        held
    };
    tokio::task::spawn_blocking(killed).await.unwrap()
}
