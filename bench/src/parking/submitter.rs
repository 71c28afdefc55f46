//! Who writes mutations: to the log's topic, as a team with a Kafka client does.

use std::sync::Arc;
use std::time::Duration;

use headrace::codec::registry::Registry;
use headrace::codec::{Avro, AvroSchema as _, Binding, Codec as _, Schemas, avro};
use write_ahead_log::mutation::Mutation;

use super::plan::Which;
use crate::Failure;
use crate::spans::now_us;
use crate::state::Writer;

const TICK: Duration = Duration::from_millis(1);
const SECOND_US: u64 = 1_000_000;
const VALUE_BYTES: usize = 100;
/// Of a schema registry.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(10);

/// See the module's documentation.
pub(super) struct Submitter {
    writer: Writer,
    topic: String,
    namespace: String,
    mutations: Avro<Mutation>,
    with_poison: bool,
}

impl Submitter {
    /// Registers the schema.
    pub(super) fn start(
        servers: &str,
        registry: &str,
        topic: &str,
        namespace: &str,
        with_poison: bool,
    ) -> Result<Self, Failure> {
        let registry = Registry::new(registry, None, REGISTRY_TIMEOUT)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (schemas, mutations) = (Arc::<Schemas>::default(), avro());
        let id = runtime.block_on(registry.register(&format!("{topic}-value"), Mutation::SCHEMA))?;
        schemas.insert(id, Mutation::SCHEMA)?;
        mutations.bind(&Binding { schemas, writer: Some(id) });
        let (topic, namespace) = (topic.to_owned(), namespace.to_owned());
        Ok(Submitter { writer: Writer::start(servers)?, topic, namespace, mutations, with_poison })
    }

    /// Writes the first so many of the others, and the poison key's between them.
    pub(super) fn load(&mut self, others: u64) -> Result<(), Failure> {
        (0..others).try_for_each(|other| self.submit(other))?;
        self.writer.flush()
    }

    /// Writes evenly from this one on, so many a second; gives when the first one was due, in microseconds since the epoch. What is due
    /// is not put off because something is slow.
    pub(super) fn feed(&mut self, from: u64, count: u64, rate: u64) -> Result<i64, Failure> {
        let (begin, mut sent) = (now_us(), 0);
        while sent < count {
            let elapsed = (now_us() - begin).max(0).cast_unsigned();
            while sent < count && sent * SECOND_US <= elapsed * rate {
                self.submit(from + sent)?;
                sent += 1;
            }
            self.writer.serve()?;
            std::thread::sleep(TICK);
        }
        self.writer.flush()?;
        Ok(begin)
    }

    fn submit(&mut self, other: u64) -> Result<(), Failure> {
        for which in Which::of(other, self.with_poison) {
            let mutation = Mutation {
                namespace: self.namespace.clone(),
                token: which.token(),
                created_at: now_us() / 1_000,
                key: which.key(),
                value: Some(vec![b'x'; VALUE_BYTES]),
                ..Mutation::default()
            };
            let mut value = Vec::new();
            self.mutations.encode(&mutation, &mut value)?;
            self.writer.write(&self.topic, mutation.key.as_bytes(), Some(&value))?;
        }
        Ok(())
    }
}

/// When the one with this place in a feed was due.
pub(super) fn due(begin: i64, place: u64, rate: u64) -> i64 {
    begin + (place * SECOND_US / rate).cast_signed()
}
