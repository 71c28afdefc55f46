//! Typed access: values come back as they were, and what fails says why.

use super::super::{Commit, ReadError, Store, StoreIndex, Stores, TaskState};
use super::publish;
use crate::codec::{Codec, DecodeError, EncodeError, SchemaId};

/// Big-endian; 0 is null, 13 can't be encoded, and 7's schema has yet to be loaded.
#[derive(Debug)]
struct Number;

impl Codec<u32> for Number {
    fn name(&self) -> String {
        "number".to_owned()
    }

    fn is_null(&self, value: &u32) -> bool {
        *value == 0
    }

    fn encode(&self, value: &u32, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&value.to_be_bytes());
        if *value == 13 { Err(EncodeError::Malformed("unlucky".to_owned())) } else { Ok(()) }
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<u32, DecodeError> {
        let bytes = bytes.ok_or(DecodeError::Null)?.try_into();
        match bytes.map(u32::from_be_bytes) {
            Ok(7) => Err(DecodeError::SchemaNotLoaded(SchemaId(7))),
            Ok(number) => Ok(number),
            Err(_) => Err(DecodeError::Malformed("length".to_owned())),
        }
    }
}

fn numbers() -> (TaskState, Store<u32, u32>) {
    let (spec, store) = Stores::rocks(Number, Number).with_changelog().build("numbers", StoreIndex(4));
    assert!(spec.changelog && spec.name == "numbers" && store.name() == "numbers");
    (TaskState::in_memory(&[spec]), store)
}

#[test]
fn values_come_back_and_scans_are_in_the_order_of_their_bytes() {
    let (mut state, store) = numbers();
    for n in [300, 2, 1] {
        store.write(&mut state, &n, Some(&(n * 2))).unwrap();
    }
    assert_eq!(store.read(&mut state, &2).unwrap(), Some(4));
    assert_eq!(store.read(&mut state, &5).unwrap(), None);
    let entries: Result<Vec<_>, _> = store.prefix(&mut state, &[0, 0]).unwrap().collect();
    assert_eq!(entries.unwrap(), [(1, 2), (2, 4), (300, 600)]);
}

#[test]
fn a_null_value_deletes() {
    let (mut state, store) = numbers();
    store.write(&mut state, &1, Some(&1)).unwrap();
    store.write(&mut state, &1, Some(&0)).unwrap();
    assert_eq!(store.read(&mut state, &1).unwrap(), None);
    assert_eq!(publish(&mut state), [(StoreIndex(4), 1u32.to_be_bytes().to_vec(), None)]);
    state.commit(&Commit::default()).unwrap();
}

#[test]
fn a_schema_that_is_not_loaded_is_told_apart_from_a_failing_store() {
    let (mut state, store) = numbers();
    store.write(&mut state, &1, Some(&7)).unwrap();
    let error = store.read(&mut state, &1).unwrap_err();
    assert!(matches!(error, ReadError::Decode(DecodeError::SchemaNotLoaded(SchemaId(7)))), "{error}");
}

#[test]
fn a_value_that_cannot_be_encoded_stages_nothing() {
    let (mut state, store) = numbers();
    assert!(matches!(store.write(&mut state, &1, Some(&13)), Err(ReadError::Encode(_))));
    assert!(state.is_clean());
}
