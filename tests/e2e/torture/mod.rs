//! Short forms of the long runs (`make chaos`): kills and other faults, a network that tortures requests, the task queue.

mod faults;
mod network;
mod queue;

use chaos::instance::Program;

/// How the runs here start their instances: this very test executable.
fn program() -> Program {
    Program::test("torture::the_child_itself")
}

/// Not a test but what an instance runs; without the environment it does nothing.
#[test]
fn the_child_itself() {
    chaos::child::become_one();
}
