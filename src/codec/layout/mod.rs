//! How the bytes of an Avro schema lie: the schema reduced to an arena of nodes, logical types gone, names resolved.
//!
//! Why our own beside the Avro crate's: it walks a record without building values, so that a datum is checked against
//! bombs before it is decoded, and change events become JSON text in one pass.
//!
//! ```text
//! schema JSON ─▶ apache_avro::Schema ─▶ Layout ─┬─ check   (lengths, counts, depth, UTF-8, nothing left over)
//!                                               └─ render  (a row image as JSON text)
//! ```

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{FixedSchema, InnerDecimalSchema, Name, NamespaceRef, UuidSchema};

mod walk;
pub(super) use walk::Cursor;

/// Index of a node in its layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(usize);

/// One type, as it lies in the bytes.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Box<[Box<str>]>),
    Array(NodeId),
    Map(NodeId),
    Union(Box<[NodeId]>),
    Record(Record),
}

impl Node {
    /// What an error calls it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Boolean => "a boolean",
            Node::Int | Node::Long => "an integer",
            Node::Float | Node::Double => "a floating-point number",
            Node::Bytes | Node::Fixed(_) => "bytes",
            Node::String => "a string",
            Node::Enum(_) => "an enum",
            Node::Array(_) => "an array",
            Node::Map(_) => "a map",
            Node::Union(_) => "a union",
            Node::Record(_) => "a record",
        }
    }
}

/// A record's fields.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) fields: Box<[Field]>,
}

/// One field of a record.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: Box<str>,
    pub(super) node: NodeId,
}

/// A schema's nodes.
#[derive(Debug)]
pub(super) struct Layout {
    nodes: Vec<Node>,
    root: NodeId,
    /// Whether a type refers to another by name, so that encoding needs the table of names.
    pub(super) has_references: bool,
}

impl Layout {
    /// The layout of a schema; fails if it refers to a type outside itself.
    pub(super) fn of(schema: &Schema) -> Result<Layout, String> {
        let mut compiler = Compiler::default();
        let root = compiler.node(schema, None)?;
        Ok(Layout { nodes: compiler.nodes, root, has_references: compiler.has_references })
    }

    /// Where the datum starts.
    pub(super) fn root(&self) -> NodeId {
        self.root
    }

    /// The node of that index. An index comes from this layout only.
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }
}

#[derive(Default)]
struct Compiler {
    nodes: Vec<Node>,
    names: HashMap<String, NodeId>,
    has_references: bool,
}

impl Compiler {
    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// Takes the place of a named type before its inside is known: it may refer to itself.
    fn reserve(&mut self, name: &Name, namespace: NamespaceRef<'_>) -> NodeId {
        let id = self.add(Node::Null);
        self.names.insert(name.fullname(namespace), id);
        id
    }

    fn node(&mut self, schema: &Schema, namespace: NamespaceRef<'_>) -> Result<NodeId, String> {
        let simple = match schema {
            Schema::Null => Node::Null,
            Schema::Boolean => Node::Boolean,
            Schema::Int | Schema::Date | Schema::TimeMillis => Node::Int,
            Schema::Long
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => Node::Long,
            Schema::Float => Node::Float,
            Schema::Double => Node::Double,
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Node::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Node::String,
            Schema::Array(array) => Node::Array(self.node(&array.items, namespace)?),
            Schema::Map(map) => Node::Map(self.node(&map.types, namespace)?),
            Schema::Union(union) => {
                let variants = union.variants().iter().map(|variant| self.node(variant, namespace));
                Node::Union(variants.collect::<Result<_, _>>()?)
            }
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Node::Bytes,
                InnerDecimalSchema::Fixed(fixed) => return Ok(self.fixed(fixed, namespace)),
            },
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                return Ok(self.fixed(fixed, namespace));
            }
            Schema::Enum(symbols) => {
                let id = self.reserve(&symbols.name, namespace);
                self.nodes[id.0] = Node::Enum(symbols.symbols.iter().map(|symbol| symbol.as_str().into()).collect());
                return Ok(id);
            }
            Schema::Record(record) => return self.record(record, namespace),
            Schema::Ref { name } => return self.reference(name, namespace),
        };
        Ok(self.add(simple))
    }

    fn fixed(&mut self, fixed: &FixedSchema, namespace: NamespaceRef<'_>) -> NodeId {
        let id = self.reserve(&fixed.name, namespace);
        self.nodes[id.0] = Node::Fixed(fixed.size);
        id
    }

    fn record(
        &mut self,
        record: &apache_avro::schema::RecordSchema,
        namespace: NamespaceRef<'_>,
    ) -> Result<NodeId, String> {
        let id = self.reserve(&record.name, namespace);
        let inner = record.name.fully_qualified_name(namespace);
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            let node = self.node(&field.schema, inner.namespace())?;
            fields.push(Field { name: field.name.as_str().into(), node });
        }
        self.nodes[id.0] = Node::Record(Record { fields: fields.into() });
        Ok(id)
    }

    fn reference(&mut self, name: &Name, namespace: NamespaceRef<'_>) -> Result<NodeId, String> {
        self.has_references = true;
        let full = name.fullname(namespace);
        self.names.get(&full).copied().ok_or_else(|| format!("refers to {full}, which is not part of the schema"))
    }
}
