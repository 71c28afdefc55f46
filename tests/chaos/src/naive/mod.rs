//! The control arms: the loops that everybody writes with librdkafka. The checker has to find something wrong with them.

pub mod fold;
pub mod plain;
pub mod transactional;
