//! The cache as a reader sees it: through `headrace_read`, which honours truncates and generations.

use redis::{Commands, Connection, Value as Reply};

use crate::Result;

/// Prefix of the keys with the cache's own state; the topology's default.
pub(crate) const NAMESPACE: &str = "headrace:cdc";
/// Life of the lease that a miss gives; nobody fills here.
const LEASE_MS: u64 = 1000;
/// Reads sent at once.
const BATCH: usize = 500;
/// Keys that one SCAN looks at.
const SCAN: usize = 2000;

/// What the cache says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// This is the row.
    Hit(Vec<u8>),
    /// There is no such row.
    Absent,
    /// Ask the database.
    Miss,
}

/// A connection to Redis.
pub(crate) struct Cache {
    connection: Connection,
}

impl Cache {
    pub(crate) fn connect(url: &str) -> Result<Self> {
        Ok(Cache { connection: redis::Client::open(url)?.get_connection()? })
    }

    /// The entries of these keys, which are all of `table`.
    pub(crate) fn read(&mut self, table: &str, keys: &[&str]) -> Result<Vec<Entry>> {
        let realm = format!("{NAMESPACE}:public.{table}");
        let mut entries = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH) {
            let mut batch = redis::pipe();
            for key in keys {
                batch.cmd("FCALL").arg("headrace_read").arg(3).arg(key).arg(&realm).arg(NAMESPACE).arg(LEASE_MS);
            }
            let replies: Vec<Reply> = batch.query(&mut self.connection)?;
            for reply in replies {
                entries.push(parse(&reply)?);
            }
        }
        Ok(entries)
    }

    /// All entries of a table, whatever is in them.
    pub(crate) fn keys(&mut self, table: &str) -> Result<Vec<String>> {
        let options = redis::ScanOptions::default().with_pattern(format!("public.{table}:*")).with_count(SCAN);
        let mut keys = Vec::new();
        for key in self.connection.scan_options::<String>(options)? {
            keys.push(key?);
        }
        // SCAN may give a key twice.
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }
}

fn parse(reply: &Reply) -> Result<Entry> {
    let Reply::Array(parts) = reply else { return Err(format!("headrace_read said {reply:?}").into()) };
    match parts.as_slice() {
        [Reply::BulkString(word), Reply::BulkString(content)] if word == b"hit" => Ok(Entry::Hit(content.clone())),
        [Reply::BulkString(word)] if word == b"absent" => Ok(Entry::Absent),
        [Reply::BulkString(word), _] if word == b"miss" => Ok(Entry::Miss),
        other => Err(format!("headrace_read said {other:?}").into()),
    }
}
