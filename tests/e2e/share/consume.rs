//! What is delivered, how often, and how it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use headrace::share::{AcquireMode, Delivery, Lost, ShareSettings};

use super::support::{Queue, is_quiet, next, number, run};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[test]
fn r7_every_record_of_every_codec_is_delivered_once_and_nothing_is_left_in_both_modes() {
    for mode in [AcquireMode::RecordLimit, AcquireMode::BatchOptimized] {
        let queue = Queue::new("once", 4, "");
        for (number, codec) in (0..).zip(CODECS) {
            queue.produce_with(codec, number * 1_000..(number + 1) * 1_000);
        }
        run(async move {
            let mut consumer = queue.join(ShareSettings { mode, ..queue.settings() });
            let mut times: BTreeMap<u32, u32> = BTreeMap::new();
            while times.len() < 5_000 {
                let delivery = next(&mut consumer).await;
                assert_eq!(delivery.delivery_count, 1);
                assert_eq!(delivery.key.as_deref(), Some(format!("key-{}", number(&delivery) % 50).as_bytes()));
                *times.entry(number(&delivery)).or_default() += 1;
                _ = delivery.accept();
            }
            assert!(times.values().all(|times| *times == 1));
            queue.wait_done().await;
            assert!(is_quiet(&mut consumer, Duration::from_millis(500)).await, "{mode:?}");
            consumer.close(Duration::from_secs(5)).await;
        });
    }
}

#[test]
fn what_is_settled_right_before_a_close_is_settled() {
    let queue = Queue::new("last-words", 4, "");
    queue.produce(0..400);
    run(async move {
        let mut consumer = queue.join(queue.settings());
        for left in (0..400).rev() {
            let settling = next(&mut consumer).await.accept();
            if left == 0 {
                consumer.close(Duration::from_secs(10)).await;
                settling.await.unwrap();
                break;
            }
        }
        queue.wait_done().await;
    });
}

/// Java's consumer gives nothing more before the last of a poll is settled.
#[test]
fn one_that_is_slow_holds_up_nobody() {
    let queue = Queue::new("slow", 4, "");
    queue.produce(0..500);
    run(async move {
        let mut consumer = queue.join(ShareSettings { window: 8, ..queue.settings() });
        let slow = next(&mut consumer).await;
        for _ in 1..500 {
            next(&mut consumer).await.accept().await.unwrap();
        }
        slow.accept().await.unwrap();
        queue.wait_done().await;
        consumer.close(Duration::from_secs(5)).await;
    });
}

#[test]
fn r8_no_more_is_held_than_the_window_has_room_for() {
    let queue = Queue::new("window", 4, "");
    queue.produce(0..1_000);
    run(async move {
        let mut consumer = queue.join(ShareSettings { window: 10, ..queue.settings() });
        let mut held = Vec::new();
        while held.len() < 10 {
            held.push(next(&mut consumer).await);
        }
        assert!(is_quiet(&mut consumer, Duration::from_secs(1)).await, "an eleventh");
        held.truncate(3);
        for _ in 0..7 {
            held.push(next(&mut consumer).await);
        }
        assert!(is_quiet(&mut consumer, Duration::from_secs(1)).await, "an eleventh");
        drop(held);
        consumer.close(Duration::from_secs(5)).await;
    });
}

#[test]
fn r16_what_is_released_or_dropped_comes_again_and_what_is_rejected_does_not() {
    let queue = Queue::new("again", 1, "");
    queue.produce(0..3);
    run(async move {
        let mut consumer = queue.join(queue.settings());
        for _ in 0..3 {
            let delivery = next(&mut consumer).await;
            match number(&delivery) {
                0 => delivery.release().await.unwrap(),
                1 => delivery.reject().await.unwrap(),
                _ => drop(delivery),
            }
        }
        let mut again = BTreeMap::new();
        for _ in 0..2 {
            let delivery = next(&mut consumer).await;
            again.insert(number(&delivery), delivery.delivery_count);
            delivery.accept().await.unwrap();
        }
        assert_eq!(again, BTreeMap::from([(0, 2), (2, 2)]));
        queue.wait_done().await;
        consumer.close(Duration::from_secs(5)).await;
    });
}

#[test]
fn a_member_that_drains_gives_out_what_it_has_and_ends_and_what_it_gives_back_comes_to_others() {
    let queue = Queue::new("drain", 2, "");
    queue.produce(0..100);
    run(async move {
        let mut one = queue.join(ShareSettings { window: 20, ..queue.settings() });
        let mut given = Vec::new();
        while given.len() < 10 {
            given.push(next(&mut one).await);
        }
        one.drain();
        while let Some(delivery) = one.next().await.unwrap() {
            given.push(delivery);
        }
        assert!(given.len() <= 20, "{} of a window of 20", given.len());
        let kept = given.split_off(5);
        for delivery in given {
            delivery.accept().await.unwrap();
        }
        let back = kept.len();
        let leases: Vec<_> = kept.iter().map(Delivery::lease).collect();
        one.close(Duration::from_secs(5)).await;
        assert!(leases.iter().all(|lease| lease.is_lost() == Some(Lost::Closed)), "they are told");
        drop(kept);
        let mut other = queue.join(queue.settings());
        let mut second = 0;
        for _ in 5..100 {
            let delivery = next(&mut other).await;
            second += usize::from(delivery.delivery_count == 2);
            delivery.accept().await.unwrap();
        }
        assert_eq!(second, back, "what was given back comes a second time, and nothing else");
        queue.wait_done().await;
        other.close(Duration::from_secs(5)).await;
    });
}
