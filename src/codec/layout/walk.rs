//! A cursor over an Avro datum: checks and skips it, or renders it as JSON text, guided by a [`Layout`].
//!
//! Why a walk of our own: no length is believed before it is compared with what is left, recursion has a floor, and an
//! error names the path through the schema instead of the value.

use super::{Layout, Node, NodeId};
use crate::codec::text;
use crate::codec::{DecodeError, Limits};

/// Items without bytes (nulls, empty records) that a datum may hold beyond its own length.
const SPARE_ITEMS: usize = 4096;

/// A datum being read.
#[derive(Debug)]
pub(in crate::codec) struct Cursor<'a> {
    layout: &'a Layout,
    rest: &'a [u8],
    max_depth: usize,
    /// Nodes that may still be visited: a bound for schemas whose types hold each other without taking bytes.
    steps: usize,
}

/// What is wrong, and the path to it, innermost first.
#[derive(Debug)]
pub(in crate::codec) struct Fault {
    path: Vec<Box<str>>,
    what: String,
    limit: bool,
}

impl Fault {
    fn new(what: impl Into<String>) -> Box<Fault> {
        Box::new(Fault { path: Vec::new(), what: what.into(), limit: false })
    }

    fn limit(what: impl Into<String>) -> Box<Fault> {
        Box::new(Fault { path: Vec::new(), what: what.into(), limit: true })
    }

    /// The same fault, seen from the type that holds it.
    fn inside(mut self: Box<Self>, name: &str) -> Box<Self> {
        self.path.push(name.into());
        self
    }
}

impl From<Box<Fault>> for DecodeError {
    fn from(fault: Box<Fault>) -> Self {
        let path: Vec<_> = fault.path.iter().rev().map(AsRef::as_ref).collect();
        let text = if path.is_empty() { fault.what } else { format!("{}: {}", path.join("."), fault.what) };
        if fault.limit { DecodeError::Limit(text) } else { DecodeError::Malformed(text) }
    }
}

type Walked<T = ()> = Result<T, Box<Fault>>;

/// Where a walk puts what it reads.
trait Sink {
    fn raw(&mut self, text: &str);
    fn string(&mut self, text: &str);
    fn integer(&mut self, value: i64);
    fn float(&mut self, value: f32);
    fn double(&mut self, value: f64);
    fn bytes(&mut self, bytes: &[u8]);
}

/// Checks only.
struct Nowhere;

impl Sink for Nowhere {
    fn raw(&mut self, _: &str) {}
    fn string(&mut self, _: &str) {}
    fn integer(&mut self, _: i64) {}
    fn float(&mut self, _: f32) {}
    fn double(&mut self, _: f64) {}
    fn bytes(&mut self, _: &[u8]) {}
}

/// JSON text, as Kafka Connect's JSON converter would write it.
impl Sink for String {
    fn raw(&mut self, text: &str) {
        self.push_str(text);
    }
    fn string(&mut self, value: &str) {
        text::push_string(self, value);
    }
    fn integer(&mut self, value: i64) {
        text::push_integer(self, value);
    }
    fn float(&mut self, value: f32) {
        text::push_float(self, value);
    }
    fn double(&mut self, value: f64) {
        text::push_double(self, value);
    }
    fn bytes(&mut self, bytes: &[u8]) {
        text::push_base64(self, bytes);
    }
}

impl<'a> Cursor<'a> {
    /// At the start of a datum.
    pub(in crate::codec) fn new(layout: &'a Layout, datum: &'a [u8], limits: &Limits) -> Self {
        let steps = datum.len().saturating_mul(16).saturating_add(1 << 16);
        Cursor { layout, rest: datum, max_depth: limits.max_depth, steps }
    }

    /// Reads over one value of that type, and checks it on the way.
    pub(in crate::codec) fn skip(&mut self, node: NodeId) -> Walked {
        self.walk(node, 0, &mut Nowhere)
    }

    /// Appends one value of that type as JSON.
    pub(in crate::codec) fn render(&mut self, node: NodeId, out: &mut String) -> Walked {
        self.walk(node, 0, out)
    }

    /// The type behind any unions, whose branch numbers are read.
    pub(in crate::codec) fn unwrapped(&mut self, node: NodeId) -> Walked<NodeId> {
        match self.layout.node(node) {
            // A union directly inside a union is not Avro, so one step is enough.
            Node::Union(variants) => self.branch(variants),
            _ => Ok(node),
        }
    }

    /// A text, borrowed.
    pub(in crate::codec) fn string(&mut self) -> Walked<&'a str> {
        std::str::from_utf8(self.block("string")?).map_err(|_| Fault::new("a string that is not UTF-8"))
    }

    /// The symbol of an enum's datum.
    pub(in crate::codec) fn symbol(&mut self, node: NodeId) -> Walked<&'a str> {
        let layout = self.layout;
        let Node::Enum(symbols) = layout.node(node) else { return Err(Fault::new("not an enum")) };
        let index = self.long()?;
        let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
        symbol.map(AsRef::as_ref).ok_or_else(|| Fault::new(format!("symbol {index} of {}", symbols.len())))
    }

    /// A boolean.
    pub(in crate::codec) fn boolean(&mut self) -> Walked<bool> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Fault::new("a boolean that is neither 0 nor 1")),
        }
    }

    /// A long, or an int as a long.
    pub(in crate::codec) fn long(&mut self) -> Walked<i64> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            if index == 9 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Fault::new(if self.rest.len() < 10 {
            "the datum ends too early"
        } else {
            "an integer longer than 64 bits"
        }))
    }

    /// Refuses bytes after the datum.
    pub(in crate::codec) fn finish(&self) -> Walked {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Fault::new(format!("{} bytes left over after the datum", self.rest.len())))
    }

    fn take(&mut self, len: usize) -> Walked<&'a [u8]> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Fault::new("the datum ends too early")),
        }
    }

    fn block(&mut self, what: &str) -> Walked<&'a [u8]> {
        let len = self.long()?;
        match usize::try_from(len) {
            Ok(len) if len <= self.rest.len() => self.take(len),
            _ => Err(Fault::new(format!("a {what} of {len} bytes where {} are left", self.rest.len()))),
        }
    }

    fn branch(&mut self, variants: &[NodeId]) -> Walked<NodeId> {
        let index = self.long()?;
        let variant = usize::try_from(index).ok().and_then(|index| variants.get(index));
        variant.copied().ok_or_else(|| Fault::new(format!("branch {index} of a union of {}", variants.len())))
    }

    fn walk(&mut self, node: NodeId, depth: usize, out: &mut impl Sink) -> Walked {
        if depth > self.max_depth {
            return Err(Fault::limit(format!("nested deeper than the limit of {} levels", self.max_depth)));
        }
        self.steps = self.steps.checked_sub(1).ok_or_else(|| Fault::limit("more values than bytes can account for"))?;
        let layout = self.layout;
        match layout.node(node) {
            Node::Null => out.raw("null"),
            Node::Boolean => out.raw(if self.boolean()? { "true" } else { "false" }),
            Node::Int => {
                let value = self.long()?;
                i32::try_from(value).map_err(|_| Fault::new("an int that does not fit 32 bits"))?;
                out.integer(value);
            }
            Node::Long => out.integer(self.long()?),
            Node::Float => out.float(f32::from_le_bytes(self.array()?)),
            Node::Double => out.double(f64::from_le_bytes(self.array()?)),
            Node::Bytes => out.bytes(self.block("byte sequence")?),
            Node::String => out.string(self.string()?),
            Node::Fixed(len) => out.bytes(self.take(*len)?),
            Node::Enum(_) => out.string(self.symbol(node)?),
            Node::Array(items) => return self.items(*items, false, depth, out),
            Node::Map(values) => return self.items(*values, true, depth, out),
            Node::Union(variants) => {
                let variant = self.branch(variants)?;
                return self.walk(variant, depth + 1, out);
            }
            Node::Record(record) => {
                for (index, field) in record.fields.iter().enumerate() {
                    out.raw(if index == 0 { "{" } else { "," });
                    out.string(&field.name);
                    out.raw(":");
                    self.walk(field.node, depth + 1, out).map_err(|fault| fault.inside(&field.name))?;
                }
                out.raw(if record.fields.is_empty() { "{}" } else { "}" });
            }
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Walked<[u8; N]> {
        let taken = self.take(N)?;
        <[u8; N]>::try_from(taken).map_err(|_| Fault::new("the datum ends too early"))
    }

    /// The blocks of an array or a map.
    fn items(&mut self, node: NodeId, keyed: bool, depth: usize, out: &mut impl Sink) -> Walked {
        out.raw(if keyed { "{" } else { "[" });
        let mut first = true;
        loop {
            let mut count = self.long()?;
            if count < 0 {
                // A negative count is followed by the block's size in bytes.
                count = count.checked_neg().ok_or_else(|| Fault::limit("a block of 2^63 items"))?;
                self.long()?;
            }
            if count == 0 {
                break;
            }
            let most = self.rest.len().saturating_add(SPARE_ITEMS);
            if usize::try_from(count).map_or(true, |count| count > most) {
                return Err(Fault::limit(format!("a block of {count} items in {} bytes", self.rest.len())));
            }
            for _ in 0..count {
                if !first {
                    out.raw(",");
                }
                first = false;
                if keyed {
                    out.string(self.string()?);
                    out.raw(":");
                }
                self.walk(node, depth + 1, out).map_err(|fault| fault.inside("[]"))?;
            }
        }
        out.raw(if keyed { "}" } else { "]" });
        Ok(())
    }
}

impl Layout {
    /// Whether these bytes are one datum of this layout and nothing else, within the limits.
    pub(in crate::codec) fn check(&self, datum: &[u8], limits: &Limits) -> Result<(), DecodeError> {
        let mut cursor = Cursor::new(self, datum, limits);
        cursor.skip(self.root())?;
        Ok(cursor.finish()?)
    }
}
