//! Each spelling of Debezium's events once from end to end; JSON without schemas is that of the other tests.

use serde_json::json;

use super::world::{Connector, Setup, View};

const COLUMNS: &str = "id bigint PRIMARY KEY, name text, amount numeric(10,2), seen boolean";

fn follows_its_rows(name: &str, connector: Connector) {
    let setup = Setup::new(name).table("orders", COLUMNS).rows("INSERT INTO orders VALUES (1, 'read', 1.50, true)");
    let world = setup.cdc("key-templates = { \"e2e_%s.orders\" = \"e2e_%s.order:{id}\" }".replace("%s", name).as_str());
    let world = world.connector(connector).start();
    let see = |id: &str| world.read_at(&format!("{}.order:{id}", world.schema), "orders");
    let wait = |id: &str, name: &str, amount: &str| {
        crate::support::eventually(&format!("order {id} to be {name}"), || {
            let row = see(id).row().ok_or_else(|| "a miss".to_owned())?;
            let expected = json!({"id": id.parse::<i64>().unwrap(), "name": name, "amount": amount, "seen": true});
            crate::support::expect(&row, &expected)
        });
    };
    // numeric(10,2) is the base64 of its unscaled bytes: 1.50 is 150.
    wait("1", "read", "AJY=");
    world.sql("INSERT INTO orders VALUES (9007199254740993, 'streamed', 2.00, true)");
    wait("9007199254740993", "streamed", "AMg=");
    world.sql("UPDATE orders SET name = 'updated', amount = -1 WHERE id = 1");
    wait("1", "updated", "nA==");
    world.sql("DELETE FROM orders WHERE id = 1");
    crate::support::eventually("order 1 to be gone", || crate::support::expect(&see("1"), &View::Absent));
    world.sql("ALTER TABLE orders ADD COLUMN note text; INSERT INTO orders VALUES (2, 'wide', 2.00, true, 'x')");
    crate::support::eventually("the wide order", || {
        let expected = json!({"id": 2, "name": "wide", "amount": "AMg=", "seen": true, "note": "x"});
        crate::support::expect(&see("2").row(), &Some(expected))
    });
    assert!(matches!(see("9007199254740993"), View::Miss(_)), "fact F9 holds in every spelling");
    assert_eq!(world.dead_letters(), []);
}

#[test]
fn json_with_schemas_is_followed() {
    follows_its_rows("json", Connector { schemas: true, ..Connector::json() });
}

#[test]
fn avro_with_schemas_from_the_registry_is_followed() {
    follows_its_rows("avro", Connector { avro: true, ..Connector::json() });
}

/// Invalidate mode writes no row anywhere: neither to the cache nor to the changelog.
#[test]
fn invalidate_mode_keeps_no_content() {
    let world = Setup::new("lean").items().invalidate().start();
    world.sql("INSERT INTO items VALUES (1, 'private'); UPDATE items SET name = 'secret'");
    world.settled(2);
    assert!(matches!(world.read("items", "1"), View::Miss(_)));
    let changelog = world.topics.read("lean-row-versions-changelog");
    let invalidations = world.topics.read("lean.invalidations");
    assert!(!changelog.is_empty() && invalidations.len() == 2);
    for record in changelog.iter().chain(&invalidations) {
        let text = String::from_utf8_lossy(record.value.as_deref().unwrap()).into_owned();
        assert!(!text.contains("private") && !text.contains("secret"));
    }
}
