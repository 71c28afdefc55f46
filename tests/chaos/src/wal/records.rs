//! The records of a run, as another team's program writes and reads them.

use std::sync::Arc;
use std::time::Duration;

use headrace::codec::registry::Registry;
use headrace::codec::{Avro, AvroSchema, Binding, Codec, DecodeError, Schemas, avro};
use write_ahead_log::entry::MutationResult;
use write_ahead_log::input::Input;
use write_ahead_log::mutation::Mutation;
use write_ahead_log::namespace::Namespace;

use crate::Result;
use crate::application::tokio;
use crate::queue::ground::Ground;

/// Of a schema registry.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(10);

/// See the module's documentation.
pub struct Records {
    mutations: Avro<Mutation>,
    namespaces: Avro<Namespace>,
    results: Avro<MutationResult>,
    inputs: Avro<Input>,
    schemas: Arc<Schemas>,
    registry: Registry,
}

impl Records {
    /// Registers the schemas.
    ///
    /// # Errors
    /// The registry is away, or refuses.
    pub fn new(ground: &Ground) -> Result<Records> {
        let registry = Registry::new(&ground.registry, None, REGISTRY_TIMEOUT)?;
        let (mutations, namespaces, results, inputs) = (avro(), avro(), avro(), avro());
        let records = Records { mutations, namespaces, results, inputs, schemas: Arc::default(), registry };
        records.mutations.bind(&records.writes::<Mutation>(&ground.topic("mutations"))?);
        records.namespaces.bind(&records.writes::<Namespace>(&ground.topic("namespaces"))?);
        let reading = Binding { schemas: Arc::clone(&records.schemas), writer: None };
        records.results.bind(&reading);
        records.inputs.bind(&reading);
        Ok(records)
    }

    fn writes<T: AvroSchema>(&self, topic: &str) -> Result<Binding> {
        let id = tokio().block_on(self.registry.register(&format!("{topic}-value"), T::SCHEMA))?;
        self.schemas.insert(id, T::SCHEMA)?;
        Ok(Binding { schemas: Arc::clone(&self.schemas), writer: Some(id) })
    }

    /// A mutation's bytes.
    ///
    /// # Errors
    /// It does not fit its schema, which does not happen.
    pub fn mutation(&self, mutation: &Mutation) -> Result<Vec<u8>> {
        let mut value = Vec::new();
        self.mutations.encode(mutation, &mut value)?;
        Ok(value)
    }

    /// A namespace's bytes.
    ///
    /// # Errors
    /// As [`mutation`](Self::mutation).
    pub fn namespace(&self, namespace: &Namespace) -> Result<Vec<u8>> {
        let mut value = Vec::new();
        self.namespaces.encode(namespace, &mut value)?;
        Ok(value)
    }

    /// What a result's bytes say. A schema that is not known yet is asked for.
    ///
    /// # Errors
    /// They are none of a result, or the registry is away.
    pub fn read_result(&self, value: Option<&[u8]>) -> Result<MutationResult> {
        self.read(&self.results, value)
    }

    /// What the bytes of a record in the topic of lanes say.
    ///
    /// # Errors
    /// As [`read_result`](Self::read_result).
    pub fn read_input(&self, value: Option<&[u8]>) -> Result<Input> {
        self.read(&self.inputs, value)
    }

    fn read<T: AvroSchema>(&self, codec: &Avro<T>, value: Option<&[u8]>) -> Result<T>
    where
        Avro<T>: Codec<T>,
    {
        match codec.decode(value) {
            Err(DecodeError::SchemaNotLoaded(id)) => {
                tokio().block_on(self.registry.load(id, &self.schemas))?;
                Ok(codec.decode(value)?)
            }
            value => Ok(value?),
        }
    }
}
