//! One binary for the crate's integration tests: linking it once is the cost.

mod common;
mod guards;
mod hooks;
mod library;
mod loca;
mod objectives;
mod sparse;
mod steps;
mod tied;
