//! Compares every row of a table with what a reader of the cache sees.

use serde_json::{Value, json};

use super::world::View;

/// How many rows are how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The cache has the row's content.
    pub(crate) right: usize,
    /// The cache has other content.
    pub(crate) stale: usize,
    /// The cache has nothing, or says that the row is gone.
    pub(crate) lost: usize,
}

/// `rows` are id and name; in write-through mode each of them must be cached.
pub(crate) fn compare(rows: &[Vec<String>], read: impl Fn(&str) -> View) -> Verdict {
    let mut verdict = Verdict::default();
    for row in rows {
        let expected: Value = json!({"id": row[0].parse::<i64>().unwrap(), "name": row[1]});
        match read(&row[0]).row() {
            Some(found) if found == expected => verdict.right += 1,
            Some(_) => verdict.stale += 1,
            None => verdict.lost += 1,
        }
    }
    verdict
}

/// How many rows that are gone a reader is still given.
pub(crate) fn ghosts(ids: impl Iterator<Item = String>, read: impl Fn(&str) -> View) -> usize {
    ids.filter(|id| matches!(read(id), View::Hit(_))).count()
}
