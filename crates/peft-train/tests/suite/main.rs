//! One binary for the crate's integration tests: linking it once is the cost.

mod adapters;
mod common;
mod end_to_end;
mod families;
mod library;
mod memory;
mod plan;
mod real;
mod trace;
