//! The comparison of each row of the database with the cache, and of each entry of the cache with the database.

use std::collections::HashSet;

use serde_json::Value;

use crate::Result;
use crate::cache::{Cache, Entry};
use crate::database::{Database, Row, Rows, TABLES, Table};

/// Wrong entries that are shown one by one.
const SHOWN: usize = 5;
/// Characters of a content that are shown.
const SHOWN_LENGTH: usize = 160;

/// What the comparison found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Rows of the database.
    pub(crate) rows: u64,
    /// Entries with another content than the row, or with content for a row that is gone.
    pub(crate) stale: u64,
    /// Rows without an entry, or whose entry has no content.
    pub(crate) lost: u64,
    /// The first of them, for people.
    pub(crate) examples: Vec<String>,
}

impl Verdict {
    /// Compares everything. Only meaningful while nobody changes the database.
    pub(crate) fn reach(database: &Database<'_>, cache: &mut Cache) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        for table in &TABLES {
            let rows = database.rows(table, Rows::All)?;
            verdict.rows_against_cache(table, &rows, cache)?;
            verdict.cache_against_rows(table, &rows, cache)?;
        }
        Ok(verdict)
    }

    /// Compares the markers only.
    pub(crate) fn of_markers(database: &Database<'_>, cache: &mut Cache) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        for table in &TABLES {
            verdict.rows_against_cache(table, &database.rows(table, Rows::Markers)?, cache)?;
        }
        Ok(verdict)
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.stale == 0 && self.lost == 0
    }

    fn rows_against_cache(&mut self, table: &Table, rows: &[Row], cache: &mut Cache) -> Result<()> {
        let keys: Vec<&str> = rows.iter().map(|row| row.cache_key.as_str()).collect();
        for (row, entry) in rows.iter().zip(cache.read(table.name, &keys)?) {
            self.rows += 1;
            match entry {
                // As values, not as text: the order of an object's members and white space are no difference.
                Entry::Hit(content)
                    if serde_json::from_slice::<Value>(&content).ok().as_ref() == Some(&row.content) => {}
                Entry::Hit(content) => {
                    self.stale += 1;
                    self.example("stale", &row.cache_key, &String::from_utf8_lossy(&content), &row.content.to_string());
                }
                Entry::Absent | Entry::Miss => {
                    self.lost += 1;
                    self.example("lost", &row.cache_key, &format!("{entry:?}"), &row.content.to_string());
                }
            }
        }
        Ok(())
    }

    fn cache_against_rows(&mut self, table: &Table, rows: &[Row], cache: &mut Cache) -> Result<()> {
        let known: HashSet<&str> = rows.iter().map(|row| row.cache_key.as_str()).collect();
        let keys = cache.keys(table.name)?;
        let gone: Vec<&str> = keys.iter().map(String::as_str).filter(|key| !known.contains(key)).collect();
        for (key, entry) in gone.iter().zip(cache.read(table.name, &gone)?) {
            if let Entry::Hit(content) = entry {
                self.stale += 1;
                self.example("stale", key, &String::from_utf8_lossy(&content), "no row");
            }
        }
        Ok(())
    }

    fn example(&mut self, what: &str, key: &str, cached: &str, row: &str) {
        if self.examples.len() < SHOWN {
            let short = |text: &str| text.chars().take(SHOWN_LENGTH).collect::<String>();
            self.examples.push(format!("{what} {key}\n  cache    {}\n  database {}", short(cached), short(row)));
        }
    }
}
