//! Membership: a member that stood still, a group that is full, a group of another kind.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use headrace::share::{Lost, ShareError, ShareSettings};
use headrace::wire::{Client, CoordinatorKind, Settings};
use kafka_protocol::messages::{GroupId, ShareGroupDescribeRequest};
use kafka_protocol::protocol::StrBytes;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::task::JoinSet;

use super::support::{Queue, next, run, wait};
use crate::support::{DEADLINE, MEMBERS, eventually};

/// How many members the coordinator knows.
async fn members(queue: &Queue) -> Result<usize, String> {
    let client = Client::new(Settings::new(queue.servers(), []).unwrap());
    let told = |error: headrace::wire::WireError| error.to_string();
    let coordinator = client.coordinator(CoordinatorKind::Group, &queue.group).await.map_err(told)?;
    let group = GroupId(StrBytes::from_string(queue.group.clone()));
    let request = ShareGroupDescribeRequest::default().with_group_ids(vec![group]);
    let answer = client.connection(coordinator).await.map_err(told)?.call(&request, ..=1).await.map_err(told)?;
    Ok(answer.groups[0].members.len())
}

/// A process that stands still (SIGSTOP, a long pause of a machine): its connections stay open, its clock goes on.
#[test]
fn r16_what_a_member_accepts_that_stood_still_for_longer_than_its_locks_and_its_session_is_told_as_lost() {
    const HELD: usize = 5;
    let queue = Arc::new(Queue::new("still", 1, ",share.record.lock.duration.ms=1000,share.session.timeout.ms=2000"));
    queue.produce(0..HELD as u32);
    let (holds, held) = mpsc::channel();
    let (wake, waits) = mpsc::channel::<()>();
    let (accepted, outcomes) = mpsc::channel();
    let still = std::thread::spawn({
        let queue = Arc::clone(&queue);
        // Of one thread, which is held up below, and the member with it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        move || {
            runtime.block_on(async {
                let mut member = queue.join(queue.settings());
                let mut at_work = Vec::new();
                while at_work.len() < HELD {
                    at_work.push(next(&mut member).await);
                }
                holds.send(()).unwrap();
                waits.recv().unwrap();
                let settling: Vec<_> = at_work.into_iter().map(headrace::share::Delivery::accept).collect();
                for settling in settling {
                    accepted.send(settling.await.map_err(|lost| lost.reason)).unwrap();
                }
                // It is a member again, and goes on.
                next(&mut member).await.accept().await.unwrap();
                member.close(Duration::from_secs(5)).await;
            });
        }
    });
    held.recv().unwrap();
    run({
        let queue = Arc::clone(&queue);
        async move {
            let mut other = queue.join(queue.settings());
            for _ in 0..HELD {
                next(&mut other).await.accept().await.unwrap();
            }
            queue.wait_done().await;
            let queue = &queue;
            wait("the end of its session", || async move {
                match members(queue).await? {
                    1 => Ok(()),
                    count => Err(format!("{count} members")),
                }
            })
            .await;
            other.close(Duration::from_secs(5)).await;
        }
    });
    wake.send(()).unwrap();
    for _ in 0..HELD {
        let outcome = outcomes.recv_timeout(DEADLINE).unwrap();
        assert!(matches!(outcome, Err(Lost::Expired | Lost::Session | Lost::Refused)), "{outcome:?}");
    }
    queue.produce(100..101);
    still.join().unwrap();
}

const SHOWN_OUT: Duration = Duration::from_secs(15);

/// A process that is killed can't leave, and is dealt partitions to until its session is over: 45 s here.
#[test]
fn r1_who_comes_back_under_its_name_shows_out_who_was_there() {
    for (name, left) in [(None, 2), (Some("one".to_owned()), 1)] {
        let queue = Queue::new("named", 1, "");
        let settings = || ShareSettings { name: name.clone(), ..queue.settings() };
        queue.produce(0..1);
        let killed = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        killed.block_on(async { next(&mut queue.join(settings())).await.accept().await.unwrap() });
        drop(killed);
        queue.produce(1..2);
        let settings = settings();
        run(async move {
            let mut member = queue.join(settings);
            next(&mut member).await.accept().await.unwrap();
            // Long before the session of the one that was killed is over.
            let shown_out = wait("who was there to be shown out", || async {
                let count = members(&queue).await?;
                if count == 1 { Ok(()) } else { Err(format!("{count} members")) }
            });
            assert_eq!(tokio::time::timeout(SHOWN_OUT, shown_out).await.is_ok(), left == 1);
            member.close(Duration::from_secs(5)).await;
        });
    }
}

#[test]
fn r1_one_member_more_than_a_group_may_have_is_told_so_and_the_others_go_on() {
    let queue = Arc::new(Queue::new("full", 1, ""));
    run(async move {
        let mut all = JoinSet::new();
        for _ in 0..=MEMBERS.parse::<usize>().unwrap() {
            let queue = Arc::clone(&queue);
            all.spawn(async move {
                let mut member = queue.join(queue.settings());
                if let Some(delivery) = member.next().await? {
                    delivery.accept().await.unwrap();
                }
                Ok::<(), ShareError>(())
            });
        }
        let first = tokio::time::timeout(DEADLINE, all.join_next()).await.expect("in time").unwrap().unwrap();
        let error = first.unwrap_err().to_string();
        assert!(error.contains("group.share.max.size") && error.contains(&queue.group), "{error}");
        tokio::task::block_in_place(|| queue.produce(0..1));
        let second = tokio::time::timeout(DEADLINE, all.join_next()).await.expect("in time").unwrap().unwrap();
        second.unwrap();
    });
}

#[test]
fn r1_a_group_of_another_kind_is_a_clear_error() {
    let queue = Queue::new("classic", 1, "");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", queue.servers()).set("group.id", &queue.group);
    let classic: BaseConsumer = config.create().unwrap();
    classic.subscribe(&[&queue.topic]).unwrap();
    eventually("the classic member's partitions", || {
        _ = classic.poll(Duration::from_millis(50));
        if classic.assignment().unwrap().count() > 0 { Ok(()) } else { Err("none yet".into()) }
    });
    run(async move {
        let mut member = queue.join(queue.settings());
        let told = tokio::time::timeout(DEADLINE, member.next()).await.expect("it is told in time");
        let error = told.unwrap_err();
        assert!(matches!(error, ShareError::Wire(_)));
        let text = error.to_string();
        assert!(text.contains(&queue.group) && text.contains("another name"), "{text}");
        drop(classic);
    });
}
