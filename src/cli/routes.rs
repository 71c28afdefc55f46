//! A topology's own routes, and what they are made of.
//!
//! ```text
//!  Parts.routes ─▶ built when the binary runs, from a Host ─▶ changing: behind http.token
//!                    ├─ writer, writes: records          └▶ reading: as /state, behind http.state-token if there is one
//!                    └─ looks: stores and global tables
//! ```
//!
//! Routes that need nothing of the process are [`OwnRoutes::changing`], and that is all. Others are [built](OwnRoutes::built): by
//! then the configuration is valid and the clients connect when they are first used, so that building asks nobody. The server is there
//! before the brokers are: what can't be answered yet is for the routes to say.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;

use super::values::Writes;
use crate::codec::AvroSchema;
use crate::codec::registry::Registry;
use crate::error::FatalError;
use crate::kafka::{Settings, Writer};
use crate::runtime::{Looks, Queries};
use crate::telemetry::{Bearer, Routes};

type Build = dyn FnOnce(&Host) -> Result<Built, FatalError>;

/// What a topology's binary does when it is asked, beside the pages that every binary has.
pub struct OwnRoutes(Box<Build>);

/// Routes of both kinds.
#[derive(Debug, Default)]
pub struct Built {
    /// They change something: refused without `http.token`.
    pub changing: Option<Routes>,
    /// They show what the stores hold: whoever may read `/state` may read them.
    pub reading: Option<Routes>,
}

impl OwnRoutes {
    /// Routes behind `http.token` that need nothing of the process, and how long an answer may take.
    pub fn changing(router: Router, longest: Duration) -> Self {
        OwnRoutes::built(move |_| Ok(Built { changing: Some((router, longest).into()), reading: None }))
    }

    /// Routes that are made of what the process has; called once, when it runs.
    pub fn built(build: impl FnOnce(&Host) -> Result<Built, FatalError> + 'static) -> Self {
        OwnRoutes(Box::new(build))
    }

    pub(super) fn build(self, host: &Host) -> Result<Built, FatalError> {
        (self.0)(host)
    }
}

/// What routes may be made of. Whatever it gives may be kept, and cloned.
pub struct Host {
    pub(super) kafka: Settings,
    pub(super) registry: Option<Arc<Registry>>,
    pub(super) queries: Queries,
    pub(super) state_token: Option<Bearer>,
}

impl Host {
    /// Writes records outside of any transaction, each acknowledged or given up within `patience` and a few seconds. One is enough
    /// for all routes: its queue is bounded, and shared.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn writer(&self, patience: Duration) -> Result<Writer, FatalError> {
        let writer = Writer::new(&self.kafka, patience);
        writer.map_err(|error| FatalError::Config(format!("kafka.properties: {error}")))
    }

    /// Values for a topic, under the schema that the registry has for it.
    ///
    /// # Errors
    /// `schema-registry.url` is none.
    pub fn writes<T: AvroSchema>(&self, topic: &str) -> Result<Writes<T>, FatalError> {
        let missing = || FatalError::Config("schema-registry.url: is not set, but routes write Avro values".to_owned());
        Ok(Writes::new(topic, self.registry.clone().ok_or_else(missing)?))
    }

    /// Looks into the stores of all instances, and into the global tables.
    pub fn looks(&self) -> Looks {
        self.queries.looks(self.state_token.as_ref())
    }

    /// The largest record that the application writes, in bytes.
    pub fn max_record_bytes(&self) -> usize {
        self.kafka.max_record_bytes
    }
}
