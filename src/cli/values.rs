//! A topic's values, as a command reads and writes them, and a route: by the codec of the topology, with schemas that are asked for where a value
//! needs them.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use crate::codec::registry::{Registry, RegistryError};
use crate::codec::{Avro, AvroSchema, Binding, Codec as _, DecodeError, SchemaId, Schemas, avro};
use crate::error::FatalError;

/// What a subject's later schemas must be able to read, as `apply` sets it.
const COMPATIBILITY: &str = "BACKWARD";

/// Values to be written to one topic, of a process that goes on: their schema is asked for when the first of them comes, and again when
/// the registry was away.
pub struct Writes<T: AvroSchema> {
    topic: String,
    registry: Arc<Registry>,
    values: OnceCell<Values<T>>,
}

impl<T: AvroSchema> Writes<T> {
    pub(super) fn new(topic: &str, registry: Arc<Registry>) -> Self {
        Writes { topic: topic.to_owned(), registry, values: OnceCell::new() }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }
}

impl<T> Writes<T>
where
    T: AvroSchema + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// What makes bytes of them.
    ///
    /// # Errors
    /// The registry is away, refuses, or has schemas that this one does not fit; nothing was written.
    pub async fn values(&self) -> Result<&Values<T>, FatalError> {
        self.values.get_or_try_init(|| Values::new(&self.topic, Arc::clone(&self.registry)).written()).await
    }
}

/// Values of one topic.
pub struct Values<T: AvroSchema> {
    topic: String,
    codec: Avro<T>,
    schemas: Arc<Schemas>,
    registry: Arc<Registry>,
}

impl<T> Values<T>
where
    T: AvroSchema,
{
    pub(super) fn new(topic: &str, registry: Arc<Registry>) -> Self {
        Values { topic: topic.to_owned(), codec: avro(), schemas: Arc::default(), registry }
    }

    fn subject(&self) -> String {
        format!("{}-value", self.topic)
    }

    fn refused(&self, error: &RegistryError) -> FatalError {
        match error {
            RegistryError::Unauthorised(_) => FatalError::Authorisation(format!("subject {}: {error}", self.subject())),
            RegistryError::Retriable(away) => FatalError::Environment(away.to_string()),
            _ => FatalError::Environment(format!("subject {}: {error}", self.subject())),
        }
    }
}

impl<T> Values<T>
where
    T: AvroSchema + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// To be written, too. Who writes a topic's first value brings its schema along, as any producer does.
    ///
    /// # Errors
    /// The registry is away, refuses, or has schemas that this one does not fit.
    pub async fn written(self) -> Result<Self, FatalError> {
        let (subject, schema) = (self.subject(), self.codec.writer_schema().unwrap_or_default());
        let known = self.registry.lookup(&subject, &schema).await.map_err(|error| self.refused(&error))?;
        let id = match known {
            Some(id) => id,
            None => self.register(&subject, &schema).await.map_err(|error| self.refused(&error))?,
        };
        let inserted = self.schemas.insert(id, &schema);
        inserted.map_err(|error| FatalError::Environment(format!("subject {subject}: {error}")))?;
        self.bind(Some(id));
        Ok(self)
    }

    async fn register(&self, subject: &str, schema: &str) -> Result<SchemaId, RegistryError> {
        let first = self.registry.latest(subject).await?.is_none();
        let id = self.registry.register(subject, schema).await?;
        if first {
            // Of a subject that others have made, the level is theirs.
            self.registry.set_compatibility(subject, COMPATIBILITY).await?;
        }
        Ok(id)
    }

    /// To be read alone.
    #[must_use]
    pub fn read(self) -> Self {
        self.bind(None);
        self
    }

    fn bind(&self, writer: Option<SchemaId>) {
        self.codec.bind(&Binding { schemas: Arc::clone(&self.schemas), writer });
    }

    /// A value's bytes.
    ///
    /// # Errors
    /// It is only [`read`](Self::read), or the value does not fit its schema.
    pub fn encode(&self, value: &T) -> Result<Vec<u8>, FatalError> {
        let mut bytes = Vec::new();
        let encoded = self.codec.encode(value, &mut bytes);
        encoded.map_err(|error| FatalError::Environment(format!("topic {}: {error}", self.topic)))?;
        Ok(bytes)
    }

    /// The value of these bytes.
    ///
    /// # Errors
    /// They are none of the type, or the registry is away.
    pub async fn decode(&self, bytes: Option<&[u8]>) -> Result<T, FatalError> {
        let decoded = match self.codec.decode(bytes) {
            Err(DecodeError::SchemaNotLoaded(id)) => {
                self.registry.load(id, &self.schemas).await.map_err(|error| self.refused(&error))?;
                self.codec.decode(bytes)
            }
            decoded => decoded,
        };
        decoded.map_err(|error| FatalError::Environment(format!("topic {}: {error}", self.topic)))
    }
}
