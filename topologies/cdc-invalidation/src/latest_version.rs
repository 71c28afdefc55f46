//! Keeps the newest version of each row and lets pass only what is newer.
//!
//! ```text
//!  change ─▶ version ─▶ newer than the stored one? ─▶ store it, forward an Invalidation
//!                                    └─ no ─▶ nothing (redelivery, replay, snapshot behind the stream)
//! ```

use std::sync::Arc;

use headrace::codec::debezium::{Change, Key, Op, Row, RowChange, Snapshot, Source};
use headrace::error::{RecordError, Stage};
use headrace::processor::{Context, Fault, Processor};
use headrace::record::Record;
use headrace::store::{Store, StoreIndex};

use crate::config::{Mode, NullKeys, Tables};
use crate::rows::{Action, Invalidation, RowKey, RowVersion};
use crate::version::{Version, fence, position, schema_position};

/// See the module's documentation.
#[derive(Clone)]
pub struct LatestVersion {
    /// The newest version of each row.
    pub row_versions: Store<RowKey, RowVersion>,
    /// Which tables, in which mode, under which cache keys.
    pub tables: Arc<Tables>,
}

type Out<'a> = Context<'a, RowKey, Invalidation>;

impl Processor for LatestVersion {
    type KeyIn = Option<Key>;
    type ValueIn = Change;
    type KeyOut = RowKey;
    type ValueOut = Invalidation;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.row_versions.index()]
    }

    fn process(&mut self, record: &Record<Option<Key>, Change>, context: &mut Out<'_>) -> Result<(), Fault> {
        match &record.value {
            // A tombstone has no version: it must not delete a newer row (fact F11). The delete before it did the work.
            Change::Tombstone | Change::Watermark(_) => Ok(()),
            Change::Truncate(source) => self.truncate(record, source, context),
            Change::Unreadable { class, reason } => self.unreadable(record, class, reason, context),
            Change::Row(change) => self.row(record, change, context),
        }
    }
}

impl LatestVersion {
    fn row(
        &self,
        record: &Record<Option<Key>, Change>,
        change: &RowChange,
        context: &mut Out<'_>,
    ) -> Result<(), Fault> {
        let table = change.source.table_name();
        if !self.tables.selects(&table) {
            return Ok(());
        }
        let Some(key) = &record.key else { return self.null_key(record, &change.source, context) };
        let row_key = RowKey { table, key: key.text().to_owned() };
        let stored = context.store(&self.row_versions).read(&row_key)?;
        let stored = stored.map(Stored::parse).transpose()?;
        let version = match self.version(change, stored.as_ref(), context.offset().next().0) {
            Ok(version) => version,
            Err(error) => return self.drop_entry(record, error, row_key.table, key, context),
        };
        if stored.as_ref().is_some_and(|stored| version <= stored.version) {
            return Ok(());
        }
        let offset = context.offset().0;
        // A read that comes again over a state that was kept (at-least-once) may be older than that state. It has no
        // position to tell by, so it only invalidates (fact F1).
        let redelivered = is_incremental(change) && stored.as_ref().is_some_and(|stored| stored.offset >= Some(offset));
        let image = if redelivered { None } else { self.image(change, stored.as_ref()) };
        let image = image.filter(|image| image.len() <= self.tables.max_image());
        let action = match (change.op, &image) {
            // The old key's row of a primary-key update: another row may have moved here meanwhile, so its absence is
            // not certain enough to be cached.
            (Op::Delete, _) if change.moved.is_some() => Action::Invalidate,
            (Op::Delete, _) => Action::Delete,
            (_, Some(_)) => Action::Set,
            (_, None) => Action::Invalidate,
        };
        let deleted =
            change.op == Op::Delete || (is_incremental(change) && stored.as_ref().is_some_and(|stored| stored.deleted));
        let invalidation = Invalidation {
            action,
            cache_key: self.cache_key(&row_key.table, key)?,
            version: version.to_string(),
            commit_ms: change.source.ts_ms,
            fingerprint: change.source.fingerprint.map(|fingerprint| format!("{fingerprint:016x}")),
            schema_fence: fence(self.tables.epoch(), schema_position(&change.source)),
            image: image.clone(),
        };
        let row_version = RowVersion { version: invalidation.version.clone(), deleted, image, offset: Some(offset) };
        context.store(&self.row_versions).write(&row_key, Some(&row_version))?;
        context.forward(&record.map(row_key, invalidation));
        Ok(())
    }

    fn version(&self, change: &RowChange, stored: Option<&Stored>, read: i64) -> Result<Version, RecordError> {
        let epoch = self.tables.epoch();
        if is_incremental(change) {
            // No position of its own (fact F1): just above what is known of the row, below whatever comes.
            let known = stored.map(|stored| stored.version).filter(|version| version.epoch == epoch);
            let base = known.unwrap_or(Version { epoch, streamed: false, position: 0, create: true, read: 0 });
            return Ok(Version { read: u64::try_from(read).unwrap_or(0), ..base });
        }
        let position = position(&change.source).ok_or_else(|| {
            RecordError::new(Stage::Process, "no-position", "source holds neither lsn nor file and pos")
        })?;
        let create = change.op != Op::Delete;
        Ok(Version { epoch, streamed: change.op != Op::Read, position, create, read: 0 })
    }

    /// The row's full content, where it is to be cached and can be known.
    fn image(&self, change: &RowChange, stored: Option<&Stored>) -> Option<String> {
        if self.tables.mode() == Mode::Invalidate || change.op == Op::Delete {
            return None;
        }
        if is_incremental(change) && stored.is_some_and(|stored| stored.deleted) {
            // A read that overtook a delete must not bring the row back; the next change will, if it is there.
            return None;
        }
        let after = change.after.as_ref()?;
        if !after.has_placeholder() {
            return Some(after.text().to_owned());
        }
        // Unchanged TOAST columns are left out of an update; the last full image has them (rule C8). A create that
        // leaves them out is a primary-key update, and its content is in the old key's row only (fact F5).
        let last = stored.filter(|stored| change.op == Op::Update && !stored.deleted)?.image.as_ref()?;
        complete(after, last)
    }

    fn truncate(
        &self,
        record: &Record<Option<Key>, Change>,
        source: &Source,
        context: &mut Out<'_>,
    ) -> Result<(), Fault> {
        let table = source.table_name();
        if !self.tables.selects(&table) {
            return Ok(());
        }
        let position = position(source)
            .ok_or_else(|| RecordError::new(Stage::Process, "no-position", "a truncate without a position"))?;
        let version = Version { epoch: self.tables.epoch(), streamed: true, position, create: false, read: 0 };
        self.whole_table(record, table, version, source, context);
        Ok(())
    }

    fn null_key(
        &self,
        record: &Record<Option<Key>, Change>,
        source: &Source,
        context: &mut Out<'_>,
    ) -> Result<(), Fault> {
        match (self.tables.null_keys(), position(source)) {
            (NullKeys::Table, Some(position)) => {
                let epoch = self.tables.epoch();
                let version = Version { epoch, streamed: true, position, create: true, read: 0 };
                self.whole_table(record, source.table_name(), version, source, context);
                Ok(())
            }
            _ => {
                let reason = "the row has no key; give the table a primary key, or set cdc.null-keys = \"table\"";
                Err(RecordError::new(Stage::Process, "null-key", reason).into())
            }
        }
    }

    fn whole_table(
        &self,
        record: &Record<Option<Key>, Change>,
        table: String,
        version: Version,
        source: &Source,
        context: &mut Out<'_>,
    ) {
        let invalidation = Invalidation {
            action: Action::Truncate,
            cache_key: String::new(),
            version: version.to_string(),
            commit_ms: source.ts_ms,
            fingerprint: None,
            schema_fence: String::new(),
            image: None,
        };
        context.forward(&record.map(RowKey { table, key: String::new() }, invalidation));
    }

    fn unreadable(
        &self,
        record: &Record<Option<Key>, Change>,
        class: &'static str,
        reason: &str,
        context: &mut Out<'_>,
    ) -> Result<(), Fault> {
        let error = RecordError::new(Stage::Deserialize, class, reason);
        let table = table_of_topic(context.topic());
        match &record.key {
            Some(key) if self.tables.selects(&table) => self.drop_entry(record, error, table, key, context),
            _ => {
                context.set_aside(error);
                Ok(())
            }
        }
    }

    /// The change can't be understood but its key can: a miss is right, whatever it was (rule C13).
    fn drop_entry(
        &self,
        record: &Record<Option<Key>, Change>,
        error: RecordError,
        table: String,
        key: &Key,
        context: &mut Out<'_>,
    ) -> Result<(), Fault> {
        context.set_aside(error);
        let invalidation = Invalidation {
            action: Action::Drop,
            cache_key: self.cache_key(&table, key)?,
            version: String::new(),
            commit_ms: None,
            fingerprint: None,
            schema_fence: String::new(),
            image: None,
        };
        let row_key = RowKey { table, key: key.text().to_owned() };
        // The stored image is no base for a later merge any more: this change may have touched any column.
        if let Some(mut stored) = context.store(&self.row_versions).read(&row_key)?
            && stored.image.take().is_some()
        {
            context.store(&self.row_versions).write(&row_key, Some(&stored))?;
        }
        context.forward(&record.map(row_key, invalidation));
        Ok(())
    }

    fn cache_key(&self, table: &str, key: &Key) -> Result<String, RecordError> {
        let rendered = self.tables.template(table).render(table, key);
        rendered.map_err(|error| RecordError::new(Stage::Process, "key-template", error.to_string()))
    }
}

struct Stored {
    version: Version,
    deleted: bool,
    image: Option<String>,
    offset: Option<i64>,
}

impl Stored {
    fn parse(row: RowVersion) -> Result<Self, RecordError> {
        let version = row.version.parse();
        let version = version.map_err(|error: crate::version::NotAVersion| {
            RecordError::new(Stage::Process, "stored-version", error.to_string())
        })?;
        Ok(Stored { version, deleted: row.deleted, image: row.image, offset: row.offset })
    }
}

fn is_incremental(change: &RowChange) -> bool {
    change.op == Op::Read && change.source.snapshot == Snapshot::Incremental
}

/// `after` with its placeholders filled from the last full image; `None` where that lacks one too.
fn complete(after: &Row, last: &str) -> Option<String> {
    let last = Row::parse(last).ok()?;
    let mut text = String::from("{");
    for (index, (name, value)) in after.columns().enumerate() {
        let value = if Row::is_placeholder(value) { last.column(&name)? } else { value };
        if index > 0 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(&name).ok()?);
        text.push(':');
        text.push_str(value);
    }
    text.push('}');
    Some(text)
}

/// Debezium's topics are `<prefix>.<schema>.<table>`; the table is all that is known where the value can't be read.
fn table_of_topic(topic: &str) -> String {
    let mut parts = topic.rsplitn(3, '.');
    match (parts.next(), parts.next()) {
        (Some(table), Some(schema)) => format!("{schema}.{table}"),
        _ => topic.to_owned(),
    }
}
