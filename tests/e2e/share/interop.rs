//! Beside Kafka's own member in one group.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::support::{Queue, next, run};

/// What Kafka's member has to have had before it ends.
const THEIRS: usize = 500;

#[test]
fn javas_member_and_ours_share_a_group_and_each_record_is_done_once() {
    share_with_java(Queue::new("interop", 4, ""));
}

pub(super) fn share_with_java(queue: Queue) {
    let queue = Arc::new(queue);
    run(async move {
        let mut ours = queue.join(queue.settings());
        let java = tokio::task::spawn_blocking({
            let queue = Arc::clone(&queue);
            move || queue.java_member(THEIRS)
        });
        // It comes when it comes, and until then each record is delivered to this one.
        let (mut produced, mut done) = (0, BTreeSet::new());
        while !java.is_finished() {
            queue.produce(produced..produced + 200);
            produced += 200;
            while let Ok(delivery) = tokio::time::timeout(Duration::from_millis(300), next(&mut ours)).await {
                assert!(done.insert((delivery.partition().0, delivery.offset().0)), "twice");
                delivery.accept().await.unwrap();
            }
        }
        let theirs = java.await.unwrap();
        queue.wait_done().await;
        assert!(theirs.len() >= THEIRS, "{}", theirs.len());
        assert!(theirs.is_disjoint(&done), "both have done some");
        assert_eq!(theirs.len() + done.len(), produced as usize);
        ours.close(Duration::from_secs(5)).await;
    });
}
