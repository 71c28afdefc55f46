//! How much memory and disk the stores of a process may use, and the RocksDB options that follow from it.
//!
//! One cache and one bound on memtables serve all tasks (rule R-25), so the sum does not grow with the partitions.

use std::fmt;

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, LogLevel, Options, WriteOptions};

use super::memtables::Memtables;
use super::shares::Shares;
use super::writer::Writer;

/// Bits per key of the bloom filters: about 1 % false positives.
const BLOOM_BITS: f64 = 10.0;
/// Size of data blocks before compression. Larger than RocksDB's 4 KiB: fewer index entries, better compression.
const BLOCK_BYTES: usize = 8 << 10;
/// What a memtable takes at its first write. RocksDB's own choice (1 MiB) would make many small stores expensive: 64 tasks
/// of four stores each have 320 memtables in use.
const ARENA_BLOCK_BYTES: usize = 32 << 10;
/// What a compaction reads ahead of each of its files. RocksDB's own choice is 2 MiB, and a pile of restored files is
/// compacted at once.
const READ_AHEAD_BYTES: usize = 256 << 10;
/// What a file being written gathers before it goes to the system. RocksDB's own choice (1 MiB) is per open log, and so
/// per task, and a commit empties it anyhow.
const FILE_BUFFER_BYTES: u64 = 128 << 10;
/// RocksDB's info log is kept short: what matters is reported as an error or a metric.
const INFO_LOG_BYTES: usize = 1 << 20;

/// How a commit reaches the disk. Both survive `kill -9` and power loss as a consistent prefix (rule R-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A write-ahead log without fsync: `kill -9` loses nothing, power loss the last seconds.
    Log,
    /// No log; all column families are flushed together: half the bytes written, and `kill -9` loses up to a memtable,
    /// which the changelog gives back.
    Flush,
}

/// Bounds for the stores of one process.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Cache of uncompressed blocks, index and filter blocks included; shared by all tasks.
    pub block_cache_bytes: usize,
    /// All memtables of all tasks together.
    pub write_buffer_bytes: usize,
    /// One store's memtable at most.
    pub memtable_bytes: usize,
    /// Recently read or committed values of all tasks together, split evenly among those that are open.
    pub read_cache_bytes: usize,
    /// Files that one task keeps open.
    pub max_open_files: u16,
    /// Write-ahead log of one task, which is also what a restart replays at most.
    pub max_log_bytes: u64,
    /// Background threads for flush and compaction, per process.
    pub background_jobs: u8,
    /// How a commit reaches the disk.
    pub durability: Durability,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            block_cache_bytes: 64 << 20,
            write_buffer_bytes: 64 << 20,
            memtable_bytes: 4 << 20,
            read_cache_bytes: 32 << 20,
            max_open_files: 256,
            max_log_bytes: 64 << 20,
            background_jobs: 2,
            durability: Durability::Log,
        }
    }
}

/// What the tasks of a process share: the block cache, the bound on memtables and the writer. Cheap to clone.
#[derive(Clone)]
pub struct StoreResources {
    pub(super) options: StoreOptions,
    cache: Cache,
    pub(super) memtables: Memtables,
    pub(super) shares: Shares,
    pub(super) writer: Writer,
}

impl fmt::Debug for StoreResources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreResources").field("options", &self.options).finish_non_exhaustive()
    }
}

impl StoreResources {
    /// Makes the cache and the bound, and starts the writer; once per process.
    pub fn new(options: StoreOptions) -> Self {
        Self::with(options, Writer::start())
    }

    /// The same with a writer that writes where it is asked to: when a write is done, and so how much is staged, is a
    /// function of what was done before. For a simulation of the loop.
    pub fn in_step(options: StoreOptions) -> Self {
        Self::with(options, Writer::without_thread())
    }

    fn with(options: StoreOptions, writer: Writer) -> Self {
        StoreResources {
            cache: Cache::new_lru_cache(options.block_cache_bytes),
            memtables: Memtables::new(options.write_buffer_bytes),
            shares: Shares::new(options.read_cache_bytes),
            writer,
            options,
        }
    }

    /// Bytes in the block cache now.
    pub fn block_cache_bytes(&self) -> usize {
        self.cache.get_usage()
    }

    /// Bytes in memtables now.
    pub fn write_buffer_bytes(&self) -> usize {
        self.memtables.manager.get_usage()
    }

    /// The options of a task's database.
    pub(super) fn database(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_write_buffer_manager(&self.memtables.manager);
        options.set_max_open_files(i32::from(self.options.max_open_files));
        options.set_max_total_wal_size(self.options.max_log_bytes);
        options.set_max_background_jobs(i32::from(self.options.background_jobs));
        options.set_atomic_flush(self.options.durability == Durability::Flush);
        // A task has one writer; without the provision for more, a sorted batch goes into the memtable along one path.
        options.set_allow_concurrent_memtable_write(false);
        options.set_log_level(LogLevel::Warn);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(INFO_LOG_BYTES);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_writable_file_max_buffer_size(FILE_BUFFER_BYTES);
        options.set_compaction_readahead_size(READ_AHEAD_BYTES);
        options
    }

    /// The options of one store's column family.
    pub(super) fn column_family(&self) -> Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&self.cache);
        blocks.set_block_size(BLOCK_BYTES);
        blocks.set_bloom_filter(BLOOM_BITS, false);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_optimize_filters_for_memory(true);
        let mut options = Options::default();
        options.set_block_based_table_factory(&blocks);
        options.set_write_buffer_size(self.options.memtable_bytes);
        options.set_arena_block_size(ARENA_BLOCK_BYTES);
        // At every level: zstd at the last one makes a restore cost half as much CPU again.
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_level_compaction_dynamic_level_bytes(true);
        with_hinted_inserts(options)
    }

    /// The options of a commit.
    pub(super) fn write(&self) -> WriteOptions {
        let mut options = WriteOptions::default();
        options.set_sync(false);
        options.disable_wal(self.options.durability == Durability::Flush);
        options
    }
}

/// A commit's keys come in order, so each is looked for from the one before and not from the memtable's top. RocksDB
/// keeps one such place for each prefix; there is one prefix, the empty one. The C interface has this as text only.
fn with_hinted_inserts(mut options: Options) -> Options {
    let hinted = "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.0";
    options.get_options_from_string(hinted).unwrap_or(options)
}
