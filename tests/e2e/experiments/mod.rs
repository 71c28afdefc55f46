//! Questions about librdkafka's transactions and about stable positions that are settled by trying; the answers are in
//! ARCHITECTURE.md, "Settled by experiment". Where an answer changes, so may what is built on it.

mod librdkafka;
mod stable;
