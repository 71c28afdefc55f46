//! All brokers that have share groups as this needs them, beside the shared one; and one that has them turned off.

use std::sync::Arc;
use std::time::Duration;

use headrace::share::ShareConsumer;
use testbed::{Kafka, KafkaVersion};

use super::interop::share_with_java;
use super::support::{Cluster, Place, Queue, is_quiet, next, number, run};
use crate::support::{DEADLINE, share_groups};

fn cluster(version: KafkaVersion) -> Arc<Cluster> {
    Cluster::start(&share_groups(Kafka::builder().unwrap()).version(version), 1)
}

/// One is renewed for longer than two locks, one released, one rejected, one accepted.
fn basics(place: Place) {
    let queue = Queue::on(place, "basics", 1, ",share.record.lock.duration.ms=2000");
    queue.produce(0..4);
    run(async move {
        let mut member = queue.join(queue.settings());
        let mut kept = None;
        for _ in 0..4 {
            let delivery = next(&mut member).await;
            match number(&delivery) {
                0 => kept = Some(delivery),
                1 => delivery.release().await.unwrap(),
                2 => delivery.reject().await.unwrap(),
                _ => delivery.accept().await.unwrap(),
            }
        }
        let again = next(&mut member).await;
        assert_eq!((number(&again), again.delivery_count), (1, 2));
        again.accept().await.unwrap();
        assert!(is_quiet(&mut member, Duration::from_secs(5)).await, "it came again");
        kept.unwrap().accept().await.unwrap();
        queue.wait_done().await;
        member.close(Duration::from_secs(5)).await;
    });
}

#[test]
fn the_oldest_broker_that_is_supported_and_one_whose_share_groups_are_turned_off() {
    let cluster = cluster(KafkaVersion::V4_2_1);
    basics(Place::Own(Arc::clone(&cluster)));
    share_with_java(Queue::on(Place::Own(Arc::clone(&cluster)), "interop", 4, ""));
    let queue = Queue::on(Place::Own(Arc::clone(&cluster)), "off", 1, "");
    let args = ["--bootstrap-server", queue.servers(), "downgrade", "--feature", "share.version=0"];
    queue.kafka().java_tool("org.apache.kafka.tools.FeatureCommand", &args).unwrap();
    run(async move {
        let mut member: ShareConsumer = queue.join(queue.settings());
        let told = tokio::time::timeout(DEADLINE, member.next()).await.expect("it is told in time");
        let text = told.unwrap_err().to_string();
        assert!(text.contains(&queue.group) && text.contains("share.version=1"), "{text}");
    });
}

#[test]
fn the_newest_broker() {
    let cluster = cluster(KafkaVersion::V4_4_0);
    basics(Place::Own(Arc::clone(&cluster)));
    share_with_java(Queue::on(Place::Own(cluster), "interop", 4, ""));
}
