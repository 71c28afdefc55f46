//! Topics that come, grow and go while members read them.

use std::collections::BTreeSet;
use std::time::Duration;

use headrace::share::{ShareConsumer, ShareSettings};

use super::support::{Place, Queue, next, number, run};
use crate::support::{DEADLINE, sharing};

/// Takes tasks until it has had all of these.
async fn take_all(consumer: &mut ShareConsumer, numbers: std::ops::Range<u32>) {
    let mut missing: BTreeSet<u32> = numbers.collect();
    while !missing.is_empty() {
        let delivery = next(consumer).await;
        let number = number(&delivery);
        // What was lost on the way is none of them, or comes again.
        if delivery.accept().await.is_ok() {
            missing.remove(&number);
        }
    }
}

#[test]
fn a_topic_that_is_made_after_the_join_is_read_and_one_that_is_not_there_holds_up_no_other() {
    let there = Queue::new("there", 2, "");
    let later = Queue::without_topic(Place::Shared(sharing()), "later", "");
    run(async move {
        let topics = vec![there.topic.clone(), later.topic.clone()];
        let mut consumer = there.join(ShareSettings { topics, ..there.settings() });
        tokio::task::block_in_place(|| there.produce(0..50));
        take_all(&mut consumer, 0..50).await;
        tokio::task::block_in_place(|| {
            later.create(2);
            later.produce(50..100);
        });
        take_all(&mut consumer, 50..100).await;
        consumer.close(Duration::from_secs(5)).await;
    });
}

#[test]
fn partitions_that_are_added_are_read() {
    let queue = Queue::new("grown", 1, "");
    run(async move {
        let mut consumer = queue.join(queue.settings());
        tokio::task::block_in_place(|| queue.produce(0..20));
        take_all(&mut consumer, 0..20).await;
        tokio::task::block_in_place(|| {
            queue.grow(6);
            queue.produce(20..300);
        });
        take_all(&mut consumer, 20..300).await;
        queue.wait_done().await;
        consumer.close(Duration::from_secs(5)).await;
    });
}

#[test]
fn r6_a_topic_that_is_deleted_and_made_anew_is_read_under_its_new_identity() {
    let queue = Queue::new("anew", 2, "");
    run(async move {
        let mut consumer = queue.join(queue.settings());
        tokio::task::block_in_place(|| queue.produce(0..50));
        take_all(&mut consumer, 0..40).await;
        // Held over the deletion: nobody has it any more, and whoever does is told.
        let held = next(&mut consumer).await;
        tokio::task::block_in_place(|| queue.delete());
        tokio::time::timeout(DEADLINE, held.lease().lost()).await.expect("it is lost in time");
        tokio::task::block_in_place(|| {
            queue.create(2);
            queue.produce(100..150);
        });
        take_all(&mut consumer, 100..150).await;
        queue.wait_done().await;
        consumer.close(Duration::from_secs(5)).await;
    });
}
