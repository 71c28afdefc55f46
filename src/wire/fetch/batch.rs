//! The header of a fetched record batch (magic 2; [`crate::wire`]'s producer has a picture of it), and whether the batch is
//! what it says.
//!
//! A broker cuts its answer at a number of bytes, so the last batch may be there in part only: it comes again. What was
//! written before Kafka 0.11 (magic 0 and 1) is refused by name, since it has no transactions to be filtered by.

/// Bytes of the header.
pub(in crate::wire) const HEADER: usize = 61;
/// What the length field does not count: base offset and length.
const BEFORE: usize = 12;
const MAGIC: usize = 16;
/// The checksum covers all from here.
const ATTRIBUTES: usize = 21;

const CODEC: i16 = 7;
const APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// A batch's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) struct Batch {
    /// Offset of its first record, as it was before compaction.
    pub(in crate::wire) base: i64,
    /// All of it, header included.
    pub(in crate::wire) bytes: usize,
    pub(in crate::wire) producer_id: i64,
    /// Records that are left in it.
    pub(in crate::wire) count: usize,
    checksum: u32,
    attributes: i16,
    last_delta: i32,
    base_time: i64,
    max_time: i64,
}

impl Batch {
    /// The batch at the start of `bytes`; none if not all of it is there.
    ///
    /// # Errors
    /// It is no batch, or of a format before Kafka 0.11.
    pub(in crate::wire) fn at_start(bytes: &[u8]) -> Result<Option<Batch>, String> {
        let Some(magic) = bytes.get(MAGIC) else { return Ok(None) };
        let length = usize::try_from(i32::from_be_bytes(field(bytes, 8))).unwrap_or(0);
        if *magic != 2 {
            return Err(match magic {
                0 | 1 => format!("message format {magic}, of Kafka before 0.11; there is no reader for it here"),
                other => format!("message format {other} is unknown"),
            });
        }
        if length < HEADER - BEFORE {
            return Err(format!("a batch of {length} bytes, at least {} are needed", HEADER - BEFORE));
        }
        let size = BEFORE + length;
        if bytes.len() < size {
            return Ok(None);
        }
        let batch = Batch {
            base: i64::from_be_bytes(field(bytes, 0)),
            bytes: size,
            checksum: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, ATTRIBUTES)),
            last_delta: i32::from_be_bytes(field(bytes, 23)),
            base_time: i64::from_be_bytes(field(bytes, 27)),
            max_time: i64::from_be_bytes(field(bytes, 35)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            count: usize::try_from(i32::from_be_bytes(field(bytes, 57))).map_err(|_| "a negative number of records")?,
        };
        if batch.base < 0 || batch.last_delta < 0 || batch.base.checked_add(i64::from(batch.last_delta) + 1).is_none() {
            return Err(format!("offsets from {} on, {} more", batch.base, batch.last_delta));
        }
        Ok(Some(batch))
    }

    /// Whether the bytes are those that were checked when they were written. `bytes` starts with this batch.
    ///
    /// # Errors
    /// They are not.
    pub(in crate::wire) fn check(&self, bytes: &[u8]) -> Result<(), String> {
        let found = crc32c::crc32c(bytes.get(ATTRIBUTES..self.bytes).unwrap_or_default());
        match found == self.checksum {
            true => Ok(()),
            false => Err(format!("its checksum is {found:08x}, not {:08x}: damaged", self.checksum)),
        }
    }

    /// The offset after its last record, also after one that compaction took.
    pub(in crate::wire) fn next(&self) -> i64 {
        self.base.saturating_add(i64::from(self.last_delta)).saturating_add(1)
    }

    /// Number of the codec.
    pub(in crate::wire) fn codec(&self) -> i16 {
        self.attributes & CODEC
    }

    /// Whether it is part of a transaction.
    pub(in crate::wire) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether it is a marker and no data.
    pub(in crate::wire) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// A record's timestamp by its delta; where the broker has stamped the batch (LogAppendTime) all have its time.
    #[inline]
    pub(in crate::wire) fn time(&self, delta: i64) -> i64 {
        if self.attributes & APPEND_TIME == 0 { self.base_time.wrapping_add(delta) } else { self.max_time }
    }
}

/// The bytes of a field within the header, whose presence was checked.
#[inline]
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|field| field.try_into().ok()).unwrap_or([0; N])
}
