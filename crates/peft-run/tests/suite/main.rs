//! One binary for the crate's integration tests: linking it once is the cost.

mod adapters;
mod common;
mod convert;
mod end_to_end;
mod families;
mod generation;
mod guards;
mod head;
mod language;
mod memory;
mod offset;
mod phases;
mod plan;
mod prepared;
mod ranks;
mod real;
mod resume;
mod selections;
mod sets;
mod sets_guide;
mod several;
mod sparse_runs;
mod tiny;
mod tokens;
mod trace;

#[path = "../../../../tests/shared/tiny.rs"]
mod files;
#[path = "../../../../tests/shared/output.rs"]
mod output;
