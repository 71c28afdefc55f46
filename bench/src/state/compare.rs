//! What both arms have on disk, entry by entry: with each other, and with the fold of what was loaded and fed.

use std::collections::BTreeMap;
use std::io::{BufReader, ErrorKind, Read};
use std::process::{Child, Command, Stdio};

use count_topology::stored::store_name;
use count_topology::{Topics, key_number};
use headrace::position::{Partition, TaskId};
use headrace::store::{Bounds, StateDirectory, StoreIndex, StoreOptions, StoreResources, StoreSpec, TaskState};

use super::contents::Contents;
use super::feed::Counts;
use super::place::Place;
use crate::Failure;
use crate::counting::{Arm, Peer};

/// Compares all stores of the arms, which must have ended; gives the number of entries of each arm.
pub(crate) fn stores(peer: Option<&Peer>, places: &[Place], instance: &str, counts: &Counts) -> Result<u64, Failure> {
    let mut entries = BTreeMap::new();
    let due: u64 = counts.iter().map(|count| u64::from(*count > 0)).sum();
    for place in places {
        let mut seen = 0;
        for partition in 0..place.shape.partitions {
            for store in 0..place.shape.stores {
                let mut check = |key: &[u8], value: &[u8]| is_due(key, value, counts);
                seen += match place.arm {
                    Arm::Peer => theirs(peer.ok_or("no peer")?, place, instance, partition, store, &mut check)?,
                    Arm::Ours | Arm::Limit => ours(place, instance, partition, store, &mut check)?,
                };
            }
        }
        entries.insert(place.arm.name(), seen);
        let due = due * u64::from(place.shape.stores);
        if seen != due {
            return Err(format!("{}: {seen} entries in its stores, and {due} were due", place.arm.name()).into());
        }
    }
    Ok(due)
}

/// Each entry is what the changelog's fold has: since the number of entries is right too, both arms have the same.
fn is_due(key: &[u8], value: &[u8], counts: &Counts) -> Result<(), Failure> {
    let number = key_number(key).filter(|number| *number < counts.len()).ok_or("not our key")?;
    let mut due = Vec::new();
    let there = Contents::stored(u32::try_from(number)?, u64::from(counts[number]), &mut due);
    if there && due == value { Ok(()) } else { Err(format!("key {number} is not what the changelog says").into()) }
}

type Check<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), Failure>;

fn ours(place: &Place, instance: &str, partition: i32, store: u8, check: Check<'_>) -> Result<u64, Failure> {
    let mut state = open(place, instance, partition)?;
    let mut scan = state.range(StoreIndex(usize::from(store)), Bounds::ALL)?;
    let mut entries = 0;
    let mut last: Vec<u8> = Vec::new();
    while let Some((key, value)) = scan.next()? {
        ordered(&mut last, key, entries)?;
        check(key, value)?;
        entries += 1;
    }
    Ok(entries)
}

fn open(place: &Place, instance: &str, partition: i32) -> Result<TaskState, Failure> {
    let topics = Topics { events: place.events(), counts: place.counts() };
    let config = count_topology::stored::Config { topics, stores: place.shape.stores };
    let topology = count_topology::stored::topology(&config)?;
    let specs: Vec<StoreSpec> = topology.stores().iter().map(|store| store.spec.clone()).collect();
    let directory = StateDirectory::open(&place.state(instance), &place.application)?;
    let task = TaskId { sub_topology: 0, partition: Partition(partition) };
    let resources = StoreResources::new(StoreOptions::default());
    Ok(directory.open_task(task, &specs, topology.state_id(), &resources)?)
}

/// Keys come in the order of their bytes, and so each once.
fn ordered(last: &mut Vec<u8>, key: &[u8], entries: u64) -> Result<(), Failure> {
    if entries > 0 && key <= last.as_slice() {
        return Err("a key comes twice, or out of order".into());
    }
    last.clear();
    last.extend_from_slice(key);
    Ok(())
}

fn theirs(
    peer: &Peer,
    place: &Place,
    instance: &str,
    partition: i32,
    store: u8,
    check: Check<'_>,
) -> Result<u64, Failure> {
    let path = place.task(instance, partition).join("rocksdb").join(store_name(store));
    let mut command = peer.java("StoreDump");
    let mut child = spawn(command.arg(&path))?;
    let result = child.stdout.take().ok_or_else(|| "no output".into()).and_then(|out| read(out, check));
    let status = child.wait()?;
    let entries = result.map_err(|error: Failure| format!("{}: {error}", path.display()))?;
    if status.success() { Ok(entries) } else { Err(format!("{}: StoreDump failed", path.display()).into()) }
}

fn spawn(command: &mut Command) -> Result<Child, Failure> {
    Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?)
}

/// Reads the entries as `StoreDump.java` writes them.
fn read(out: impl Read, check: Check<'_>) -> Result<u64, Failure> {
    let mut out = BufReader::with_capacity(1 << 20, out);
    let (mut key, mut value, mut last, mut entries) = (Vec::new(), Vec::new(), Vec::new(), 0);
    while part(&mut out, &mut key)? {
        if !part(&mut out, &mut value)? {
            return Err("a key without a value".into());
        }
        ordered(&mut last, &key, entries)?;
        check(&key, &value)?;
        entries += 1;
    }
    Ok(entries)
}

/// Reads a length and as many bytes; false at the end.
fn part(out: &mut impl Read, bytes: &mut Vec<u8>) -> Result<bool, Failure> {
    let mut length = [0; 4];
    match out.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
        result => result?,
    }
    bytes.resize(u32::from_be_bytes(length) as usize, 0);
    out.read_exact(bytes)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(counts: &Counts, number: u32) -> (String, Vec<u8>) {
        let (mut key, mut value) = (String::new(), Vec::new());
        Contents::key(number, &mut key);
        Contents::stored(number, u64::from(counts[number as usize]), &mut value);
        (key, value)
    }

    #[test]
    fn a_store_with_another_value_a_lost_key_or_one_too_many_is_found() {
        let counts: Counts = vec![1, 2, 0];
        let (key, value) = entry(&counts, 1);
        assert!(is_due(key.as_bytes(), &value, &counts).is_ok());
        let mut other = value.clone();
        other[100] ^= 1;
        assert!(is_due(key.as_bytes(), &other, &counts).is_err());
        let (deleted, value) = entry(&counts, 2);
        assert!(is_due(deleted.as_bytes(), &value, &counts).is_err());
        assert!(is_due(b"key-00000003", &value, &counts).is_err());
    }

    #[test]
    fn a_dump_is_read_in_order_and_to_its_end() {
        let dumped = |parts: &[&[u8]]| {
            parts.iter().flat_map(|part| [&(part.len() as u32).to_be_bytes()[..], part].concat()).collect::<Vec<u8>>()
        };
        let count = |bytes: &[u8]| read(bytes, &mut |_, _| Ok(())).map_err(|error| error.to_string());
        assert_eq!(count(&dumped(&[b"a", b"1", b"b", b""])), Ok(2));
        assert!(count(&dumped(&[b"b", b"1", b"a", b"2"])).is_err());
        assert!(count(&dumped(&[b"a", b"1", b"b"])).is_err());
        let cut = dumped(&[b"a", b"1"]);
        assert!(count(&cut[..cut.len() - 1]).is_err());
    }
}
