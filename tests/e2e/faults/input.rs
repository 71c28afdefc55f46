//! Bad input: each record exactly once among the dead letters, as it was; where its key is known, it is invalidated.

use super::binary::{Deployment, event, key};
use crate::runtime::support::{Read, bed_alone};

fn header<'a>(record: &'a Read, name: &str) -> &'a [u8] {
    let found = record.headers.iter().rev().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_slice()).unwrap_or_else(|| panic!("no header {name}: {record:?}"))
}

#[test]
fn each_bad_record_is_set_aside_once_with_its_bytes_headers_and_reason_across_kills() {
    let (bed, _guard) = bed_alone();
    let deployment = Deployment::new(bed, "bad");
    let large = event(5, "c", &"x".repeat(20_000));
    let bad: [(&str, Option<String>, Vec<u8>); 5] = [
        ("malformed", Some(key(1)), b"\xff\xfe not JSON".to_vec()),
        ("unknown-schema-id", Some(key(2)), vec![0, 0, 0, 0x7f, 0xff, 1, 2, 3]),
        ("null-key", None, event(3, "c", "").into_bytes()),
        ("", Some(key(4)), event(4, "x", "").into_bytes()),
        ("", Some(key(5)), large.into_bytes()),
    ];
    let process = deployment.start();
    process.wait_ready();
    for (_, key, value) in &bad {
        deployment.send(key.as_ref().map(String::as_bytes), value);
        deployment.insert(100..110);
    }
    let wanted = bad.len();
    let wait_dead = || {
        testbed::wait::until("dead letters", crate::runtime::support::PATIENCE, || {
            match deployment.bench.read(&deployment.bench.dead()).len() {
                found if found >= wanted => Ok(()),
                found => Err(format!("{found} of {wanted}")),
            }
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", process.log()));
    };
    wait_dead();
    process.kill();
    let process = deployment.start();
    process.wait_ready();
    deployment.insert(200..210);
    testbed::wait::until("the rows after it", crate::runtime::support::PATIENCE, || {
        let keys = deployment.bench.read(&deployment.bench.output());
        // Ten rows, ten more, and what was invalidated because its key is known.
        if keys.len() >= 23 { Ok(()) } else { Err(format!("{} invalidations", keys.len())) }
    })
    .expect("it goes on");
    let dead = deployment.bench.read(&deployment.bench.dead());
    assert_eq!(dead.len(), wanted, "exactly once: {dead:?}");
    for (class, key, value) in &bad {
        let found: Vec<_> = dead.iter().filter(|record| record.bytes.as_ref() == Some(value)).collect();
        let [record] = found.as_slice() else { panic!("{class}: {} times with its bytes", found.len()) };
        assert_eq!(record.key, key.clone().unwrap_or_default());
        assert_eq!(header(record, "trace"), b"\xfe7", "its own header");
        assert_eq!(header(record, "__streams.errors.topic"), deployment.source().as_bytes());
        assert!(!header(record, "__streams.errors.message").is_empty());
        let found = String::from_utf8_lossy(header(record, "headrace.dlq.class"));
        assert!(class.is_empty() || found == *class, "{class}: {found}");
    }
    let invalidated = deployment.bench.read(&deployment.bench.output());
    for id in [1, 2, 4] {
        let found = invalidated.iter().any(|record| record.key.contains(&key(id)));
        assert!(found, "row {id} can't be read, but its key can: it has to be invalidated");
    }
    assert_eq!(process.terminate(), Some(0));
}
