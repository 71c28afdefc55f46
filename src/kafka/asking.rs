//! A question to the brokers over connections of its own, from a thread that may wait for the answer.

use std::future::Future;

use super::consumer::KafkaFailure;
use super::settings::Settings;
use crate::wire::{Client, WireError};

/// Asks, as a client of this role. Blocks for some requests.
pub(super) fn ask<T, F: Future<Output = Result<T, WireError>>>(
    settings: &Settings,
    role: &str,
    question: impl FnOnce(Client) -> F,
) -> Result<T, KafkaFailure> {
    let failed = |error: &dyn std::fmt::Display| KafkaFailure(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    let cluster = settings.wire(role).map_err(|error| failed(&error))?;
    let answer = runtime.block_on(async { question(Client::new(cluster)).await });
    runtime.shutdown_background();
    answer.map_err(|error| failed(&error))
}
