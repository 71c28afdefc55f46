//! The encoding at its bounds: what is there is read, what lies is refused before memory is taken for it.

use proptest::prelude::*;

use super::super::golden::{address, hex};
use super::*;

fn reader(bytes: &[u8]) -> Reader {
    Reader { size: bytes.len(), rest: Bytes::copy_from_slice(bytes) }
}

fn written(put: impl FnOnce(&mut Writer)) -> Bytes {
    let mut writer = Writer::default();
    put(&mut writer);
    writer.finish()
}

#[test]
fn numbers_of_any_width_are_read_as_they_are_written() {
    for (number, bytes) in [(0, "00"), (127, "7f"), (128, "8001"), (16_383, "ff7f"), (u32::MAX as usize, "ffffffff0f")]
    {
        assert_eq!(written(|writer| writer.varint(number)), hex(bytes));
        assert_eq!(reader(&hex(bytes)).varint(), Ok(number));
    }
    // Longer than need be, and still a number of 32 bits.
    assert_eq!(reader(&hex("8000")).varint(), Ok(0));
    let text = written(|writer| writer.string(&"ä".repeat(100)));
    assert_eq!((text.len(), reader(&text).string()), (202, Ok(Some("ä".repeat(100)))));
    assert_eq!(written(|writer| writer.millis(Duration::from_secs(u64::MAX))), hex("7fffffff"));
}

#[test]
fn a_number_of_more_than_32_bits_is_refused() {
    for bytes in ["ffffffff1f", "ffffffff7f", "808080808000", "ffffffffffffffffff01"] {
        let error = reader(&hex(bytes)).varint().unwrap_err();
        assert!(error.starts_with("a number of more than 32 bits at byte 5"), "{error}");
    }
    assert_eq!(reader(&hex("ffff")).varint().unwrap_err(), "it ends at byte 2 of 2");
}

#[test]
fn null_is_no_string_no_bytes_and_never_an_array() {
    assert_eq!(reader(&[0]).string(), Ok(None));
    assert_eq!(reader(&[0]).bytes(), Ok(Bytes::new()));
    assert_eq!(reader(&[0]).array(1, Reader::i16).unwrap_err(), "null for an array at byte 1 of 1");
    assert_eq!(reader(&[1]).array(1, Reader::i16), Ok(Vec::new()));
    assert_eq!(reader(&hex("03c328")).string(), Ok(Some("\u{fffd}(".to_owned())));
    assert_eq!(reader(&(-5_i32).to_be_bytes()).millis(), Ok(Duration::ZERO));
}

// Without the check some of these end the process, which can't have hundreds of gigabytes.
#[test]
fn a_length_that_can_not_be_is_refused_before_memory_is_taken() {
    let lie = &hex("ffffffff0f 0000000000");
    fn expected<T>(what: &str) -> Read<T> {
        Err(format!("{what} where 5 bytes are left at byte 5 of 10"))
    }
    assert_eq!(reader(lie).string(), expected("4294967294 bytes"));
    assert_eq!(reader(lie).bytes(), expected("4294967294 bytes"));
    assert_eq!(reader(lie).skip_string(), expected("4294967294 bytes"));
    assert_eq!(reader(lie).array(1, |_| Ok([0_u8; 1024])), expected("4294967294 elements"));
    assert_eq!(reader(lie).each(1, |_| Ok(())), expected("4294967294 elements"));
    assert_eq!(reader(lie).tags(), expected("4294967295 tagged fields"));
    let error = reader(&hex("0107ffffffff0f 0000000000")).tags().unwrap_err();
    assert_eq!(error, "4294967295 bytes of a tagged field where 5 bytes are left at byte 7 of 12");
    // Three elements of two bytes need six.
    assert!(reader(&hex("040000000000")).array(2, Reader::i16).is_err());
    assert_eq!(reader(&hex("04000000000000")).array(2, Reader::i16), Ok(vec![0; 3]));
}

#[test]
fn tagged_fields_are_passed_over_whatever_is_in_them() {
    let mut tagged = reader(&hex("02 00 03 010203 ac02 01 ff 002a"));
    assert_eq!((tagged.tags(), tagged.i16()), (Ok(()), Ok(42)));
}

#[test]
fn a_body_is_read_to_its_end_and_the_error_names_who_sent_it() {
    let read = |bytes: &str| decode(&address(), ApiKey::ShareFetch, hex(bytes), Reader::i16).map_err(|e| e.to_string());
    assert_eq!(read("002a00"), Ok(42));
    assert_eq!(read("002a010000"), Ok(42));
    let error = |what: &str| Err(format!("broker.example:9092: the answer to ShareFetch can't be read: {what}"));
    assert_eq!(read("002a0000"), error("1 bytes too many at byte 3 of 4"));
    assert_eq!(read("00"), error("it ends at byte 0 of 1"));
    assert_eq!(read("002a"), error("it ends at byte 2 of 2"));
}

proptest! {
    #[test]
    fn garbage_is_read_or_refused_and_never_beyond_its_end(bytes: Vec<u8>, steps in proptest::collection::vec(0..9, 0..20)) {
        let mut reader = reader(&bytes);
        for step in steps {
            let _ = match step {
                0 => reader.i16().map(drop),
                1 => reader.i64().map(drop),
                2 => reader.topic_id().map(drop),
                3 => reader.string().map(drop),
                4 => reader.bytes().map(drop),
                5 => reader.array(8, Reader::i64).map(|read| assert!(read.capacity() <= bytes.len() / 8)),
                6 => reader.each(1, Reader::skip_string),
                7 => reader.tags(),
                _ => reader.millis().map(drop),
            };
        }
    }
}
