//! Fingerprints of a table's set of columns, stable across processes, schema ids and registries.
//!
//! Why: `ADD COLUMN … DEFAULT` sends no events for the rows it changes, so only a change of the columns themselves tells
//! that cached rows have gone stale.

use serde_json::{Map, Value};

/// FNV-1a, 64 bits: stored fingerprints must mean the same after an upgrade, so no hasher that may change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fnv(u64);

impl Fnv {
    pub(super) const fn new() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    /// Adds bytes, and their end.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Adds a hash: one step for the whole word. The rotation lets its high bits count for all that follows.
    fn add_word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(0x0100_0000_01b3);
    }

    pub(super) fn finish(self) -> u64 {
        self.0
    }
}

/// Attributes of a schema that say nothing about names and types.
const IMMATERIAL: [&str; 6] = ["default", "doc", "aliases", "version", "connect.version", "connect.default"];

/// Fingerprint of the row type in an Avro envelope's schema.
pub(super) fn of_avro(schema: &str) -> Option<u64> {
    let schema: Value = serde_json::from_str(schema).ok()?;
    let fields = schema.get("fields")?.as_array()?;
    let of_field = |name: &str| fields.iter().find(|field| field.get("name").is_some_and(|n| n == name));
    let after = of_field("after")?.get("type")?;
    // The row's type is written out where it occurs first, in `before`; `after` then only names it.
    let row = record_in(after).or_else(|| record_in(of_field("before")?.get("type")?))?;
    let columns = row.get("fields")?;
    let mut hash = Fnv::new();
    hash.add(b"avro");
    add(&mut hash, columns);
    Some(hash.finish())
}

fn record_in(kind: &Value) -> Option<&Map<String, Value>> {
    match kind {
        Value::Array(variants) => variants.iter().find_map(record_in),
        Value::Object(object) if object.get("type").is_some_and(|kind| kind == "record") => Some(object),
        _ => None,
    }
}

/// Fingerprint of the row type in the `schema` half of a JSON envelope.
pub(super) fn of_connect(schema: &str) -> Option<u64> {
    let schema: Value = serde_json::from_str(schema).ok()?;
    let fields = schema.get("fields")?.as_array()?;
    let after = fields.iter().find(|field| field.get("field").is_some_and(|name| name == "after"))?;
    let mut hash = Fnv::new();
    hash.add(b"connect");
    add(&mut hash, after.get("fields")?);
    Some(hash.finish())
}

fn add(hash: &mut Fnv, value: &Value) {
    match value {
        Value::Object(object) => {
            let mut names: Vec<_> = object.keys().filter(|name| !IMMATERIAL.contains(&name.as_str())).collect();
            names.sort_unstable();
            hash.add(b"{");
            for name in names {
                hash.add(name.as_bytes());
                add(hash, &object[name]);
            }
            hash.add(b"}");
        }
        Value::Array(items) => {
            hash.add(b"[");
            items.iter().for_each(|item| add(hash, item));
            hash.add(b"]");
        }
        other => hash.add(other.to_string().as_bytes()),
    }
}

/// Fingerprint of bare column names, added in their order; and the judge of names that occur twice.
#[derive(Debug)]
pub(super) struct Names {
    all: Fnv,
    each: Vec<u64>,
}

impl Names {
    pub(super) fn new() -> Self {
        let mut all = Fnv::new();
        all.add(b"names");
        Names { all, each: Vec::with_capacity(32) }
    }

    pub(super) fn add(&mut self, name: &str) {
        let mut one = Fnv::new();
        one.add(name.as_bytes());
        self.all.add_word(one.finish());
        self.each.push(one.finish());
    }

    /// The fingerprint, or `None` if a name occurred twice.
    pub(super) fn finish(mut self) -> Option<u64> {
        self.each.sort_unstable();
        let twice = self.each.windows(2).any(|pair| pair[0] == pair[1]);
        (!twice).then(|| self.all.finish())
    }
}
