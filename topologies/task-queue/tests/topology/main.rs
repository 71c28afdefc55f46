//! The dataflow without a broker: what becomes of tasks, of one and of many.

mod crons;
mod histories;
mod limits;
mod lives;
mod portions;
mod stops;
mod support;
