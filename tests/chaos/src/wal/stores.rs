//! Redis and PostgreSQL as targets, and as witnesses: what each key has in the end, and, by a trigger, each change of PostgreSQL's rows.

use std::collections::BTreeMap;

use testbed::{Postgres, Redis};

use super::judge::Effect;
use super::plan::token_of;
use crate::Result;

/// The table of the rows.
pub const TABLE: &str = "written";
/// The column of their keys.
pub const KEY: &str = "key";

/// An effect is kept with the row that it is of, in one transaction; a deleted row tells what it had. Within a key the order of the
/// numbers is that of the effects: a row is locked until whoever changes it has committed.
const SCHEMA: &str = "
create table written (key text primary key, token text not null);
create table effects (number bigserial primary key, key text not null, token text not null, at bigint not null);
create function note() returns trigger language plpgsql as $$ begin
    insert into effects (key, token, at) values (
        case tg_op when 'DELETE' then old.key else new.key end,
        case tg_op when 'DELETE' then 'x' || old.token else new.token end,
        extract(epoch from clock_timestamp()) * 1000);
    return null;
end $$;
create trigger note after insert or update or delete on written for each row execute function note();";

/// Makes the table, and whatever keeps its effects.
///
/// # Errors
/// It is away, or has them.
pub fn prepare(postgres: &Postgres) -> Result<()> {
    postgres.sql(SCHEMA)?;
    Ok(())
}

/// Each key's effects, in their order.
///
/// # Errors
/// It is away.
pub fn effects(postgres: &Postgres) -> Result<BTreeMap<String, Vec<Effect>>> {
    let mut effects: BTreeMap<String, Vec<Effect>> = BTreeMap::new();
    let rows = postgres.sql("select key, token, at from effects order by number")?;
    for row in rows.lines() {
        let [key, token, at] = row.split('|').collect::<Vec<_>>()[..] else {
            return Err(format!("no effect: {row}").into());
        };
        let effect = Effect { token: token.to_owned(), at: at.parse()? };
        effects.entry(key.to_owned()).or_default().push(effect);
    }
    Ok(effects)
}

/// What each key has at PostgreSQL: a token.
///
/// # Errors
/// It is away.
pub fn rows(postgres: &Postgres) -> Result<BTreeMap<String, String>> {
    let rows = postgres.sql("select key, token from written")?;
    let row = |row: &str| row.split_once('|').map(|(key, token)| (key.to_owned(), token.to_owned()));
    Ok(rows.lines().filter_map(row).collect())
}

/// What each of these keys has at Redis: a token.
///
/// # Errors
/// It is away.
pub fn values<'a>(
    redis: &Redis,
    prefix: &str,
    keys: impl IntoIterator<Item = &'a str>,
) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for key in keys {
        let value = redis.command(&["GET", &format!("{prefix}{key}")])?;
        // Nothing is there.
        if value != "$-1" {
            values.insert(key.to_owned(), token_of(value.as_bytes()).unwrap_or(value));
        }
    }
    Ok(values)
}
