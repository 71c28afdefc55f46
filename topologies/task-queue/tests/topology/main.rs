//! The dataflow without a broker: what becomes of tasks, of one and of many.

mod histories;
mod lives;
mod support;
