//! Side-by-side benchmarks: ours, a peer where there is one, and a limit, interleaved in one run on one machine.
//!
//! `bench NAME` starts the real servers, measures, prints a table and writes `out/bench/NAME.json`. Figures are medians
//! with their extremes; what counts is the ratio, since absolute figures belong to a machine.

mod cdc_invalidation;
mod cores;
mod counting;
mod eos_tax;
mod instance;
mod measure;
mod neighbour;
mod parking;
mod rebalance;
mod report;
mod share;
mod spans;
mod state;
mod stateful_count;
mod supervised;
mod timers;

use std::process::ExitCode;

type Failure = Box<dyn std::error::Error>;

const NAMES: [&str; 13] = [
    "cdc-invalidation",
    "stateful-count",
    "eos-tax",
    "rebalance",
    "restart",
    "restore",
    "memory",
    "share-throughput",
    "share-mixed",
    "dequeue-latency",
    "timers",
    "noisy-neighbour",
    "parking",
];

fn main() -> ExitCode {
    supervised::run(benchmark).unwrap_or_else(|error| failed(&error))
}

fn failed(error: &Failure) -> ExitCode {
    eprintln!("bench: {error}");
    ExitCode::FAILURE
}

fn benchmark() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let result = match name.as_str() {
        "cdc-invalidation" => cdc_invalidation::run(),
        "stateful-count" => stateful_count::run(),
        "eos-tax" => eos_tax::run(),
        "rebalance" => rebalance::run(),
        "restart" => state::restart(),
        "restore" => state::restore(),
        "memory" => state::memory(),
        "share-throughput" => share::throughput(),
        "share-mixed" => share::mixed(),
        "dequeue-latency" => share::dequeue(),
        "timers" => timers::run(),
        "noisy-neighbour" => neighbour::run(),
        "parking" => parking::run(),
        _ => {
            eprintln!("bench: no benchmark is called {name:?}; there are: {}", NAMES.join(", "));
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}
