//! librdkafka's own log lines, in ours.

use rdkafka::config::RDKafkaLogLevel;

/// Passes a line of `client` on. That of metadata is on only because the clients read it themselves, and comes often.
pub(super) fn forward(client: &str, level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Debug if facility.contains("METADATA") => {
            tracing::trace!(target: "librdkafka", facility, message, "{client}");
        }
        RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
            tracing::debug!(target: "librdkafka", facility, message, "{client}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, message, "{client}"),
        _ => tracing::error!(target: "librdkafka", facility, message, "{client}"),
    }
}
