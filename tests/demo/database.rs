//! The shop database: its tables, its rows as a cache ought to hold them, and the count of its changes.
//!
//! The truth is asked of PostgreSQL in SQL and does not pass through any code of Headrace, key template included: a
//! mistake there must not hide itself. The connector is told to write types in such a way that "equal" is exact:
//!
//! ```text
//! numeric    decimal.handling.mode=string     "12.50", as PostgreSQL prints it
//! timestamp  time.precision.mode (default)    microseconds since 1970, a whole number
//! date       the same                         days since 1970
//! jsonb      a string of JSON text            as PostgreSQL prints it
//! bytea      binary.handling.mode (default)   base64
//! ```

use serde_json::Value;
use testbed::Postgres;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::Result;

const SCHEMA: &str = include_str!("shop/schema.sql");
const MARKERS: &str = include_str!("shop/markers.sql");

/// A table in the words of SQL: its key's columns, its row as Debezium writes it, which rows are markers.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    key: &'static str,
    row: &'static str,
    markers: &'static str,
}

/// Which rows of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows {
    All,
    Markers,
}

/// All tables of the shop.
pub(crate) const TABLES: [Table; 4] = [
    Table {
        name: "customers",
        key: "id",
        row: "'id', id, 'name', name, 'points', points, 'active', active, 'since', since - date '1970-01-01'",
        markers: "id <= 9007199254740992 + 100",
    },
    Table {
        name: "products",
        key: "sku",
        row: "'sku', sku, 'title', title, 'price', price::text, 'stock', stock, 'attributes', attributes::text, \
              'description', description, 'photo', translate(encode(photo, 'base64'), E'\\n', '')",
        markers: "sku IN (SELECT sku(n) FROM generate_series(1, 100) AS n)",
    },
    Table {
        name: "orders",
        key: "id",
        row: "'id', id, 'customer_id', customer_id, 'status', status, 'total', total::text, \
              'placed_at', (extract(epoch FROM placed_at) * 1000000)::bigint",
        markers: "status = 'marker'",
    },
    Table {
        name: "order_lines",
        key: "order_id, line_no",
        row: "'order_id', order_id, 'line_no', line_no, 'sku', sku, 'quantity', quantity",
        markers: "sku = 'marker'",
    },
];

/// A row and where the cache should have it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) cache_key: String,
    pub(crate) content: Value,
}

/// A connection, usable from threads that are not tokio's.
pub(crate) struct Database<'a> {
    client: Client,
    runtime: &'a Runtime,
}

impl<'a> Database<'a> {
    /// Makes the shop.
    pub(crate) fn create(postgres: &Postgres, runtime: &'a Runtime) -> Result<Self> {
        let client = runtime.block_on(connect(&postgres.connection_string()))?;
        let database = Database { client, runtime };
        database.batch(SCHEMA)?;
        Ok(database)
    }

    /// Changes rows in every partition of every table.
    pub(crate) fn change_markers(&self) -> Result<()> {
        self.batch(MARKERS)
    }

    /// Changes of rows since the server was made, as the cache sees them: a primary key that moves is two. Only
    /// `order_lines` has those, and it has no other updates. Nothing is rolled back in the shop, so that PostgreSQL's own
    /// statistics are exact once every session has handed in its figures.
    pub(crate) fn changes(&self) -> Result<u64> {
        let sql = "SELECT coalesce(sum(n_tup_ins + n_tup_del + n_tup_upd * CASE relname WHEN 'order_lines' THEN 2 ELSE 1 \
                   END), 0)::bigint FROM pg_stat_user_tables";
        let row = self.runtime.block_on(async {
            // Ours are handed in at the end of this statement.
            self.client.query_one("SELECT pg_stat_force_next_flush()", &[]).await?;
            self.client.query_one(sql, &[]).await
        })?;
        Ok(u64::try_from(row.get::<_, i64>(0))?)
    }

    /// Other sessions of clients (Debezium's only read), which may not have handed in their figures yet.
    pub(crate) fn other_sessions(&self) -> Result<i64> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                   AND pid <> pg_backend_pid() AND application_name NOT LIKE 'Debezium%'";
        Ok(self.runtime.block_on(self.client.query_one(sql, &[]))?.get(0))
    }

    /// Rows of a table.
    pub(crate) fn rows(&self, table: &Table, which: Rows) -> Result<Vec<Row>> {
        let Table { name, key, row, markers } = table;
        let filter = if let Rows::Markers = which { markers } else { "true" };
        let sql = format!(
            "SELECT jsonb_build_array({key})::text, jsonb_build_object({row})::text FROM {name} WHERE {filter}"
        );
        let rows = self.runtime.block_on(self.client.query(&sql, &[]))?;
        rows.iter().map(|row| parse(table, row.get(0), row.get(1))).collect()
    }

    fn batch(&self, sql: &str) -> Result<()> {
        Ok(self.runtime.block_on(self.client.batch_execute(sql))?)
    }
}

/// Opens a connection; its work is done by a task of the runtime.
pub(crate) async fn connect(address: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(address, NoTls).await?;
    // It ends with the client; what goes wrong, the client's next call says.
    tokio::spawn(connection);
    Ok(client)
}

fn parse(table: &Table, key: &str, row: &str) -> Result<Row> {
    let columns: Vec<Value> = serde_json::from_str(key)?;
    Ok(Row { cache_key: cache_key(table.name, &columns), content: serde_json::from_str(row)? })
}

/// The template `{table}:{pk}`, rendered here once more: the values with `%`, `:`, `{` and `}` escaped, joined by `:`.
pub(crate) fn cache_key(table: &str, columns: &[Value]) -> String {
    let escape = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.replace('%', "%25").replace(':', "%3A").replace('{', "%7B").replace('}', "%7D")
    };
    let columns: Vec<String> = columns.iter().map(escape).collect();
    format!("public.{table}:{}", columns.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_keys_escape_what_the_template_uses() {
        assert_eq!(
            cache_key("t", &["a:50%".into(), 9_007_199_254_740_993_i64.into()]),
            "public.t:a%3A50%25:9007199254740993"
        );
    }
}
