//! What a record costs on its way through the count topology, in instructions and allocations, each with a ceiling.
//!
//! Instructions are counted by callgrind, so the figure is the same on a busy machine. Two runs of different lengths are
//! compared: what start-up takes is in both, and falls out. A change that goes above a ceiling has made the path
//! slower; one that goes far below should lower it.

use std::path::Path;
use std::process::Command;

/// Instructions per record: 15 % above what was measured, since compilers and C libraries differ.
const INSTRUCTIONS: f64 = 3_200.0;
/// Allocations per record: the key that is forwarded.
const ALLOCATIONS: f64 = 1.1;

/// Records of the shorter run, and how many more the longer has. Both are whole commits.
const SHORT: u64 = 10_000;
const MORE: u64 = 20_000;

/// What one run has taken in all.
#[derive(Debug, Clone, Copy)]
struct Taken {
    instructions: f64,
    allocations: f64,
}

fn run(directory: &Path, records: u64, kind: &str) -> Taken {
    let out = directory.join(format!("{records}-{kind}"));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--error-exitcode=9"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env!("CARGO_BIN_EXE_count-path"))
        .args([&records.to_string(), kind])
        .output()
        .expect("valgrind: run scripts/setup, which installs it");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let allocations = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number of allocations");
    let profile = std::fs::read_to_string(&out).expect("callgrind's file");
    let summary = profile.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    Taken { instructions: summary.and_then(|number| number.trim().parse().ok()).expect("a summary"), allocations }
}

/// Per record.
fn cost(kind: &str) -> Taken {
    let directory = tempfile::tempdir().expect("tempdir");
    let (short, long) = (run(directory.path(), SHORT, kind), run(directory.path(), SHORT + MORE, kind));
    let each = |short: f64, long: f64| (long - short) / MORE as f64;
    let cost = Taken {
        instructions: each(short.instructions, long.instructions),
        allocations: each(short.allocations, long.allocations),
    };
    println!("{kind}: {:.0} instructions, {:.3} allocations per record", cost.instructions, cost.allocations);
    cost
}

#[test]
fn a_record_stays_below_its_ceilings() {
    let Taken { instructions, allocations } = cost("count");
    assert!(
        instructions <= INSTRUCTIONS && allocations <= ALLOCATIONS,
        "{instructions:.0} instructions (ceiling {INSTRUCTIONS:.0}) and {allocations:.3} allocations (ceiling \
         {ALLOCATIONS}) per record of the count topology"
    );
}

/// The control: a processor that is slower without need is caught.
#[test]
fn a_careless_processor_is_above_both_ceilings() {
    let Taken { instructions, allocations } = cost("careless");
    assert!(instructions > INSTRUCTIONS, "{instructions:.0} instructions are not above {INSTRUCTIONS:.0}");
    assert!(allocations > ALLOCATIONS, "{allocations:.3} allocations are not above {ALLOCATIONS}");
}
