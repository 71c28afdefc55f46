//! What only the native clients can: librdkafka's arm of `make test` leaves these out.

mod standbys;
mod survivors;
