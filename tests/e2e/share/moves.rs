//! Three brokers: leaders, the group's coordinator and the keepers of its state move, and the group goes on.
//!
//! A leader writes what became of records to the keeper of the group's state, and with it how far the partition is:
//!
//! ```text
//!  leader  ─ 83 is free again; start 48, 21 done ─▶ keeper ✗   tried again, as it was, for a minute ─┐
//!          ─ 91, 106, 112 accepted; start 91, 41 done ────▶ the next keeper: lag 0                  │
//!                                                           start 48, 21 done: lag 63 of nothing  ◀──┘
//! ```
//!
//! Before Kafka 4.4.0 the keeper believes what comes last. Until the partition's next write the lag is too large; if it gets
//! another leader meanwhile, that one begins at 48, and hands out what was accepted. So what is accepted for good is asked of
//! the brokers that can keep it; of the others, that all is done.
//!
//! A leader of any version that hung past its session and goes on hands out what it believes to be free: nobody is asked when
//! records are handed out, only when they are accepted. So behind a broker that hung what was accepted may come again; what is asked
//! then is that nothing is accepted twice.

use std::sync::{Arc, Mutex, PoisonError};

use headrace::position::Partition;
use headrace::share::ShareSettings;
use headrace::wire::{Client, CoordinatorKind, Settings};
use testbed::{Kafka, KafkaVersion};
use tokio_util::sync::CancellationToken;

use super::account::{Account, Belief, Findings, work};
use super::support::{Cluster, Place, Queue, next, run};
use crate::support::{eventually, share_groups};

/// Records between two faults.
const PORTION: u32 = 200;

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGTERM: it hands over what it leads.
    Stop,
    /// SIGSTOP: its connections stay open and it says nothing.
    Pause,
}

/// What a keeper of a group's state does with a write that comes after a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeper {
    /// It is believed: <https://github.com/apache/kafka/pull/23074> and <https://github.com/apache/kafka/pull/23112> are missing.
    GoesBack,
    /// The start offset never falls, nor what is done beyond it.
    StandsFast,
}

impl Keeper {
    fn of(version: KafkaVersion) -> Self {
        match version {
            KafkaVersion::V4_2_1 | KafkaVersion::V4_3_1 => Keeper::GoesBack,
            KafkaVersion::V4_4_0 => Keeper::StandsFast,
        }
    }
}

#[test]
#[ignore = "two minutes, and best alone"]
fn r12_nothing_that_was_accepted_comes_again_before_a_broker_hangs_and_nothing_is_ever_accepted_twice() {
    let version = KafkaVersion::V4_4_0;
    assert_eq!(Keeper::of(version), Keeper::StandsFast);
    let findings = every_broker_in_turn(version);
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
#[ignore = "four minutes, and best alone"]
fn every_broker_in_turn_is_killed_stopped_or_silent_and_all_is_done_also_where_the_count_goes_back() {
    let version = KafkaVersion::from_env().unwrap();
    let findings = every_broker_in_turn(version);
    match Keeper::of(version) {
        Keeper::GoesBack => println!("{version} has gone back {} times: {findings:#?}", findings.again.len()),
        Keeper::StandsFast => assert!(findings.is_empty(), "{findings:#?}"),
    }
}

/// That more is done must not make the count forget what is not: the control arm of `wait_done_with_more`.
#[test]
fn what_is_held_stays_counted_although_more_is_done() {
    let queue = Queue::new("held", 1, "");
    queue.produce(0..3);
    run(async move {
        let mut member = queue.join(queue.settings());
        let held = next(&mut member).await;
        for _ in 1..3 {
            next(&mut member).await.accept().await.unwrap();
        }
        tokio::task::block_in_place(|| queue.produce_more(&[0]));
        next(&mut member).await.accept().await.unwrap();
        let lag: Vec<_> = queue.lag().await.unwrap().parts.iter().map(|part| part.lag).collect();
        assert_eq!(lag, [Some(1)]);
        held.accept().await.unwrap();
        queue.wait_done().await;
    });
}

/// Faults of each broker, one after the other; gives what came again before one hung, and what was accepted twice whenever it was.
fn every_broker_in_turn(version: KafkaVersion) -> Findings {
    // Three brokers at a time are enough for a small machine.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::start(&share_groups(Kafka::builder().unwrap()).version(version), 3);
    let configs = ",share.record.lock.duration.ms=5000,share.delivery.count.limit=10";
    let queue = Queue::on(Place::Own(Arc::clone(&cluster)), "moves", 6, configs);
    let (account, keeper) = (Arc::new(Account::default()), Keeper::of(version));
    run(async move {
        let stop = CancellationToken::new();
        let settings = ShareSettings { window: 60, ..queue.settings() };
        let members: Vec<_> =
            (0..2).map(|_| work(queue.join(settings.clone()), &account, Belief::Told, &stop)).collect();
        let mut load = Load { queue, account: Arc::clone(&account), keeper, produced: 0 };
        load.more().await;
        let mut before_hang = 0;
        let order = order(&load.queue, &cluster).await;
        for (node, fault) in order.into_iter().zip([Fault::Kill, Fault::Stop, Fault::Pause]) {
            let broker = &cluster.nodes[node];
            if matches!(fault, Fault::Pause) {
                before_hang = account.findings().again.len();
            }
            tokio::task::block_in_place(|| {
                // So that there is something on its way.
                load.queue.produce(1_000_000..1_000_000 + PORTION);
                match fault {
                    Fault::Kill => broker.kill(),
                    Fault::Stop => broker.stop(),
                    Fault::Pause => broker.pause().unwrap(),
                }
            });
            load.more().await;
            println!("{fault:?} of {}: {} came again until now", broker.node_id(), account.again());
            tokio::task::block_in_place(|| match fault {
                Fault::Pause => broker.resume().unwrap(),
                Fault::Kill | Fault::Stop => broker.start().unwrap(),
            });
            load.more().await;
        }
        tokio::task::block_in_place(|| elect(&load.queue));
        load.more().await;
        stop.cancel();
        for member in members {
            member.await.expect("the member goes on");
        }
        account.wait_settled().await;
        let mut findings = account.findings();
        let behind = findings.again.split_off(before_hang);
        println!("{} came again; after one hung, of what was accepted: {behind:#?}", account.again());
        findings
    })
}

/// Records that come in portions.
struct Load {
    queue: Queue,
    account: Arc<Account>,
    keeper: Keeper,
    produced: u32,
}

impl Load {
    /// One more portion is done.
    async fn more(&mut self) {
        let numbers = self.produced..self.produced + PORTION;
        self.produced = numbers.end;
        tokio::task::block_in_place(|| self.queue.produce(numbers));
        self.account.wait_said(0..self.produced).await;
        match self.keeper {
            Keeper::StandsFast => self.queue.wait_done().await,
            Keeper::GoesBack => self.queue.wait_done_with_more().await,
        }
    }
}

/// The leader of the first partition, then the group's coordinator if that is another one, then the rest. Among three
/// brokers everything that has a place is at one of them, so everything moves.
async fn order(queue: &Queue, cluster: &Cluster) -> Vec<usize> {
    let client = Client::new(Settings::new(queue.servers(), []).unwrap());
    let leader = client.leader(&queue.topic, Partition(0)).await.unwrap().broker;
    let coordinator = client.coordinator(CoordinatorKind::Group, &queue.group).await.unwrap();
    let mut order: Vec<usize> = (0..cluster.nodes.len()).collect();
    order.sort_by_key(|node| {
        let id = i64::from(cluster.nodes[*node].node_id());
        (id != i64::from(leader.0), id != i64::from(coordinator.0))
    });
    order
}

/// Each partition goes back to the first of its replicas, as soon as that has caught up.
fn elect(queue: &Queue) {
    let args = ["--bootstrap-server", queue.servers(), "--election-type", "preferred", "--all-topic-partitions"];
    eventually("the first replicas to lead", || {
        queue
            .kafka()
            .java_tool("org.apache.kafka.tools.LeaderElectionCommand", &args)
            .map_err(|error| error.to_string())
    });
}
