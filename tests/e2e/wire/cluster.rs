//! Three brokers: leaders and coordinators move, and the client finds them.

use headrace::position::Partition;
use headrace::wire::{BrokerId, Client, CoordinatorKind, WireError};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use testbed::{Cache, Dirs, Kafka};

use super::{client, end_offset, metadata_of, retried, run, topic_name};

const TOPIC: &str = "moving";
const TRANSACTIONAL_ID: &str = "moving-id";
const PARTITIONS: i32 = 6;

#[test]
fn leaders_and_coordinators_that_move_are_found() {
    let (cache, dirs) = (Cache::open().unwrap(), Dirs::new().unwrap());
    let nodes = Kafka::builder().unwrap().start_cluster(&cache, &dirs, 3).unwrap();
    let servers: Vec<&str> = nodes.iter().map(Kafka::bootstrap_servers).collect();
    let servers = servers.join(",");
    run(async move {
        let client = client(&servers, &[]);
        create_topic(&client).await;
        retried("all leaders", || all_ends(&client)).await;
        assert_eq!(client.brokers().len(), 3);

        // Killed: nobody tells the client, it has to find out.
        let killed = client.leader(TOPIC, Partition(0)).await.unwrap().broker;
        let coordinator = retried("a coordinator", || ask_coordinator(&client)).await;
        node(&nodes, killed).kill();
        retried("leaders without the killed one", || all_ends(&client)).await;
        for partition in 0..PARTITIONS {
            assert_ne!(client.leader(TOPIC, Partition(partition)).await.unwrap().broker, killed);
        }
        node(&nodes, killed).start().unwrap();

        if coordinator != killed {
            node(&nodes, coordinator).kill();
        }
        let moved = retried("the moved coordinator", || async {
            // It may still be named for as long as the cluster has not noticed its end.
            client.forget_coordinator(CoordinatorKind::Transaction, TRANSACTIONAL_ID);
            ask_coordinator(&client).await
        })
        .await;
        assert!(moved != coordinator || coordinator == killed, "{moved} is dead");
        drop(nodes);
        drop(dirs);
    });
}

fn node(nodes: &[Kafka], broker: BrokerId) -> &Kafka {
    nodes.iter().find(|node| i64::from(node.node_id()) == i64::from(broker.0)).unwrap()
}

async fn create_topic(client: &Client) {
    retried("the topic", || async {
        client.transaction_version().await?;
        let topic = CreatableTopic::default()
            .with_name(topic_name(TOPIC))
            .with_num_partitions(PARTITIONS)
            .with_replication_factor(3);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let (broker, _) = client.brokers()[0].clone();
        let response = client.connection(broker).await?.call(&request, ..=7).await?;
        match headrace::wire::Code::new(response.topics[0].error_code) {
            // It is there already: an answer to an earlier try got lost.
            Some(code) if code.number() != 36 => Err(WireError::from_code("create", code)),
            _ => Ok(()),
        }
    })
    .await;
}

/// Each partition's end, asked of its leader.
async fn all_ends(client: &Client) -> Result<(), WireError> {
    for partition in 0..PARTITIONS {
        assert_eq!(end_offset(client, TOPIC, partition).await?, 0);
    }
    Ok(())
}

/// The coordinator, once it answers.
async fn ask_coordinator(client: &Client) -> Result<BrokerId, WireError> {
    let broker = client.coordinator(CoordinatorKind::Transaction, TRANSACTIONAL_ID).await?;
    client.connection(broker).await?.call(&metadata_of(&[]), ..).await?;
    Ok(broker)
}
