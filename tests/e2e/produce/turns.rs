//! Transactions one after the other, each with one record for every partition of a topic that is spread over three brokers,
//! whatever happens to these meanwhile.

use headrace::wire::producer::{ProduceError, Producer};
use testbed::{Cache, Dirs, Kafka};

use super::support::{commit, initialise, record};
use crate::support::{Topics, eventually};

/// The brokers, and the topic.
pub(crate) struct Turns {
    pub(crate) nodes: Vec<Kafka>,
    pub(crate) servers: String,
    topic: &'static str,
    partitions: i32,
    topics: Topics,
    /// Removed after the brokers have ended.
    _dirs: Dirs,
}

impl Turns {
    pub(crate) fn start(topic: &'static str, partitions: i32) -> Self {
        let (cache, dirs) = (Cache::open().unwrap(), Dirs::new().unwrap());
        let nodes = Kafka::builder().unwrap().start_cluster(&cache, &dirs, 3).unwrap();
        let servers: Vec<&str> = nodes.iter().map(Kafka::bootstrap_servers).collect();
        let servers = servers.join(",");
        let count = partitions.to_string();
        let create = ["--create", "--topic", topic, "--partitions", &count, "--replication-factor", "3"];
        let durable = ["--config", "min.insync.replicas=2", "--bootstrap-server", &servers];
        nodes[0].java_tool("org.apache.kafka.tools.TopicCommand", &[&create[..], &durable[..]].concat()).unwrap();
        let topics = Topics::new(&servers);
        Turns { nodes, servers, topic, partitions, topics, _dirs: dirs }
    }

    /// Commits this turn's records, as often as it takes, and never a part of them.
    pub(crate) fn commit(&self, producer: &mut Producer, turn: usize) {
        let text = turn.to_string();
        loop {
            let mut partitions = 0..self.partitions;
            let all = partitions.try_for_each(|partition| producer.append(&record(self.topic, partition, &text)));
            match all.and_then(|()| commit(producer)) {
                Ok(_) => break,
                Err(ProduceError::Abort(reason)) => println!("turn {turn}: {reason}"),
                Err(error) => panic!("turn {turn}: {error}"),
            }
            // As the runtime does it: initialising settles the outcome, then the log tells it (rule R-18).
            initialise(producer);
            let seen = self.topics.read(self.topic);
            match seen.iter().filter(|record| record.value.as_deref() == Some(text.as_bytes())).count() {
                0 => {}
                seen if seen == self.partitions as usize => break,
                seen => panic!("turn {turn} is torn: {seen} of {}", self.partitions),
            }
        }
    }

    /// Each partition has each turn once, in order.
    pub(crate) fn check(&self, turns: usize) {
        let expected: Vec<String> = (0..turns).map(|turn| turn.to_string()).collect();
        let wanted = turns * self.partitions as usize;
        let seen = eventually("all is committed", || {
            let seen = self.topics.read(self.topic);
            if seen.len() >= wanted { Ok(seen) } else { Err(format!("{} records", seen.len())) }
        });
        for partition in 0..self.partitions {
            let own = seen.iter().filter(|record| record.partition == partition);
            let own: Vec<String> =
                own.map(|record| String::from_utf8(record.value.clone().unwrap()).unwrap()).collect();
            assert_eq!(own, expected, "partition {partition}");
        }
    }
}
