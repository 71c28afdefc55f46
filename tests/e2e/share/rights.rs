//! Users without the rights that a member needs: what is missing is said, and the member ends.

use headrace::share::{ShareConsumer, ShareError, ShareSettings};
use headrace::wire::Settings;
use testbed::{Kafka, Secured};

use super::support::{Place, Queue, run};
use crate::support::{DEADLINE, eventually, secured};

fn allow(kafka: &Kafka, operation: &str, resource: [&str; 2]) {
    let user = format!("User:{}", Secured::POWERLESS);
    let server = ["--bootstrap-server", kafka.bootstrap_servers()];
    let who = ["--add", "--force", "--allow-principal", &user, "--operation", operation];
    kafka.java_tool("org.apache.kafka.tools.AclCommand", &[&server[..], &who, &resource].concat()).unwrap();
}

/// What a member of a user without rights is told.
fn told(queue: &Queue) -> String {
    let listener = secured().kafka().unwrap().secured().unwrap().sasl_plaintext.clone();
    let properties = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", Secured::POWERLESS),
        ("sasl.password", Secured::PASSWORD),
    ];
    let cluster = Settings::new(&listener, properties).unwrap();
    let settings = ShareSettings::new(&queue.group, [&queue.topic]);
    let (out, text) = std::sync::mpsc::channel();
    run(async move {
        let mut member = ShareConsumer::join(cluster, settings).unwrap();
        let told = tokio::time::timeout(DEADLINE, member.next()).await.expect("it is told in time");
        let error: ShareError = told.unwrap_err();
        out.send(error.to_string()).unwrap();
    });
    text.recv().unwrap()
}

#[test]
fn a_right_that_is_missing_is_named_and_final() {
    let bed = secured();
    let queue = Queue::on(Place::Shared(bed.clone()), "rights", 1, "");
    queue.produce(0..1);
    let kafka = bed.kafka().unwrap();
    // What is allowed takes a moment to be known to the broker.
    let names = |what: &str| {
        eventually("the right that is missing", || {
            let text = told(&queue);
            if text.contains(what) && text.contains("allow") { Ok(()) } else { Err(text) }
        });
    };
    names(&queue.group);
    allow(kafka, "Read", ["--group", &queue.group]);
    names("TopicAuthorizationFailed");
    allow(kafka, "Describe", ["--topic", &queue.topic]);
    names(&queue.topic);
}
