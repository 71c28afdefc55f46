//! Kafka's four codecs, read, whoever wrote them (rule N-1): plain records come out into a buffer that is used again.
//!
//! ```text
//!  gzip    members of RFC 1952                      Java writes one
//!  snappy  xerial's framing, or one raw block       Java writes the first, librdkafka the second
//!  lz4     LZ4 frames, with or without checksums
//!  zstd    frames, with or without their size       Java writes none
//! ```
//!
//! What a few bytes may grow to is bounded by the caller, and memory is taken as plain bytes come out, not as a header
//! promises them: a batch of a kilobyte may say that it holds terabytes.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use zstd_safe::{DCtx, InBuffer, OutBuffer, ResetDirective};

/// What each of xerial's streams begins with; two numbers of four bytes follow, its version and the oldest reader's.
const XERIAL: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_VERSIONS: usize = 8;
/// The plain buffer grows by this for a stream of unknown size.
const STEP: usize = 128 * 1024;

/// Decompresses batches; keeps its contexts from one to the next.
#[derive(Default)]
pub(super) struct Decompressor {
    snappy: snap::raw::Decoder,
    zstd: Option<DCtx<'static>>,
}

impl Decompressor {
    /// Replaces `plain` by what `records` hold in the codec of that number (a batch's attributes, lowest three bits).
    ///
    /// # Errors
    /// What is wrong with them; an unknown codec; more than `max` bytes.
    pub(super) fn decompress(
        &mut self,
        codec: i16,
        records: &[u8],
        plain: &mut Vec<u8>,
        max: usize,
    ) -> Result<(), String> {
        plain.clear();
        match codec {
            0 => match records.len() <= max {
                true => plain.extend_from_slice(records),
                false => return Err(too_large(max)),
            },
            1 => drain(MultiGzDecoder::new(records), plain, max).map_err(|reason| format!("gzip: {reason}"))?,
            2 => self.snappy(records, plain, max).map_err(|reason| format!("snappy: {reason}"))?,
            3 => drain(FrameDecoder::new(records), plain, max).map_err(|reason| format!("lz4: {reason}"))?,
            4 => self.zstd(records, plain, max).map_err(|reason| format!("zstd: {reason}"))?,
            other => return Err(format!("there is no codec {other}")),
        }
        Ok(())
    }

    fn snappy(&mut self, records: &[u8], plain: &mut Vec<u8>, max: usize) -> Result<(), String> {
        let Some(framed) = records.strip_prefix(&XERIAL) else { return self.block(records, plain, max) };
        let mut rest = framed.get(XERIAL_VERSIONS..).ok_or("it ends within its header")?;
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk().ok_or("it ends within a length")?;
            let length = u32::from_be_bytes(*length) as usize;
            let (block, after) = after.split_at_checked(length).ok_or("it ends within a block")?;
            self.block(block, plain, max)?;
            rest = after;
        }
        Ok(())
    }

    /// Appends a raw block.
    fn block(&mut self, block: &[u8], plain: &mut Vec<u8>, max: usize) -> Result<(), String> {
        let stated = snap::raw::decompress_len(block).map_err(|error| error.to_string())?;
        // Three bytes of it may become 64 at most.
        if stated > block.len().saturating_mul(64) {
            return Err("a block that can't be as large as it says".to_owned());
        }
        let start = plain.len();
        let end = start.checked_add(stated).filter(|end| *end <= max).ok_or_else(|| too_large(max))?;
        plain.resize(end, 0);
        let written = self.snappy.decompress(block, &mut plain[start..]).map_err(|error| error.to_string())?;
        plain.truncate(start + written);
        Ok(())
    }

    fn zstd(&mut self, records: &[u8], plain: &mut Vec<u8>, max: usize) -> Result<(), String> {
        let context = self.zstd.get_or_insert_with(DCtx::create);
        let failed = |code| zstd_safe::get_error_name(code).to_owned();
        // A stream that failed before leaves its state behind.
        context.reset(ResetDirective::SessionOnly).map_err(failed)?;
        let mut input = InBuffer::around(records);
        let mut filled = 0;
        loop {
            if plain.len() - filled < STEP {
                // One byte more than allowed, to see that there is more.
                let wanted = filled.saturating_add(STEP.max(filled)).min(max.saturating_add(1));
                plain.resize(wanted.max(plain.len()), 0);
            }
            let mut output = OutBuffer::around(&mut plain[filled..]);
            let left = context.decompress_stream(&mut output, &mut input).map_err(failed)?;
            let written = output.pos();
            filled += written;
            if filled > max {
                return Err(too_large(max));
            }
            let all_read = input.pos() == records.len();
            if all_read && left == 0 {
                break;
            }
            if all_read && written == 0 {
                return Err("it ends within a frame".to_owned());
            }
        }
        plain.truncate(filled);
        Ok(())
    }
}

/// Appends all that a reader has, `max` bytes at most.
fn drain(reader: impl Read, plain: &mut Vec<u8>, max: usize) -> Result<(), String> {
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(limit).read_to_end(plain).map_err(|error| error.to_string())?;
    if plain.len() > max { Err(too_large(max)) } else { Ok(()) }
}

fn too_large(max: usize) -> String {
    format!("more than {max} plain bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    use proptest::prelude::*;

    const MAX: usize = 1 << 20;

    fn plain(codec: i16, records: &[u8], max: usize) -> Result<Vec<u8>, String> {
        let mut plain = b"from before".to_vec();
        Decompressor::default().decompress(codec, records, &mut plain, max).map(|()| plain)
    }

    fn text(bytes: usize) -> Vec<u8> {
        b"many words, few of them new; ".iter().copied().cycle().take(bytes).collect()
    }

    #[test]
    fn n1_raw_snappy_as_librdkafka_writes_it_is_read() {
        let wanted = text(100_000);
        let block = snap::raw::Encoder::new().compress_vec(&wanted).unwrap();
        assert_eq!(plain(2, &block, MAX).unwrap(), wanted);
    }

    #[test]
    fn n1_zstd_without_its_size_and_several_gzip_members_are_read() {
        let wanted = text(700_000);
        let mut frame = vec![0; 1 << 20];
        let mut context = zstd_safe::CCtx::create();
        context.set_parameter(zstd_safe::CParameter::ContentSizeFlag(false)).unwrap();
        let written = context.compress2(frame.as_mut_slice(), &wanted).unwrap();
        assert_eq!(zstd_safe::get_frame_content_size(&frame[..written]).unwrap(), None);
        assert_eq!(plain(4, &frame[..written], MAX).unwrap(), wanted);
        let member = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let (first, second) = wanted.split_at(100);
        assert_eq!(plain(1, &[member(first), member(second)].concat(), MAX).unwrap(), wanted);
    }

    #[test]
    fn o6_a_small_batch_that_grows_beyond_the_bound_is_refused() {
        let large = vec![0; MAX + 1];
        let mut frame = vec![0; 1 << 20];
        let written = zstd_safe::compress(frame.as_mut_slice(), &large, 1).unwrap();
        assert!(written < 1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&large).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&large).unwrap();
        let snappy = snap::raw::Encoder::new().compress_vec(&large).unwrap();
        let all =
            [(1, gzip.finish().unwrap()), (2, snappy), (3, lz4.finish().unwrap()), (4, frame[..written].to_vec())];
        for (codec, records) in all {
            assert!(plain(codec, &records, MAX).unwrap_err().contains("more than"), "{codec}");
            assert_eq!(plain(codec, &records, MAX + 1).unwrap().len(), MAX + 1, "{codec}");
        }
        // Terabytes, by its first bytes alone.
        assert!(plain(2, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0], MAX).is_err());
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_larger_than_the_bound(codec in 0_i16..8, mut bytes in any::<Vec<u8>>(), framed: bool) {
            if framed && codec == 2 {
                bytes = [&XERIAL[..], &bytes].concat();
            }
            if let Ok(plain) = plain(codec, &bytes, 1000) {
                prop_assert!(plain.len() <= 1000);
            }
        }
    }
}
