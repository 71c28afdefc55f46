//! An order: one mutation of several tables and of Redis, in the middle of which all instances are killed.

use std::time::Duration;

use chaos::application::tokio;
use chaos::queue::ground::{Ground, TOKEN};
use chaos::wal::settings::set;
use serde_json::{Value, json};
use testbed::{Testbed, wait};
use write_ahead_log::namespace::{Namespace, Retry, TargetKind, TargetSpec};

use crate::Result;

/// Its namespace, and its group.
pub(crate) const ORDERS: &str = "orders";
const ORDER: &str = "order-17";
/// Its lines.
pub(crate) const LINES: usize = 40;
/// The key that it takes away.
const CART: &str = "cart:17";
/// Time for an answer, and for the order to be there.
const PATIENCE: Duration = Duration::from_secs(60);

const TABLES: &str = "
create table orders (id text primary key, lines bigint not null);
create table order_lines (id text primary key, place bigint not null, at timestamptz not null default clock_timestamp());";

/// Makes the tables, and sets the namespace.
pub(crate) fn prepare(ground: &Ground, bed: &Testbed) -> Result<()> {
    let (redis, postgres) = (bed.redis()?, bed.postgres()?);
    postgres.sql(TABLES)?;
    redis.command(&["SET", &format!("{ORDERS}:{CART}"), "full"])?;
    let table = |name: &str| {
        let settings = [("table", name), ("key", "id")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        TargetSpec { settings, ..TargetSpec::new(name, TargetKind::Postgres, postgres.url()) }
    };
    let targets = vec![table("orders"), table("order_lines"), TargetSpec::new("cart", TargetKind::Redis, redis.url())];
    let retry = Retry { max_attempts: 1_000, backoff_ms: 100, longest_backoff_ms: 1_000 };
    set(ground, ORDERS, &Namespace { targets, retry, ..Namespace::default() })
}

/// Writes it: the lines first, each a row of its own, then the order, then the cart is gone. Gives how many operations.
pub(crate) fn write(instance: &str) -> Result<usize> {
    let line =
        |place: usize| json!({ "target": "order_lines", "key": format!("17/{place:02}"), "value": { "place": place } });
    let mut operations: Vec<Value> = (0..LINES).map(line).collect();
    operations.push(json!({ "target": "orders", "key": "17", "value": { "lines": LINES } }));
    operations.push(json!({ "target": "cart", "key": CART, "operation": "delete" }));
    let (count, body) = (operations.len(), json!({ "group": ORDER, "operations": operations }).to_string());
    let request = reqwest::Client::new().post(format!("http://{instance}/v1/{ORDERS}/groups")).bearer_auth(TOKEN);
    let request = request.header("content-type", "application/json").timeout(PATIENCE).body(body);
    let answer = tokio().block_on(async { request.send().await?.text().await })?;
    match serde_json::from_str::<Value>(&answer) {
        Ok(said) if said["durable"] == "succeeded" => Ok(count),
        _ => Err(format!("the order was not taken: {answer}").into()),
    }
}

/// Lines that are there.
pub(crate) fn lines(bed: &Testbed) -> Result<usize> {
    Ok(bed.postgres()?.sql("select count(*) from order_lines")?.trim().parse()?)
}

/// Waits until a quarter of the lines is there.
pub(crate) fn wait_begun(bed: &Testbed) -> Result<usize> {
    let begun = wait::until("the order to begin", PATIENCE, || match lines(bed) {
        Ok(count) if count >= LINES / 4 => Ok(count),
        Ok(count) => Err(format!("{count} lines are there")),
        Err(error) => Err(error.to_string()),
    });
    Ok(begun?)
}

/// Whether all of it is there: each line, then the order, and no cart.
pub(crate) fn is_whole(bed: &Testbed) -> Result<bool> {
    let orders = bed.postgres()?.sql("select lines from orders where id = '17'")?;
    let in_sequence = bed.postgres()?.sql(
        "select count(*) from (select place, lag(place) over (order by at) as before from order_lines) as steps where place < before",
    )?;
    let cart = bed.redis()?.command(&["GET", &format!("{ORDERS}:{CART}")])?;
    Ok(lines(bed)? == LINES && orders.trim() == LINES.to_string() && in_sequence.trim() == "0" && cart == "$-1")
}
