//! What each codec writes, decoded by what the crates and the formats' documents say, not by own code where that can be.

use std::io::Read as _;

use super::*;

/// Plain records of a batch with this codec's number.
pub(crate) fn decompress(codec: i16, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match codec {
        0 => plain.extend_from_slice(bytes),
        1 => _ = flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap(),
        2 => {
            assert_eq!(&bytes[..16], b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
            let mut rest = &bytes[16..];
            while !rest.is_empty() {
                let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
                plain.extend(snap::raw::Decoder::new().decompress_vec(&rest[4..4 + length]).unwrap());
                rest = &rest[4 + length..];
            }
        }
        3 => _ = lz4_flex::frame::FrameDecoder::new(bytes).read_to_end(&mut plain).unwrap(),
        4 => {
            let size = zstd_safe::get_frame_content_size(bytes).ok().flatten().unwrap();
            plain.resize(usize::try_from(size).unwrap(), 0);
            zstd_safe::decompress(plain.as_mut_slice(), bytes).unwrap();
        }
        other => panic!("codec {other}"),
    }
    plain
}

#[test]
fn n1_names_and_numbers_are_kafkas() {
    for (name, id) in [("none", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)] {
        assert_eq!(Codec::named(name).map(Codec::id), Some(id));
    }
    assert_eq!(Codec::named("brotli"), None);
}

#[test]
fn n1_blocks_larger_than_one_are_cut_and_noise_between_them_is_stored() {
    let mut noise = fastrand::Rng::with_seed(1);
    let mut records = vec![b'a'; 150_000];
    records.extend(std::iter::repeat_with(|| noise.u8(..)).take(150_000));
    records.extend(vec![b'b'; 150_000]);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut compressor = Compressor::new(codec);
        for _ in 0..3 {
            let mut target = vec![0; HEADER];
            compressor.encode(&records, &mut target).unwrap();
            assert_eq!(decompress(codec.id(), &target[HEADER..]), records, "{codec:?}");
            assert!(target.len() < 200_000, "{codec:?}");
        }
    }
}
