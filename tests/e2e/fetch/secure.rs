//! TLS and SASL together, and a right that is missing.

use headrace::position::Offset;
use headrace::wire::fetch::Event;

use super::support::{Read, at, fresh, small, start, to_the_ends};
use crate::produce::support::{commit, producer, record, settings};
use crate::support::{Topics, secured};

#[test]
fn n8_it_fetches_over_tls_with_a_login() {
    let bed = secured();
    let kafka = bed.kafka().unwrap();
    let listeners = kafka.secured().unwrap();
    let topic = fresh("secure");
    Topics::new(kafka.bootstrap_servers()).create(&topic, 1);
    let mut producer = producer(kafka.bootstrap_servers(), settings(&topic));
    for number in 0..20_000 {
        producer.append(&record(&topic, 0, &format!("{number:0100}"))).unwrap();
    }
    commit(&mut producer).unwrap();
    let authority = listeners.authority.to_str().unwrap();
    let mut properties = vec![
        ("security.protocol", "sasl_ssl"),
        ("ssl.ca.location", authority),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", testbed::Secured::USER),
        ("sasl.password", testbed::Secured::PASSWORD),
    ];
    let fetcher = start(&listeners.sasl_ssl, &properties, small());
    fetcher.assign(&at(&topic, 0), Offset(0));
    assert_eq!(to_the_ends(&fetcher, 1).sorted().len(), 20_000);
    properties[4].1 = "wrong";
    let fetcher = start(&listeners.sasl_ssl, &properties, small());
    fetcher.assign(&at(&topic, 0), Offset(0));
    let mut read = Read::default();
    read.until(&fetcher, "the refusal", |read| !read.others.is_empty());
    assert!(matches!(&read.others[0], Event::Fatal(error) if error.kind() == "authentication"), "{read:?}");
}
