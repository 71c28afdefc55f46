//! Kafka's four codecs, for whole batches (rule N-1).
//!
//! ```text
//!  gzip    one RFC 1952 member
//!  snappy  xerial's framing: 82 "SNAPPY" 00, version 1, compatible 1, then (length, block) for each 32 KiB
//!  lz4     LZ4 frame v1: independent blocks of 64 KiB, no checksums of blocks or content, the header's own checksum
//!  zstd    one frame with its content's size
//! ```
//!
//! Java reads no other snappy framing, and no LZ4 frame with dependent blocks. A batch that does not shrink is sent as it
//! is: the broker and every reader are spared the work. Buffers and contexts are kept from batch to batch.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::batch::{Closed, HEADER};

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy in xerial's framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// zstd (KIP-110).
    Zstd,
}

impl Codec {
    /// The codec of that name, as Kafka's `compression.type` has it.
    #[must_use]
    pub fn named(name: &str) -> Option<Codec> {
        Some(match name {
            "none" => Codec::None,
            "gzip" => Codec::Gzip,
            "snappy" => Codec::Snappy,
            "lz4" => Codec::Lz4,
            "zstd" => Codec::Zstd,
            _ => return None,
        })
    }

    /// The number in a batch's attributes.
    #[must_use]
    pub fn id(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }
}

/// A block of xerial's framing, as snappy-java cuts them.
const SNAPPY_BLOCK: usize = 32 * 1024;
/// Magic, version 1, compatible with 1.
const SNAPPY_HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// Block of an LZ4 frame; what the header says below.
const LZ4_BLOCK: usize = 64 * 1024;
/// Magic; version 1 with independent blocks; blocks of 64 KiB; the checksum of these two bytes.
const LZ4_HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
/// Set in a block's length if the block is stored as it is.
const LZ4_STORED: u32 = 1 << 31;
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
/// Buffers that are kept for the next batches.
const SPARES: usize = 4;

/// Compresses batches with one codec.
pub(super) struct Compressor {
    codec: Codec,
    lz4: CompressTable,
    snappy: snap::raw::Encoder,
    zstd: Option<zstd_safe::CCtx<'static>>,
    spares: Vec<Vec<u8>>,
}

impl Compressor {
    /// One for this codec.
    #[must_use]
    pub(super) fn new(codec: Codec) -> Self {
        let zstd = (codec == Codec::Zstd).then(zstd_safe::CCtx::create);
        Compressor { codec, lz4: CompressTable::default(), snappy: snap::raw::Encoder::new(), zstd, spares: Vec::new() }
    }

    /// Compresses a batch in place, unless that makes it larger. Gives back a buffer that is free now.
    pub(super) fn compress(&mut self, batch: &mut Closed) -> Option<Vec<u8>> {
        if self.codec == Codec::None {
            return None;
        }
        let mut target = self.spares.pop().unwrap_or_default();
        target.clear();
        target.resize(HEADER, 0);
        let done = self.encode(batch.records(), &mut target);
        if done.is_none() || target.len() >= batch.bytes() {
            self.keep(target);
            return None;
        }
        Some(batch.replace(target, self.codec.id()))
    }

    /// Takes a buffer for a later batch.
    pub(super) fn keep(&mut self, spare: Vec<u8>) {
        if self.spares.len() < SPARES {
            self.spares.push(spare);
        }
    }

    fn encode(&mut self, records: &[u8], target: &mut Vec<u8>) -> Option<()> {
        match self.codec {
            Codec::None => None,
            Codec::Gzip => gzip(records, target),
            Codec::Snappy => self.snappy(records, target),
            Codec::Lz4 => self.lz4(records, target),
            Codec::Zstd => self.zstd(records, target),
        }
    }

    fn snappy(&mut self, records: &[u8], target: &mut Vec<u8>) -> Option<()> {
        target.extend_from_slice(&SNAPPY_HEADER);
        for block in records.chunks(SNAPPY_BLOCK) {
            let start = target.len();
            let room = start + 4;
            target.resize(room + snap::raw::max_compress_len(block.len()), 0);
            let written = self.snappy.compress(block, &mut target[room..]).ok()?;
            target.truncate(room + written);
            target[start..room].copy_from_slice(&u32::try_from(written).ok()?.to_be_bytes());
        }
        Some(())
    }

    fn lz4(&mut self, records: &[u8], target: &mut Vec<u8>) -> Option<()> {
        target.extend_from_slice(&LZ4_HEADER);
        for block in records.chunks(LZ4_BLOCK) {
            let start = target.len();
            let room = start + 4;
            target.resize(room + get_maximum_output_size(block.len()), 0);
            let written = compress_into_with_table(block, &mut target[room..], &mut self.lz4).ok()?;
            let mut field = u32::try_from(written).ok()?;
            if written < block.len() {
                target.truncate(room + written);
            } else {
                target.truncate(room);
                target.extend_from_slice(block);
                field = u32::try_from(block.len()).ok()? | LZ4_STORED;
            }
            target[start..room].copy_from_slice(&field.to_le_bytes());
        }
        target.extend_from_slice(&0_u32.to_le_bytes());
        Some(())
    }

    fn zstd(&mut self, records: &[u8], target: &mut Vec<u8>) -> Option<()> {
        let context = self.zstd.as_mut()?;
        target.resize(HEADER + zstd_safe::compress_bound(records.len()), 0);
        let written = context.compress(&mut target[HEADER..], records, ZSTD_LEVEL).ok()?;
        target.truncate(HEADER + written);
        Some(())
    }
}

fn gzip(records: &[u8], target: &mut Vec<u8>) -> Option<()> {
    let mut encoder = GzEncoder::new(target, Compression::new(GZIP_LEVEL));
    encoder.write_all(records).ok()?;
    encoder.finish().ok()?;
    Some(())
}

#[cfg(test)]
#[path = "compression_tests.rs"]
pub(crate) mod tests;
