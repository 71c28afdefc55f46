//! Broker, registry or Redis away: input pauses, nothing is dropped, `/readyz` says which and since when, and it goes on
//! by itself.

use std::time::{Duration, Instant};

use testbed::wait;

use super::binary::{Deployment, event, key};
use crate::runtime::support::{PATIENCE, TRANSACTION_TIMEOUT, bed_alone};

#[test]
fn what_is_away_at_the_start_is_waited_for() {
    let (bed, _guard) = bed_alone();
    let deployment = Deployment::new(bed, "start-away");
    let (kafka, registry, redis) = (bed.kafka().expect("k"), bed.registry().expect("r"), bed.redis().expect("r"));
    deployment.insert(0..100);
    kafka.kill();
    registry.kill();
    redis.kill();
    let process = deployment.start();
    process.wait_away("kafka");
    kafka.start().expect("kafka");
    process.wait_away("schema-registry");
    registry.start().expect("registry");
    process.wait_away("redis");
    assert_eq!(deployment.bench.read(&deployment.bench.output()).len(), 0, "nothing passes without its target");
    redis.start().expect("redis");
    process.wait_ready();
    deployment.wait_invalidations(100);
    assert_eq!(process.terminate(), Some(0));
    let log = deployment.log();
    for what in ["kafka is away", "schema-registry is away", "redis is away", "redis is back"] {
        assert!(log.contains(what), "{what}: {log}");
    }
}

#[test]
fn redis_away_or_asleep_in_mid_run_pauses_the_input_and_loses_nothing() {
    let (bed, _guard) = bed_alone();
    let (deployment, redis) = (Deployment::new(bed, "redis-away"), bed.redis().expect("redis"));
    let process = deployment.start();
    process.wait_ready();
    deployment.insert(0..1000);
    deployment.wait_invalidations(1000);
    redis.kill();
    deployment.insert(1000..2000);
    process.wait_away("redis");
    redis.start().expect("redis");
    deployment.wait_invalidations(2000);
    process.wait_ready();
    redis.pause().expect("SIGSTOP");
    let asleep = Instant::now();
    deployment.insert(2000..3000);
    process.wait_away("redis");
    wait::until("more than half a transaction's life", PATIENCE, || {
        if asleep.elapsed() > TRANSACTION_TIMEOUT * 3 / 4 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .expect("asleep");
    assert_eq!(deployment.bench.read(&deployment.bench.output()).len(), 2000, "nothing commits before it is in Redis");
    redis.resume().expect("SIGCONT");
    deployment.wait_invalidations(3000);
    process.wait_ready();
    for id in [0, 1500, 2999] {
        assert_eq!(redis.command(&["EXISTS", &format!("public.items:{id}")]).expect("redis"), ":1", "row {id}");
    }
    // Away while it stops: within the deadline all the same.
    redis.kill();
    deployment.insert(3000..3100);
    process.wait_away("redis");
    let asked = Instant::now();
    assert_eq!(process.terminate(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(27), "R-16: stopping took {:?}", asked.elapsed());
    redis.start().expect("redis");
    let process = deployment.start();
    deployment.wait_invalidations(3100);
    process.kill();
}

#[test]
fn a_registry_away_in_mid_run_holds_up_only_the_schema_that_nobody_knows() {
    let (bed, _guard) = bed_alone();
    let (deployment, registry) = (Deployment::new(bed, "registry-away"), bed.registry().expect("registry"));
    let process = deployment.start();
    process.wait_ready();
    registry.kill();
    deployment.insert(0..100);
    deployment.wait_invalidations(100);
    deployment.send(Some(key(500).as_bytes()), &[0, 0, 0, 0x7f, 0xfe, 1]);
    deployment.send(Some(key(501).as_bytes()), event(501, "c", "").as_bytes());
    process.wait_away("schema-registry");
    assert_eq!(deployment.bench.read(&deployment.bench.dead()).len(), 0, "not known to be unknown");
    deployment.wait_invalidations(100);
    registry.start().expect("registry");
    // The one behind it, and the one whose schema is known to be unknown now: its key is known.
    deployment.wait_invalidations(102);
    assert_eq!(deployment.bench.read(&deployment.bench.dead()).len(), 1);
    process.wait_ready();
    assert_eq!(process.terminate(), Some(0));
}
