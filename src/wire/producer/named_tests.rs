//! Topics that records have named: what they refuse is their own matter, and nobody waits for them for long.

use super::*;
use crate::wire::producer::settings::NAMED_PATIENCE;
use crate::wire::producer::shared::Partitions;

/// A producer to two topics: one of its own, and one that a record has named.
fn with_named() -> World {
    let mut world = world();
    world.command(Command::Topic { name: "named".into(), named: true });
    world.calls();
    world.engine.metadata(vec![("named".into(), Ok(led(2, [1, 1])))], world.now);
    world
}

/// A batch for the second topic is on its way.
fn produce_to_named(world: &mut World) -> u64 {
    world.batch_to(1, 0);
    world.produce().0
}

fn unwritable(world: &mut World, why: &str) {
    let error = world.failure();
    let told = matches!(&error, ProduceError::Unwritable { topic, reason } if topic == "named" && reason.contains(why));
    assert!(told, "{error:?}");
}

#[test]
fn n3_what_a_named_topic_refuses_is_its_own_matter() {
    for (code, why) in [(29, "Write on the topic"), (17, "(17)"), (32, "(32)"), (87, "(87)")] {
        let mut world = with_named();
        let flight = produce_to_named(&mut world);
        world.produced_to("named", flight, 0, code);
        unwritable(&mut world, why);
    }
    // A code that speaks of somebody else is theirs, whatever the topic.
    for (code, is_it) in [(47, "fenced"), (53, "Write on the transactional id")] {
        let mut world = with_named();
        let flight = produce_to_named(&mut world);
        world.produced_to("named", flight, 0, code);
        let error = world.failure();
        assert!(!matches!(error, ProduceError::Unwritable { .. }) && error.to_string().contains(is_it), "{error:?}");
    }
}

#[test]
fn n8_a_named_topic_that_goes_is_not_waited_for_as_others_are() {
    let mut world = with_named();
    let patience = world.engine.settings.delivery_timeout;
    assert!(NAMED_PATIENCE < patience);
    let flight = produce_to_named(&mut world);
    world.produced_to("named", flight, 0, 3);
    let missing = || Err(WireError::UnknownTopic { topic: "named".to_owned() });
    world.engine.metadata(vec![("named".into(), missing())], world.now);
    world.now += NAMED_PATIENCE;
    world.engine.expire(world.now);
    assert!(world.engine.notices.iter().all(|notice| !matches!(notice, Notice::Failed(_))), "not yet");
    world.now += Duration::from_millis(1);
    world.engine.expire(world.now);
    unwritable(&mut world, "topic named does not exist");
}

#[test]
fn n8_a_named_topic_that_only_takes_its_time_has_as_much_as_others() {
    let mut world = with_named();
    produce_to_named(&mut world);
    world.now += NAMED_PATIENCE * 3 / 2;
    world.engine.expire(world.now);
    assert!(world.engine.notices.iter().all(|notice| !matches!(notice, Notice::Failed(_))), "it has a leader");
    world.now += world.engine.settings.delivery_timeout;
    world.engine.expire(world.now);
    unwritable(&mut world, "not acknowledged within");
}

#[test]
fn n3_a_named_topic_that_may_not_be_seen_is_told_of_as_such() {
    let mut world = world();
    world.command(Command::Topic { name: "named".into(), named: true });
    world.calls();
    let denied = WireError::NotAuthorised { what: "metadata".to_owned(), code: Code::new(29).unwrap() };
    world.engine.metadata(vec![("named".into(), Err(denied))], world.now);
    let notice = world.engine.notices.pop();
    let Some(Notice::Topic { index: 1, partitions: Partitions::Refused(error) }) = notice else { panic!("{notice:?}") };
    assert!(matches!(error, ProduceError::Unwritable { .. }), "{error:?}");
}
