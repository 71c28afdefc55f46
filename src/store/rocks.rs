//! A task's RocksDB: one column family per store and one for the meta data, opened, read and written in one place.
//!
//! Everything else of the store speaks bytes and [`StoreError`]; only here RocksDB's errors are sorted into those that
//! prove the data unusable and those that don't.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBPinnableSlice, ErrorKind, IngestExternalFileOptions, Options,
    ReadOptions, Snapshot, SstFileWriter, WriteBatch, WriteOptions,
};

use super::error::{Format, StoreError};
use super::journal::StagedWrite;
use super::memtables::Memtables;
use super::meta::{self, META, Meta};
use super::options::StoreResources;
use super::range::{Base, Bounds};
use super::spec::{StoreIndex, StoreKind, StoreSpec};

/// An open database.
pub(super) struct Rocks {
    db: DB,
    path: PathBuf,
    /// Names of the column families.
    families: Vec<String>,
    memtables: Memtables,
    read: ReadOptions,
    write: WriteOptions,
    /// Of files that are written outside the database and ingested.
    file_options: Options,
}

impl Rocks {
    /// Opens or creates the database and reads its meta data.
    pub(super) fn open(
        path: &Path,
        specs: &[StoreSpec],
        expected: Format,
        resources: &StoreResources,
    ) -> Result<(Self, Meta), StoreError> {
        let exists = path.join("CURRENT").try_exists();
        let exists = exists.map_err(|source| StoreError::File { action: "looking for", path: path.into(), source })?;
        let mut names = vec![META.to_owned(), rocksdb::DEFAULT_COLUMN_FAMILY_NAME.to_owned()];
        names.extend(specs.iter().filter(|spec| spec.kind == StoreKind::Rocks).map(|spec| spec.name.clone()));
        if exists {
            // RocksDB wants every family that exists opened; one that the topology no longer has is left alone.
            let known = DB::list_cf(&Options::default(), path).map_err(|error| refused_open(path, error))?;
            names.extend(known);
        }
        names.sort_unstable();
        names.dedup();
        let families = names.iter().map(|name| ColumnFamilyDescriptor::new(name, resources.column_family()));
        let db = DB::open_cf_descriptors(&resources.database(), path, families).map_err(|error| match exists {
            true => refused_open(path, error),
            false => refused(path, error),
        })?;
        let rocks = Rocks {
            db,
            path: path.to_owned(),
            families: names,
            memtables: resources.memtables.clone(),
            read: ReadOptions::default(),
            write: resources.write(),
            file_options: resources.column_family(),
        };
        rocks.check_format(expected)?;
        let meta = rocks.load_meta(specs)?;
        Ok((rocks, meta))
    }

    fn check_format(&self, expected: Format) -> Result<(), StoreError> {
        let family = self.family(META)?;
        if let Some(bytes) = self.read(META, meta::FORMAT_KEY)? {
            let found = meta::decode_format(&bytes).ok_or_else(|| self.corrupt("the format entry is malformed"))?;
            return if found == expected { Ok(()) } else { Err(StoreError::Format { found, expected }) };
        }
        let mut batch = WriteBatch::default();
        batch.put_cf(family, meta::FORMAT_KEY, meta::encode_format(expected));
        self.write(batch)
    }

    fn load_meta(&self, specs: &[StoreSpec]) -> Result<Meta, StoreError> {
        let count = specs.iter().map(|spec| spec.index.0 + 1).max().unwrap_or(0);
        let mut loaded = Meta { changelog_next: vec![None; count], ..Meta::default() };
        let index = |name: &str| -> Option<StoreIndex> {
            specs.iter().find(|spec| spec.kind == StoreKind::Rocks && spec.name == name).map(|spec| spec.index)
        };
        let mut iterator = self.db.raw_iterator_cf(self.family(META)?);
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            if key != meta::FORMAT_KEY && !loaded.load(key, value, index) {
                return Err(self.corrupt("a meta entry is malformed"));
            }
            iterator.next();
        }
        iterator.status().map_err(|error| self.refused(error))?;
        Ok(loaded)
    }

    pub(super) fn family(&self, name: &str) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(name).ok_or_else(|| self.corrupt("a column family is missing"))
    }

    pub(super) fn read(&self, family: &str, key: &[u8]) -> Result<Option<DBPinnableSlice<'_>>, StoreError> {
        let value = self.db.get_pinned_cf_opt(self.family(family)?, key, &self.read);
        value.map_err(|error| self.refused(error))
    }

    /// One atomic write: all of the batch or nothing.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.db.write_opt(batch, &self.write).map_err(|error| self.refused(error))?;
        self.memtables.relieve();
        Ok(())
    }

    /// From now on its memtables give way when others write (rule R-25).
    pub(super) fn join(self: &Arc<Self>) {
        self.memtables.add(self);
    }

    /// To be called before the last of its owners goes, if it has [joined](Self::join).
    pub(super) fn leave(self: &Arc<Self>) {
        self.memtables.remove(self);
    }

    /// What the memtables take that are written to now. None of what can't be asked.
    pub(super) fn active_memtable_bytes(&self) -> usize {
        let active = |name: &String| self.property(name, rocksdb::properties::CUR_SIZE_ACTIVE_MEM_TABLE).unwrap_or(0);
        self.families.iter().map(active).sum::<u64>() as usize
    }

    /// Has all memtables written to files, in the background; `waits` for it.
    pub(super) fn flush_all(&self, waits: bool) -> Result<(), StoreError> {
        let families = self.families.iter().map(|name| self.family(name)).collect::<Result<Vec<_>, _>>()?;
        let mut options = rocksdb::FlushOptions::default();
        options.set_wait(waits);
        self.db.flush_cfs_opt(&families, &options).map_err(|error| self.refused(error))
    }

    /// Adds sorted writes as a file, past log and memtable.
    pub(super) fn ingest<'a>(
        &self,
        family: &str,
        writes: impl Iterator<Item = StagedWrite<'a>>,
    ) -> Result<(), StoreError> {
        let mut writes = writes.peekable();
        if writes.peek().is_none() {
            return Ok(());
        }
        let path = self.path.join("restore.sst.tmp");
        // What a crash left may be a second name of a file that the database has taken over; writing on would spoil that.
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::File { action: "deleting", path, source });
            }
            _ => {}
        }
        let mut writer = SstFileWriter::create(&self.file_options);
        writer.open(&path).map_err(|error| self.refused(error))?;
        for write in writes {
            let added = match write.value {
                Some(value) => writer.put(write.key, value),
                None => writer.delete(write.key),
            };
            added.map_err(|error| self.refused(error))?;
        }
        writer.finish().map_err(|error| self.refused(error))?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let ingested = self.db.ingest_external_file_cf_opts(self.family(family)?, &options, vec![&path]);
        ingested.map_err(|error| self.refused(error))
    }

    pub(super) fn scan<'a>(&'a self, family: &str, bounds: Bounds<'_>) -> Result<Base<'a>, StoreError> {
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(family)?, bounded(bounds));
        iterator.seek_to_first();
        Ok(Base::Rocks { iterator, failed: Box::new(|error| self.refused(error)) })
    }

    /// All families as they are now, whatever is written meanwhile.
    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        self.db.snapshot()
    }

    pub(super) fn set_options(&self, family: &str, options: &[(&str, &str)]) -> Result<(), StoreError> {
        self.db.set_options_cf(self.family(family)?, options).map_err(|error| self.refused(error))
    }

    pub(super) fn files_at_level_0(&self, family: &str) -> Result<u64, StoreError> {
        self.property(family, &rocksdb::properties::num_files_at_level(0))
    }

    pub(super) fn property(&self, family: &str, name: &rocksdb::properties::PropName) -> Result<u64, StoreError> {
        let value = self.db.property_int_value_cf(self.family(family)?, name);
        Ok(value.map_err(|error| self.refused(error))?.unwrap_or(0))
    }

    /// Writes what is in memory to files, so that the next open has nothing to replay.
    pub(super) fn flush(&self, families: &[&str]) -> Result<(), StoreError> {
        let families = families.iter().map(|name| self.family(name)).collect::<Result<Vec<_>, _>>()?;
        self.db.flush_cfs_opt(&families, &rocksdb::FlushOptions::default()).map_err(|error| self.refused(error))
    }

    /// A failure that is not the database's own.
    pub(super) fn failed(&self, reason: &str) -> StoreError {
        StoreError::Database { path: self.path.clone(), reason: reason.to_owned() }
    }

    pub(super) fn corrupt(&self, reason: &str) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), reason: reason.to_owned() }
    }

    pub(super) fn refused(&self, error: rocksdb::Error) -> StoreError {
        refused(&self.path, error)
    }
}

/// Options of a read that stays within bounds of the keys' bytes.
pub(super) fn bounded(bounds: Bounds<'_>) -> ReadOptions {
    // RocksDB's bounds are [start, end); the least key after k is k with a zero appended.
    let after = |key: &[u8]| [key, &[0]].concat();
    let mut read = ReadOptions::default();
    match bounds.start {
        Bound::Included(start) => read.set_iterate_lower_bound(start),
        Bound::Excluded(start) => read.set_iterate_lower_bound(after(start)),
        Bound::Unbounded => {}
    }
    match bounds.end {
        Bound::Included(end) => read.set_iterate_upper_bound(after(end)),
        Bound::Excluded(end) => read.set_iterate_upper_bound(end),
        Bound::Unbounded => {}
    }
    read
}

fn refused(path: &Path, error: rocksdb::Error) -> StoreError {
    let (path, reason) = (path.to_owned(), without_payload(error.as_ref()));
    match error.kind() {
        ErrorKind::Corruption => StoreError::Corrupt { path, reason },
        _ => StoreError::Database { path, reason },
    }
}

/// A file that the database itself says it has, and that is not there, is as good as corrupt.
fn refused_open(path: &Path, error: rocksdb::Error) -> StoreError {
    let not_found = io::Error::from_raw_os_error(nix::errno::Errno::ENOENT as i32).to_string();
    let not_found = not_found.split(" (").next().unwrap_or(&not_found);
    match error.kind() {
        ErrorKind::NotFound => StoreError::Corrupt { path: path.to_owned(), reason: without_payload(error.as_ref()) },
        ErrorKind::IOError if error.as_ref().contains(not_found) => {
            StoreError::Corrupt { path: path.to_owned(), reason: without_payload(error.as_ref()) }
        }
        _ => refused(path, error),
    }
}

/// RocksDB prints keys in some of its corruption messages; those are cut off (rule O5).
fn without_payload(message: &str) -> String {
    let lower = message.to_ascii_lowercase();
    let cut = ["key", " smallest", " largest", " value"].iter().filter_map(|word| lower.find(word)).min();
    match cut {
        Some(at) if lower.starts_with("corruption") => {
            format!("{} …", message.get(..at).unwrap_or_default().trim_end())
        }
        _ => message.to_owned(),
    }
}
